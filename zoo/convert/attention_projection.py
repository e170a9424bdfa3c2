"""Key table of `codecs/layers/attention_projection.py` in the spelling that UniTok and DualToken share."""

from .vit import under

_END = r"(weight|bias)"
_KEYS = (
    (r"norm1\." + _END, "attention_norm.{0}"),
    (r"norm2\." + _END, "mlp_norm.{0}"),
    (r"norm3\." + _END, "linear_norm.{0}"),
    (r"proj\." + _END, "linear.{0}"),
    (r"attn\.qkv\.(weight)", "attention.qkv.{0}"),
    (r"attn\.([qv]_bias)", "attention.{0}"),
    (r"attn\.proj\." + _END, "attention.out.{0}"),
    (r"mlp\.norm\." + _END, "gated.norm.{0}"),
    (r"mlp\.w0\." + _END, "gated.gate.{0}"),
    (r"mlp\.w1\." + _END, "gated.up.{0}"),
    (r"mlp\.w2\." + _END, "gated.down.{0}"),
)

#: A buffer of zeros; whatever it holds adds the same to all scores of a query and cancels in the softmax.
KEY_BIAS = r".*\.attn\.zero_k_bias"


def projection_keys(theirs: str, ours: str) -> list[tuple[str, str]]:
    """The table of one map; `theirs` is an expression without groups."""
    return under(theirs + r"\.", ours + ".", _KEYS)
