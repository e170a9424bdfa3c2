"""Key tables of VQGAN and its descendants: taming's names to those of `codecs/layers/vqgan.py`."""

from collections.abc import Sequence

from .keymap import Fuse, KeyMap, Rename, Row, Unwrap, lightning_average

SIDE = "{encoder|decoder}"

#: First and last layers of encoder and decoder, and the projections to codes and back.
OUTER: tuple[Row, ...] = (
    (SIDE + ".conv_in.*", SIDE + ".stem.*"),
    (SIDE + ".norm_out.*", SIDE + ".norm.*"),
    (SIDE + ".conv_out.*", SIDE + ".head.*"),
    ("quant_conv.*", "to_code.*"),
    ("post_quant_conv.*", "from_code.*"),
)

#: All rows but those of the middle, whose blocks differ between systems.
LEVELS: tuple[Row, ...] = (
    ("encoder.[down|levels].{}.block.{}.{norm1|norm2|conv1|conv2}.*", "encoder.levels.{}.blocks.{}.{norm1|norm2|conv1|conv2}.*"),
    ("decoder.[up|levels].{}.block.{}.{norm1|norm2|conv1|conv2}.*", "decoder.levels.{}.blocks.{}.{norm1|norm2|conv1|conv2}.*"),
    ("encoder.[down|levels].{}.block.{}.nin_shortcut.*", "encoder.levels.{}.blocks.{}.shortcut.*"),
    ("decoder.[up|levels].{}.block.{}.nin_shortcut.*", "decoder.levels.{}.blocks.{}.shortcut.*"),
    ("encoder.[down|levels].{}.attn.{}.{norm|qkv}.*", "encoder.levels.{}.attentions.{}.{norm|qkv}.*"),
    ("decoder.[up|levels].{}.attn.{}.{norm|qkv}.*", "decoder.levels.{}.attentions.{}.{norm|qkv}.*"),
    ("encoder.[down|levels].{}.attn.{}.proj_out.*", "encoder.levels.{}.attentions.{}.out.*"),
    ("decoder.[up|levels].{}.attn.{}.proj_out.*", "decoder.levels.{}.attentions.{}.out.*"),
    *OUTER,
)

#: Rows of the convolutions that change the resolution, in taming's names.
RESAMPLE: tuple[Row, ...] = (
    ("encoder.[down|levels].{}.downsample.conv.*", "encoder.levels.{}.resample.conv.*"),
    ("decoder.[up|levels].{}.upsample.conv.*", "decoder.levels.{}.resample.conv.*"),
)

#: Rows of one codebook.
TABLE: tuple[Row, ...] = (("quantize.embedding.weight", "quantizer.codebook.embed"),)

#: Training-time parts of Lightning checkpoints: losses with their discriminator and perceptual net, step counters.
LIGHTNING = ("loss.**", "model_ema.**", "global_step", "colorize")


def residual(theirs: str, ours: str) -> tuple[Row, ...]:
    """Rows of a residual block called `theirs` after `encoder.` or `decoder.`."""
    return (
        (f"{SIDE}.{theirs}.{{norm1|norm2|conv1|conv2}}.*", f"{SIDE}.{ours}.{{norm1|norm2|conv1|conv2}}.*"),
        (f"{SIDE}.{theirs}.nin_shortcut.*", f"{SIDE}.{ours}.shortcut.*"),
    )


def attention(theirs: str, ours: str) -> tuple[Row, ...]:
    """Rows of an attention block called `theirs`."""
    return (
        (f"{SIDE}.{theirs}.{{norm|qkv}}.*", f"{SIDE}.{ours}.{{norm|qkv}}.*"),
        (f"{SIDE}.{theirs}.proj_out.*", f"{SIDE}.{ours}.out.*"),
    )


def taming_middle(*, with_attention: bool = True) -> tuple[Row, ...]:
    """Rows of the middle: `mid.block_1`, `mid.attn_1`, `mid.block_2`."""
    middle = attention("mid.attn_1", "middle.1") if with_attention else ()
    return residual("mid.block_1", "middle.0") + middle + residual("mid.block_2", f"middle.{1 + with_attention}")


def phis(theirs: str, ours: str, count: int) -> tuple[Row, ...]:
    """Rows of VAR's convolutions after each scale: one a scale (`count` 0), one for all scales (1), or `count` shared ones."""
    if count == 1:
        return ((f"{theirs}.[qresi|qresi_ls.0|0].*", f"{ours}.0.*"),)
    number = "[qresi_ls.|]{}" if count else "[|qresi_ls.]{}"
    return ((f"{theirs}.{number}.*", f"{ours}.{{}}.*"),)


def taming_map(
    *,
    unwrap: Sequence[str] = ("state_dict",),
    middle: Sequence[Row] = taming_middle(),
    resample: Sequence[Row] = RESAMPLE,
    more: Sequence[Row] = TABLE,
    dropped: Sequence[str] = (),
    joined: bool = False,
) -> KeyMap:
    """The key map of a checkpoint in taming's layout: prefixes removed, averaged weights first, q k v joined, renamed.

    Args:
        unwrap: possible names of the state dict, the authors' first choice first.
        middle, resample: rows of the blocks that differ between systems.
        more: rows of the quantizer and other parts of the system.
        dropped: patterns that are dropped on purpose, besides those of Lightning's training parts.
        joined: the authors' attention has one map `qkv` already (VAR).
    """
    return KeyMap(
        Unwrap(*unwrap),
        lightning_average(),
        *(() if joined else (Fuse(("q", "k", "v"), "qkv"),)),
        Rename([*LEVELS, *resample, *middle, *more], also_drop=(*LIGHTNING, *dropped)),
    )
