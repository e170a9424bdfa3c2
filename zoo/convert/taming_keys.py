"""Key tables of the VQGAN line: taming's names to those of `codecs/layers/vqgan.py`."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .base import rename

_SIDE = r"(encoder|decoder)"
_LEVEL = r"(?:down|up|levels)\.(\d+)"
_END = r"(weight|bias)"

#: Everything but the middle, which has different blocks in different systems.
LEVELS: tuple[tuple[str, str], ...] = (
    (rf"{_SIDE}\.conv_in\.{_END}", r"\1.stem.\2"),
    (rf"{_SIDE}\.{_LEVEL}\.block\.(\d+)\.(norm[12]|conv[12])\.{_END}", r"\1.levels.\2.blocks.\3.\4.\5"),
    (rf"{_SIDE}\.{_LEVEL}\.block\.(\d+)\.nin_shortcut\.{_END}", r"\1.levels.\2.blocks.\3.shortcut.\4"),
    (rf"{_SIDE}\.{_LEVEL}\.attn\.(\d+)\.(norm|qkv)\.{_END}", r"\1.levels.\2.attentions.\3.\4.\5"),
    (rf"{_SIDE}\.{_LEVEL}\.attn\.(\d+)\.proj_out\.{_END}", r"\1.levels.\2.attentions.\3.out.\4"),
    (rf"{_SIDE}\.{_LEVEL}\.(?:downsample|upsample)\.conv1?\.{_END}", r"\1.levels.\2.resample.conv.\3"),
    (rf"{_SIDE}\.{_LEVEL}\.(?:downsample|upsample_conv)\.{_END}", r"\1.levels.\2.resample.conv.\3"),
    (rf"{_SIDE}\.norm_out\.{_END}", r"\1.norm.\2"),
    (rf"{_SIDE}\.conv_out\.{_END}", r"\1.head.\2"),
    (rf"quant_conv\.{_END}", r"to_code.\1"),
    (rf"post_quant_conv\.{_END}", r"from_code.\1"),
)

#: One table of codes.
TABLE: tuple[tuple[str, str], ...] = ((r"quantize\.embedding\.weight", "quantizer.codebook.embed"),)

#: Training-time parts of Lightning checkpoints: losses with their discriminator and perceptual net, step counters.
LIGHTNING = (r"loss\..*", r"model_ema\..*", r"global_step", r"colorize")


def residual(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    """A residual block called `theirs` (an expression after `encoder.` or `decoder.`, no groups)."""
    return (
        (rf"{_SIDE}\.{theirs}\.(norm[12]|conv[12])\.{_END}", rf"\1.{ours}.\2.\3"),
        (rf"{_SIDE}\.{theirs}\.nin_shortcut\.{_END}", rf"\1.{ours}.shortcut.\2"),
    )


def attention(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    """An attention block called `theirs`."""
    return (
        (rf"{_SIDE}\.{theirs}\.(norm|qkv)\.{_END}", rf"\1.{ours}.\2.\3"),
        (rf"{_SIDE}\.{theirs}\.proj_out\.{_END}", rf"\1.{ours}.out.\2"),
    )


def taming_middle(*, with_attention: bool = True) -> tuple[tuple[str, str], ...]:
    """`mid.block_1`, `mid.attn_1`, `mid.block_2`."""
    middle = attention(r"mid\.attn_1", "middle.1") if with_attention else ()
    return residual(r"mid\.block_1", "middle.0") + middle + residual(r"mid\.block_2", f"middle.{1 + with_attention}")


def fuse_qkv(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join the three maps `q`, `k`, `v` of every attention block into `qkv`."""
    out = dict(state)
    for key in state:
        for end in ("weight", "bias"):
            if key.endswith(f".q.{end}"):
                stem = key[: -len(f"q.{end}")]
                out[f"{stem}qkv.{end}"] = torch.cat([out.pop(f"{stem}{part}.{end}") for part in "qkv"])
    return out


def taming_weights(
    state: Mapping[str, Tensor],
    *,
    middle: Sequence[tuple[str, str]] = taming_middle(),
    more: Sequence[tuple[str, str]] = TABLE,
    dropped: Sequence[str] = (),
) -> dict[str, Tensor]:
    """Rename a state dict of taming's layout."""
    return rename(fuse_qkv(state), (*LEVELS, *middle, *more), dropped=(*LIGHTNING, *dropped))
