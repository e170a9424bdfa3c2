"""Key tables of transformer blocks in the spellings that several authors share, to the names of `codecs/layers/vit.py`."""

from collections.abc import Sequence

#: Blocks in OpenCLIP's spelling (`ln_1`, `attn.in_proj_weight`, `mlp.c_fc`): TiTok, BSQ-ViT, KARL, ALIT.
BLOCK_KEYS: tuple[tuple[str, str], ...] = (
    (r"ln_1\.(weight|bias)", r"attention_norm.{0}"),
    (r"attn\.in_proj_(weight|bias)", r"attention.qkv.{0}"),
    (r"attn\.out_proj\.(weight|bias)", r"attention.out.{0}"),
    (r"ln_2\.(weight|bias)", r"mlp_norm.{0}"),
    (r"mlp\.c_fc\.(weight|bias)", r"mlp.0.{0}"),
    (r"mlp\.c_proj\.(weight|bias)", r"mlp.2.{0}"),
    (r"ls_1\.gamma", "attention_scale"),
    (r"ls_2\.gamma", "mlp_scale"),
)

#: Blocks in timm's spelling (`norm1`, `attn.qkv`, `mlp.fc1`, `ls1`): ImageFolder, RobusTok.
TIMM_BLOCK_KEYS: tuple[tuple[str, str], ...] = (
    (r"norm1\.(weight|bias)", r"attention_norm.{0}"),
    (r"attn\.qkv\.(weight|bias)", r"attention.qkv.{0}"),
    (r"attn\.proj\.(weight|bias)", r"attention.out.{0}"),
    (r"norm2\.(weight|bias)", r"mlp_norm.{0}"),
    (r"mlp\.fc1\.(weight|bias)", r"mlp.0.{0}"),
    (r"mlp\.fc2\.(weight|bias)", r"mlp.2.{0}"),
    (r"ls1\.gamma", "attention_scale"),
    (r"ls2\.gamma", "mlp_scale"),
)


def under(prefix: str, new_prefix: str, keys: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The table `keys` with every key behind `prefix` (an expression with its own groups) renamed to behind `new_prefix`.

    `{0}` in the new names stands for the key's own group, whose number depends on how many the prefix has.
    """
    group = rf"\{prefix.count('(') - prefix.count('(?') + 1}"
    return [(prefix + old, new_prefix + new.replace("{0}", group)) for old, new in keys]
