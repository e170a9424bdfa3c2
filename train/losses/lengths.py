"""Smallest media that losses and discriminators can take.

Their configs have it as `least_samples`, so that a run whose crops are too short is refused before it begins.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ...codecs.config import ConfigError


def half_window(window: int) -> int:
    """Length in samples of the shortest clip for a centred window of `window` samples: edges are reflected by half a window."""
    return window // 2 + 1


def fits(window: int, samples: int) -> bool:
    """Whether a clip of `samples` samples is long enough for a centred window of `window` samples."""
    return samples >= half_window(window)


def check_length(name: str, samples: int, least: int, unit: str = "samples") -> None:
    """Raise ValueError where media are too short for `name`; the message has their length and the least that works."""
    if samples < least:
        raise ValueError(_text(name, samples, least, unit))


def check_crop(section: str, configs: Mapping[str, Any], shape: Sequence[int]) -> None:
    """Check losses or discriminators, by name, against the shape of a run's crops: `[C, T]` or `[C, H, W]`.

    Raises:
        ConfigError: one needs larger crops.
    """
    size, unit = min(shape[1:][-2:]), "samples" if len(shape) == 2 else "pixels"  # of clips, those of a frame
    for name, config in configs.items():
        least = getattr(config, "least_samples", 0)
        if size < least:
            raise ConfigError(_text(f"{section}.{name}", size, least, unit))


def _text(name: str, size: int, least: int, unit: str) -> str:
    key = "crop_seconds" if unit == "samples" else "crop"
    return f"{name} cannot judge media of {size} {unit}: it needs at least {least}. Set a larger data.{key}, or smaller windows there."
