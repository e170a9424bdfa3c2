"""Tools for reading and writing authors' configs: opening one, nested parts, resolutions to levels, round-trip checks."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ..config import from_mapping, to_mapping
from ..quantizers.base import QuantizerConfig
from .fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from .keymap import NotWritable

Q = TypeVar("Q", bound=QuantizerConfig)


def open_config(config: Mapping[str, Any], system: str) -> Fields:
    """The authors' arguments as `Fields`, also out of the YAML of a training run; without the keys `FOLDER_KEYS`."""
    for key in ("network_g", "model"):
        config = config[key] if isinstance(config.get(key), Mapping) else config
    for key in ("params", "init_args"):
        config = config[key] if isinstance(config.get(key), Mapping) else config
    fields = Fields(config, system)
    fields.drop(*FOLDER_KEYS)
    return fields


def part(fields: Fields, key: str, default: Mapping[str, Any] | None = None) -> Fields:
    """The nested mapping under `key` as `Fields`; required unless a default is given."""
    values = fields.take(key) if default is None else fields.take(key, default)
    return Fields(values, f"{fields.name}.{key}")


def training_only(fields: Fields, key: str, usual: Any) -> None:
    """Take a key without effect on ids and pixels; a value other than `usual` gives a warning, as it matters in training."""
    value = fields.take(key, usual)
    if value != usual:
        warnings.warn(f"{fields.name}.{key} = {value!r} is not carried over; it affects training only.", stacklevel=3)


def attention_levels(resolution: int, attended: Sequence[int], levels: int, halvings: Sequence[int]) -> tuple[int, ...]:
    """Levels at which an encoder that halves after the levels `halvings` has one of the `attended` resolutions."""
    side, found = resolution, []
    for level in range(levels):
        if side in attended:
            found.append(level)
        side = side // 2 if level in halvings else side
    return tuple(found)


def decoder_attention_levels(side: int, attended: Sequence[int], levels: int, doublings: Sequence[int]) -> tuple[int, ...]:
    """`attention_levels` for a decoder that starts with `side` at the coarsest level and doubles after `doublings`."""
    found = []
    for level in reversed(range(levels)):
        if side in attended:
            found.append(level)
        side = side * 2 if level in doublings else side
    return tuple(sorted(found))


def legacy_vq(size: int, beta: float, **more: Any) -> dict[str, Any]:
    """Config of taming's quantizer: with its "legacy" losses, beta is the weight of the codebook term, not of the commitment."""
    losses = {"commitment_weight": 1.0, "codebook_weight": beta}
    still = {"update": "gradient", "kmeans_init": False, "replace_below": 0.0}
    return {"kind": "vq", "codebook_size": size, **losses, **still, **more}


def factorised_rvq(**settings: Any) -> dict[str, Any]:
    """The residual quantizer of DAC and its derivatives: cosine lookup in a low-dimensional space, trained by gradient."""
    base = {"kind": "residual_vq", "normalize": True, "update": "gradient", "kmeans_init": False, "replace_below": 0.0}
    return base | settings


def dac_rvq(fields: Fields, **settings: Any) -> dict[str, Any]:
    """`factorised_rvq` from the arguments of DAC, its copy in transformers and DualCodec."""
    return factorised_rvq(
        num_codebooks=fields.take("n_codebooks", 9),
        codebook_size=fields.take("codebook_size", 1024),
        codebook_dim=fields.take("codebook_dim", 8),  # one width, or one for each codebook
        dropout=float(fields.take("quantizer_dropout", 0.0)),
        **settings,
    )


# --- writing: our config in the authors' terms ------------------------------------------------------------------------

#: Settings of training, and whether decoded pixels are clipped: an authors' config may lack them, since neither ids nor weights
#: depend on them.
TRAINING = frozenset({
    "dropout", "update", "decay", "commitment_weight", "codebook_weight", "kmeans_init", "kmeans_batches", "kmeans_iterations",
    "replace_below", "replace_every", "gradient", "layer_scale", "beta", "entropy_weight", "entropy_temperature", "sample_weight",
    "batch_weight", "clip",
})  # fmt: skip


def check_round_trip(own: Any, theirs: dict[str, Any], read: Callable[[Mapping[str, Any]], Any]) -> dict[str, Any]:
    """Return `theirs`, the authors' config written for `own`, if `read` turns it into `own` again, except training settings.

    Raises:
        NotWritable: names the settings that the authors' config cannot express.
    """
    again = from_mapping(type(own), read(theirs))
    lost = _differences(to_mapping(own), to_mapping(again))
    if lost:
        raise NotWritable(f"the authors' config cannot express {', '.join(lost)}: these weights do not fit their class.")
    return theirs


def _differences(a: Any, b: Any, path: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        keys = [k for k in a if k not in TRAINING and not (k == "dim" and 0 in (a[k], b.get(k)))]  # 0: the family fills it in
        return [d for k in keys for d in _differences(a[k], b.get(k), f"{path}.{k}" if path else k)]
    return [] if a == b else [f"{path} = {a!r}"]


def the_quantizer(config: Any, kind: type[Q]) -> Q:
    """Return `config` if it is of the kind of the authors' class. Raises NotWritable otherwise."""
    if not isinstance(config, kind):
        raise NotWritable(f"quantizer is {config.kind!r}; the authors' class has {kind.kind!r} only.")
    return config


def one_number(name: str, value: int | Sequence[int]) -> int:
    """A setting that the authors' config has once for all levels. Raises NotWritable if levels differ."""
    numbers = {value} if isinstance(value, int) else set(value)
    if len(numbers) != 1:
        raise NotWritable(f"{name} is {value}; the authors' class has one for all levels.")
    return numbers.pop()


def siglip_tower(c: Fields, *, layers_left_out: int = 0, norm_out: str = "affine") -> dict[str, Any]:
    """Fields of `TowerConfig` from a `SiglipVisionConfig` of transformers; keys that its class ignores cause one warning."""
    c.drop(*TRANSFORMERS_KEYS, "attention_dropout", "vision_use_head", "initializer_range")
    c.require("hidden_act", "gelu_pytorch_tanh")
    c.require("num_channels", 3)
    out = {
        "image_size": c.take("image_size", 384),
        "patch_size": c.take("patch_size", 14),
        "width": c.take("hidden_size", 1152),
        "layers": c.take("num_hidden_layers", 27) - layers_left_out,
        "heads": c.take("num_attention_heads", 16),
        "hidden": c.take("intermediate_size", 4304),
        "eps": c.take("layer_norm_eps", 1e-6),
        "class_token": False,
        "registers": 0,
        "layer_scale": None,
        "gelu": "tanh",
        "norm_out": norm_out,
    }
    c.done(swallowed=True)
    return out
