"""Emu3's vision tokenizer (baaivision/Emu3 @ f6ea9aaa44, `Emu3VisionVQModel`), transformers layout with remote code."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .authors import open_config, unwrap
from .base import Converter, rename
from .fields import TRANSFORMERS_KEYS
from .taming import legacy_vq
from .taming_keys import TABLE, fuse_qkv

_END = r"(weight|bias)"


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "emu3-vq")
    c.drop(*TRANSFORMERS_KEYS)
    c.require("in_channels", 3)
    c.require("out_channels", 3)
    c.require("double_z", False)  # the published class cannot take True
    width, mult, blocks = c.take("ch", 256), c.take("ch_mult", [1, 2, 2, 4]), c.take("num_res_blocks", 2)
    levels = [i for i in c.take("attn_resolutions", [3]) if 0 <= i < len(mult)]  # numbers of levels, not sides
    dim = c.take("embed_dim", 4)
    c.require("z_channels", dim, 4)
    common = {
        "widths": [width * m for m in mult],
        "attention_levels": levels,
        "dropout": float(c.take("dropout", 0.0)),
    }
    # its quantizer has no losses of its own: the published code only runs
    out = {
        "encoder": {**common, "stem_width": width, "blocks": blocks},
        "decoder": {**common, "blocks": blocks + 1, "condition": "spatial"},
        "latent_dim": dim,
        "frames": c.take("temporal_downsample_factor", 4),
        "time_blocks": blocks,
        "quantizer": legacy_vq(c.take("codebook_size", 32768), 1.0, commitment_weight=0.25),
    }
    c.done()
    return out


_SIDE = r"(encoder|decoder)"
_LEVEL = rf"{_SIDE}\.(?:down|up)\.(\d+)"
#: A norm is plain in the encoder; in the decoder a GroupNorm `norm_layer`, a gain `conv_y` and a shift `conv_b`.
_NORMS = (("", ""), (r"\.norm_layer", ".norm"), (r"\.conv_y", ".gain"), (r"\.conv_b", ".shift"))


def _norm(theirs: str, ours: str, groups: int) -> list[tuple[str, str]]:
    return [(rf"{theirs}{old}\.{_END}", rf"{ours}{new}.\{groups + 1}") for old, new in _NORMS]


def movq_table() -> list[tuple[str, str]]:
    """Encoder and decoder of MoVQ's line (Emu3, ILLUME+), and what of time Emu3 has beside them."""
    table = [
        (rf"{_SIDE}\.conv_in\.{_END}", r"\1.stem.\2"),
        (rf"{_SIDE}\.conv_out\.{_END}", r"\1.head.\2"),
        *_norm(rf"{_SIDE}\.norm_out", r"\1.norm", 1),
        (rf"{_LEVEL}\.(?:downsample|upsample)\.conv\.{_END}", r"\1.levels.\2.resample.conv.\3"),
        (rf"{_LEVEL}\.block\.(\d+)\.(conv[12])\.{_END}", r"\1.levels.\2.blocks.\3.\4.\5"),
        (rf"{_LEVEL}\.block\.(\d+)\.nin_shortcut\.{_END}", r"\1.levels.\2.blocks.\3.shortcut.\4"),
        *_norm(rf"{_LEVEL}\.block\.(\d+)\.(norm[12])", r"\1.levels.\2.blocks.\3.\4", 4),
        (rf"{_LEVEL}\.attn\.(\d+)\.qkv\.{_END}", r"\1.levels.\2.attentions.\3.qkv.\4"),
        (rf"{_LEVEL}\.attn\.(\d+)\.proj_out\.{_END}", r"\1.levels.\2.attentions.\3.out.\4"),
        *_norm(rf"{_LEVEL}\.attn\.(\d+)\.norm", r"\1.levels.\2.attentions.\3.norm", 3),
        (rf"{_SIDE}\.mid\.attn_1\.qkv\.{_END}", r"\1.middle.1.qkv.\2"),
        (rf"{_SIDE}\.mid\.attn_1\.proj_out\.{_END}", r"\1.middle.1.out.\2"),
        *_norm(rf"{_SIDE}\.mid\.attn_1\.norm", r"\1.middle.1.norm", 1),
    ]
    for theirs, ours in (("block_1", 0), ("block_2", 2)):
        table.append((rf"{_SIDE}\.mid\.{theirs}\.(conv[12])\.{_END}", rf"\1.middle.{ours}.\2.\3"))
        table += _norm(rf"{_SIDE}\.mid\.{theirs}\.(norm[12])", rf"\1.middle.{ours}.\2", 2)
    for side, way in (("encoder", "down"), ("decoder", "up")):
        stack = rf"{side}\.time_res_stack\.(\d+)"
        table += [
            (rf"{side}\.time_conv\.(\d+)\.conv\.conv\.{_END}", rf"time_{way}.\1.\2"),
            (rf"{stack}\.(conv[12])\.conv\.{_END}", rf"time_{side}.\1.\2.\3"),
            (rf"{stack}\.(norm[12])\.{_END}", rf"time_{side}.\1.\2.\3"),
            (rf"{stack}\.(norm[12])\.running_mean", rf"time_{side}.\1.\2.mean"),
            (rf"{stack}\.(norm[12])\.running_var", rf"time_{side}.\1.\2.variance"),
        ]
    table += [
        (rf"quant_conv\.conv\.{_END}", r"to_code.\1"),
        (rf"post_quant_conv\.conv\.{_END}", r"from_code.\1"),
        *TABLE,
    ]
    return table


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    return rename(fuse_qkv(unwrap(state, "state_dict")), movq_table(), dropped=(r".*\.num_batches_tracked",))


CONVERTERS: tuple[Converter, ...] = (
    Converter(
        system="emu3-vq",
        upstream="baaivision/Emu3 emu3/tokenizer/modeling_emu3visionvq.py Emu3VisionVQModel",
        family="emu3",
        config=_config,
        weights=_weights,
    ),
)
