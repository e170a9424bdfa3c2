"""What layouts share in reading authors' configs: opening one, nested parts, resolutions to levels."""

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
    """Take a key without effect on ids and pixels; an unusual value gives a warning, for those who train."""
    value = fields.take(key, usual)
    if value != usual:
        warnings.warn(f"{fields.name}.{key} = {value!r} is not carried over; it affects training only.", stacklevel=3)


def attention_levels(resolution: int, wanted: Sequence[int], levels: int, halvings: Sequence[int]) -> tuple[int, ...]:
    """Levels at which an encoder that halves after `halvings` meets one of the `wanted` sides."""
    side, found = resolution, []
    for level in range(levels):
        if side in wanted:
            found.append(level)
        side = side // 2 if level in halvings else side
    return tuple(found)


def decoder_attention_levels(side: int, wanted: Sequence[int], levels: int, doublings: Sequence[int]) -> tuple[int, ...]:
    """The same for a decoder that starts at `side` at the coarsest level and doubles after `doublings`."""
    found = []
    for level in reversed(range(levels)):
        if side in wanted:
            found.append(level)
        side = side * 2 if level in doublings else side
    return tuple(sorted(found))


def legacy_vq(size: int, beta: float, **more: Any) -> dict[str, Any]:
    """taming's quantizer: with its "legacy" losses beta weighs the codebook term, not the commitment."""
    losses = {"commitment_weight": 1.0, "codebook_weight": beta}
    still = {"update": "gradient", "kmeans_init": False, "replace_below": 0.0}
    return {"kind": "vq", "codebook_size": size, **losses, **still, **more}


def factorised_rvq(**settings: Any) -> dict[str, Any]:
    """The residual quantizer of DAC and its heirs: cosine lookup in a narrow space, trained by gradient."""
    base = {"kind": "residual_vq", "normalize": True, "update": "gradient", "kmeans_init": False, "replace_below": 0.0}
    return base | settings
