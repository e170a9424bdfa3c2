"""What the converters of the VQGAN line share: opening a config, unwrapping checkpoints, resolutions to levels."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from .fields import FOLDER_KEYS, Fields


def open_config(config: Mapping[str, Any], system: str) -> Fields:
    """The authors' arguments, also out of the YAML of a training run; without what only describes the file."""
    for key in ("network_g", "model"):
        config = config[key] if isinstance(config.get(key), Mapping) else config
    for key in ("params", "init_args"):
        config = config[key] if isinstance(config.get(key), Mapping) else config
    fields = Fields(config, system)
    fields.drop(*FOLDER_KEYS)
    return fields


def part(fields: Fields, key: str, default: Mapping[str, Any] | None = None) -> Fields:
    """A nested mapping as `Fields` of its own; without a default it must be there."""
    values = fields.take(key) if default is None else fields.take(key, default)
    return Fields(values, f"{fields.name}.{key}")


def training_only(fields: Fields, key: str, usual: Any) -> None:
    """Take a key without effect on ids and pixels; an unusual value is said aloud, for training."""
    value = fields.take(key, usual)
    if value != usual:
        warnings.warn(f"{fields.name}.{key} = {value!r} is not carried over; it affects training only.", stacklevel=3)


def unwrap(state: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The state dict itself where a checkpoint file holds it under one of `names` (`state_dict`, `model`, `params`)."""
    for name in names:
        if isinstance(state.get(name), Mapping):
            return dict(state[name])
    return dict(state)


def use_ema(state: Mapping[str, Any]) -> dict[str, Any]:
    """Put the averaged weights of a Lightning checkpoint (`model_ema.<name without dots>`) in place of the raw ones."""
    prefix = "model_ema."
    plain = {k: v for k, v in state.items() if not k.startswith(prefix)}
    return {k: state.get(prefix + k.replace(".", ""), v) for k, v in plain.items()}


def attention_levels(resolution: int, wanted: Sequence[int], levels: int, halvings: Sequence[int]) -> tuple[int, ...]:
    """Levels at which an encoder that halves after `halvings` meets one of the `wanted` sides."""
    side, found = resolution, []
    for level in range(levels):
        if side in wanted:
            found.append(level)
        side = side // 2 if level in halvings else side
    return tuple(found)


def decoder_attention_levels(
    side: int, wanted: Sequence[int], levels: int, doublings: Sequence[int]
) -> tuple[int, ...]:
    """The same for a decoder that starts at `side` at the coarsest level and doubles after `doublings`."""
    found = []
    for level in reversed(range(levels)):
        if side in wanted:
            found.append(level)
        side = side * 2 if level in doublings else side
    return tuple(sorted(found))
