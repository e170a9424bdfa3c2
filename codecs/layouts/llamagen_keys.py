"""Key tables of LlamaGen's convolutional stacks, also in TokenFlow: blocks in one list a side, the decoder's from coarse to fine."""

from collections.abc import Sequence

from .keymap import Fuse, KeyMap, Rename, Row, Unwrap
from .vqgan_keys import OUTER, SIDE, TABLE, attention, residual

#: Names of the state dict in the order of the authors' loaders: averaged weights first.
FILES = ("ema", "model", "state_dict")


def _level(theirs: str, ours: str, resample: str) -> list[Row]:
    return [
        (f"{theirs}.res.{{}}.{{norm1|norm2|conv1|conv2}}.*", f"{ours}.blocks.{{}}.{{norm1|norm2|conv1|conv2}}.*"),
        (f"{theirs}.res.{{}}.nin_shortcut.*", f"{ours}.blocks.{{}}.shortcut.*"),
        (f"{theirs}.attn.{{}}.{{norm|qkv}}.*", f"{ours}.attentions.{{}}.{{norm|qkv}}.*"),
        (f"{theirs}.attn.{{}}.proj_out.*", f"{ours}.attentions.{{}}.out.*"),
        (f"{theirs}.{resample}.conv.*", f"{ours}.resample.conv.*"),
    ]


def llamagen_rows(encoder_levels: int, decoder_levels: int) -> list[Row]:
    """Rows of encoder, decoder and the projections between them, after `Fuse(("q", "k", "v"), "qkv")`."""
    rows: list[Row] = [*residual("mid.0", "middle.0"), *attention("mid.1", "middle.1"), *residual("mid.2", "middle.2")]
    for i in range(encoder_levels):
        rows += _level(f"encoder.conv_blocks.{i}", f"encoder.levels.{i}", "downsample")
    for i in range(decoder_levels):
        rows += _level(f"decoder.conv_blocks.{i}", f"decoder.levels.{decoder_levels - 1 - i}", "upsample")
    return [*rows, *OUTER]


def llamagen_map(
    encoder_levels: int,
    decoder_levels: int,
    *,
    more: Sequence[Row] = TABLE,
    dropped: Sequence[str] = (),
    unwrap: Sequence[str] = FILES,
) -> KeyMap:
    """The key map of a checkpoint in LlamaGen's layout; `more` are rows of the quantizer and other parts of the system."""
    rows = [*llamagen_rows(encoder_levels, decoder_levels), *more]
    used = "quantize.codebook_used"  # a buffer of recent ids, for display
    return KeyMap(Unwrap(*unwrap), Fuse(("q", "k", "v"), "qkv", where=SIDE + ".**."), Rename(rows, also_drop=(used, *dropped)))
