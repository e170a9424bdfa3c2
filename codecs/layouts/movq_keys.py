"""Key tables of MoVQ's line (Emu3, ILLUME+): taming's names, with decoder norms scaled and shifted by the codes."""

from .keymap import Row
from .vqgan_keys import SIDE

#: A norm is plain in the encoder; in the decoder a GroupNorm `norm_layer`, a gain `conv_y` and a shift `conv_b`.
_NORMS = (("", ""), (".norm_layer", ".norm"), (".conv_y", ".gain"), (".conv_b", ".shift"))


def _norm(theirs: str, ours: str) -> list[Row]:
    return [(f"{theirs}{old}.*", f"{ours}{new}.*") for old, new in _NORMS]


def _residual(theirs: str, ours: str) -> list[Row]:
    rows: list[Row] = [
        (f"{theirs}.{{conv1|conv2}}.*", f"{ours}.{{conv1|conv2}}.*"),
        (f"{theirs}.nin_shortcut.*", f"{ours}.shortcut.*"),
    ]
    return rows + _norm(f"{theirs}.{{norm1|norm2}}", f"{ours}.{{norm1|norm2}}")


def _attention(theirs: str, ours: str) -> list[Row]:
    rows: list[Row] = [(f"{theirs}.qkv.*", f"{ours}.qkv.*"), (f"{theirs}.proj_out.*", f"{ours}.out.*")]
    return rows + _norm(f"{theirs}.norm", f"{ours}.norm")


def _attention_hf(theirs: str, norm: str, ours: str) -> list[Row]:
    """Rows of an attention block in transformers: linear maps, and a norm outside the block."""
    rows: list[Row] = [(f"{theirs}.qkv.*", f"{ours}.qkv.*"), (f"{theirs}.out_proj.*", f"{ours}.out.*")]
    return rows + _norm(norm, f"{ours}.norm")


def stacks_hf() -> list[Row]:
    """Rows of encoder and decoder of transformers' `Emu3VQVAE`, with q, k, v joined."""
    middle, own = SIDE + ".middle_block.", SIDE + ".middle."
    rows: list[Row] = [
        (SIDE + ".conv_in.*", SIDE + ".stem.*"),
        (SIDE + ".conv_out.*", SIDE + ".head.*"),
        *_norm(SIDE + ".norm_out", SIDE + ".norm"),
        *_residual(middle + "block_1", own + "0"),
        *_attention_hf(middle + "attn_1", middle + "attn_norm", own + "1"),
        *_residual(middle + "block_2", own + "2"),
    ]
    for side, way, change in (("encoder", "down", "downsample"), ("decoder", "up", "upsample")):
        theirs, ours = f"{side}.{way}_block.{way}.{{}}", f"{side}.levels.{{}}"
        rows.append((f"{theirs}.{change}.conv.*", f"{ours}.resample.conv.*"))
        rows += _residual(theirs + ".block.{}", ours + ".blocks.{}")
        rows += _attention_hf(theirs + ".attn.{}", theirs + ".attn_norms.{}", ours + ".attentions.{}")
    return rows


def stacks() -> list[Row]:
    """Rows of encoder and decoder in the authors' names, with q, k, v joined."""
    rows: list[Row] = [
        (SIDE + ".conv_in.*", SIDE + ".stem.*"),
        (SIDE + ".conv_out.*", SIDE + ".head.*"),
        *_norm(SIDE + ".norm_out", SIDE + ".norm"),
        *_residual(SIDE + ".mid.block_1", SIDE + ".middle.0"),
        *_attention(SIDE + ".mid.attn_1", SIDE + ".middle.1"),
        *_residual(SIDE + ".mid.block_2", SIDE + ".middle.2"),
    ]
    for side, way, change in (("encoder", "down", "downsample"), ("decoder", "up", "upsample")):
        theirs, ours = f"{side}.{way}.{{}}", f"{side}.levels.{{}}"
        rows.append((f"{theirs}.{change}.conv.*", f"{ours}.resample.conv.*"))
        rows += _residual(theirs + ".block.{}", ours + ".blocks.{}")
        rows += _attention(theirs + ".attn.{}", ours + ".attentions.{}")
    return rows
