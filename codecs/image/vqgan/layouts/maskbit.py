"""MaskBit and VQGAN+ (markweberdev/maskbit @ 5ea3d733c6): MaskGIT-VQGAN's convolutions, strided, around sign bits or one table.

Pixels lie in 0..1, which no published file states. The decoder of MaskGIT's own weights (`model_class` "maskgit") numbers its levels
from fine to coarse, the others' from coarse to fine; the weights show which one it is.
"""

from collections.abc import Mapping
from typing import Any

from ....config import ConfigError
from ....layouts.configs import open_config, part, training_only
from ....layouts.fields import Fields
from ....layouts.keymap import KeyMap, Rename, Row, State, Then
from ....layouts.layout import Layout
from ....layouts.maskgit_keys import maskgit_stacks
from ....layouts.vqgan_keys import OUTER, SIDE, TABLE
from ..model import VQGANConfig

_SYSTEM = "maskbit"


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Our config fields from `vq_model`, or from the YAML of a training run around it."""
    c = open_config(config, _SYSTEM)
    if "vq_model" in (config.get("model") or {}):
        c = part(c, "vq_model")
    kind = c.one_of("model_class", {"vqgan+": "vqgan+", "maskgit": "maskgit"}, "vqgan+")
    width = c.take("token_size")
    quantizer = _quantizer(c, width)
    strided = c.take("sample_with_conv")
    decoder_blocks = c.take("num_res_blocks_decoder", 0)
    shared = ("channel_mult", "num_resolutions", "hidden_channels", "num_res_blocks", "num_channels")
    inner = Fields({k: c.take(k) for k in shared}, _SYSTEM)
    parts = maskgit_stacks(inner)
    if strided:
        parts["encoder"] |= {"resample": "conv"}
    if decoder_blocks and kind != "maskgit":  # the class of the older weights does not read it
        parts["decoder"] |= {"blocks": decoder_blocks, "middle": ["residual"] * decoder_blocks}
    c.done()
    return {**parts, "z_channels": width, "embed_dim": 0, "quantizer": quantizer, "value_range": [0.0, 1.0]}


def _quantizer(c: Fields, width: int) -> dict[str, Any]:
    commitment = float(c.take("commitment_cost", 0.25))
    free = c.one_of("quantizer_type", {"lookup-free": True, "lookup": False})
    size, entropy = c.take("codebook_size"), float(c.take("entropy_loss_weight", 0.0))
    temperature, gamma = float(c.take("entropy_loss_temperature", 0.01)), float(c.take("entropy_gamma", 1.0))
    unit = c.take("use_l2_normalisation", False)
    if free:  # their codebook_size is not read: four of the five published configs state 4096
        if not 1 <= width <= 18:
            raise ConfigError(f"{_SYSTEM}: token_size is {width} bits; ids of 1 to 18 bits are supported.")
        terms = {"entropy_weight": entropy, "entropy_temperature": temperature, "diversity_gamma": gamma}
        return {"kind": "lfq", "bits": width, "bit_order": "lsb", "group_bits": width, "commitment_weight": commitment, **terms}
    training_only(Fields({"entropy_loss_weight": entropy}, _SYSTEM), "entropy_loss_weight", 0.0)
    return {
        "kind": "vq",
        "codebook_size": size,
        "normalize": unit,
        "returns": "normalized" if unit else "raw",
        "commitment_weight": commitment,
        "codebook_weight": 1.0,
        "update": "gradient",
        "kmeans_init": False,
        "replace_below": 0.0,
    }


_PARTS = "{norm1|norm2|conv1|conv2}.*"


def _blocks(theirs: str, ours: str) -> list[Row]:
    return [(f"{theirs}.{{}}.{_PARTS}", f"{ours}.{{}}.{_PARTS}"), (f"{theirs}.{{}}.nin_shortcut.*", f"{ours}.{{}}.shortcut.*")]


def _rows(levels: int) -> list[Row]:
    rows: list[Row] = [*OUTER, *_blocks(SIDE + ".mid.res_blocks", SIDE + ".middle")]
    rows += _blocks("encoder.down.{}.res_blocks", "encoder.levels.{}.blocks")
    rows.append(("encoder.down.{}.down_conv.*", "encoder.levels.{}.resample.conv.*"))
    for i in range(levels):
        theirs, ours = f"decoder.up.{levels - 1 - i}", f"decoder.levels.{i}"
        rows += _blocks(theirs + ".res_blocks", ours + ".blocks")
        rows.append((theirs + ".upsample_conv.*", ours + ".resample.conv.*"))
    return rows


def _coarse_first(levels: int) -> Then:
    """Number the decoder's levels from coarse to fine where the file has the older order: its last level doubles the grid."""

    def read(state: State) -> State:
        if levels == 1 or f"decoder.up.{levels - 1}.upsample_conv.weight" not in state:
            return state
        return {_turned(k, levels): v for k, v in state.items()}

    return Then(read, lambda state: state)


def _turned(key: str, levels: int) -> str:
    head, _, rest = key.removeprefix("decoder.up.").partition(".")
    return f"decoder.up.{levels - 1 - int(head)}.{rest}" if key.startswith("decoder.up.") and head.isdigit() else key


def _keys(own: VQGANConfig) -> KeyMap:
    levels = len(own.encoder.widths)
    return KeyMap(_coarse_first(levels), Rename([*_rows(levels), *TABLE], also_drop=("quantize.{codebook|bits_to_indices}",)))


LAYOUTS = (
    Layout(
        system=_SYSTEM,
        upstream="markweberdev/maskbit modeling/conv_vqgan.py ConvVQModel",
        family="vqgan",
        config=_config,
        keys=_keys,
    ),
)
