"""Families by name. A new family is one file in `image/` or `audio/` and one line here."""

import importlib
from collections.abc import Mapping
from typing import Any

from .config import ConfigError, from_mapping, nearest
from .tokenizer import Tokenizer

# family -> "module:class"
_FAMILIES: dict[str, str] = {
    "spectral": "audio.spectral:SpectralCodec",
    "waveform": "audio.waveform:WaveformCodec",
    "convnet": "image.convnet:ConvTokenizer",
}


def families() -> tuple[str, ...]:
    """All family names."""
    return tuple(sorted(_FAMILIES))


def family_class(family: str) -> type[Tokenizer]:
    """Return the class of `family`, or raise `ConfigError` naming the nearest families."""
    if family not in _FAMILIES:
        raise ConfigError(f"unknown family {family!r}.{nearest(family, list(_FAMILIES))}")
    module, name = _FAMILIES[family].split(":")
    return getattr(importlib.import_module(f".{module}", __package__), name)


def build_tokenizer(family: str, config: Mapping[str, Any] | Any = None) -> Tokenizer:
    """Build an untrained tokenizer of `family`.

    Args:
        family: a name from `families()`.
        config: the family's config dataclass, or a mapping of its fields (checked strictly); None takes the defaults.
    """
    cls = family_class(family)
    if not isinstance(config, cls.config_class):
        config = from_mapping(cls.config_class, config or {}, path="config")
    return cls(config)  # type: ignore[call-arg]
