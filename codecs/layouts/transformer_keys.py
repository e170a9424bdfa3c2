"""Key tables of transformers over frames, in the spellings of Moshi and transformers, with their codebooks and norms."""

from typing import Any

from torch import Tensor

from ..layers.transformer1d import interleaved_to_halves
from .keymap import Each, Fuse, Row, State, Then, matches

#: Moshi's blocks below `<prefix>.transformer.layers.{}.`, also of MOSS.
MOSHI_BLOCK: tuple[Row, ...] = (
    ("norm1.{weight|bias}", "norm_attention.{weight|bias}"),
    ("norm1.alpha", "norm_attention.weight"),
    ("self_attn.[in_projs.0.weight|in_proj_weight|in_proj.weight]", "attention.qkv.weight"),
    ("self_attn.[out_projs.0|out_proj|out_projs].weight", "attention.out.weight"),
    ("layer_scale_1.scale", "scale_attention.scale"),
    ("norm2.{weight|bias}", "norm_feed_forward.{weight|bias}"),
    ("norm2.alpha", "norm_feed_forward.weight"),
    ("[linear1|gating.linear_in].weight", "feed_forward.up.weight"),
    ("[linear2|gating.linear_out].weight", "feed_forward.down.weight"),
    ("layer_scale_2.scale", "scale_feed_forward.scale"),
)

#: Blocks of transformers' Mimi below `<side>_transformer.layers.{}.`, with q, k, v joined.
HF_BLOCK: tuple[Row, ...] = (
    ("input_layernorm.*", "norm_attention.*"),
    ("self_attn.qkv.*", "attention.qkv.*"),
    ("self_attn.o_proj.*", "attention.out.*"),
    ("self_attn_layer_scale.scale", "scale_attention.scale"),
    ("post_attention_layernorm.*", "norm_feed_forward.*"),
    ("mlp.fc1.weight", "feed_forward.up.weight"),
    ("mlp.fc2.weight", "feed_forward.down.weight"),
    ("mlp_layer_scale.scale", "scale_feed_forward.scale"),
)

#: Lower limit of the usage that a stored sum is divided by.
USAGE_FLOOR = 1e-5


def means(sums: str, flag: str = "", *, where: str = "**") -> Then:
    """Every pair of running sums (`<prefix>{sums}`) and usage (`<prefix>cluster_usage`) as the table `<prefix>embed`, and back.

    Args:
        sums: last name of the sums.
        flag: last name of a flag that the table is initialised: dropped, written as 1; "": there is none.
        where: pattern of the prefixes, for files with two kinds.
    """

    def read(state: State) -> State:
        out = dict(state)
        for key in [k for k in out if matches(k, (f"{where}.{sums}",))]:
            prefix = key[: -len(sums)]
            usage = out.pop(prefix + "cluster_usage")
            out[prefix + "embed"] = out.pop(key) / usage.clamp(min=USAGE_FLOOR)[:, None]
            out.pop(prefix + flag, None)
        return out

    def write(state: State) -> State:
        out = dict(state)
        for key in [k for k in out if matches(k, (where + ".embed",))]:
            prefix = key[: -len("embed")]
            table: Tensor = out.pop(key)
            out |= {prefix + sums: table, prefix + "cluster_usage": table.new_ones(table.shape[0])}
            if flag:
                out[prefix + flag] = table.new_ones(1)
        return out

    return Then(read, write)


def fuse_qkv(transformer: Any, where: str = "**self_attn.") -> Fuse:
    """`q_proj`, `k_proj`, `v_proj` as one `qkv`; `transformer` is our `Transformer1dConfig`, for the number of rows of each."""
    head = transformer.head_dim or transformer.width // transformer.heads
    kv = (transformer.kv_heads or transformer.heads) * head
    return Fuse(("q_proj", "k_proj", "v_proj"), "qkv", where=where, widths=(transformer.heads * head, kv, kv))


def rotary_halves(pattern: str, *, heads: int, kv_heads: int) -> Each:
    """Reorder rows of fused q, k, v: rotary pairs are neighbours in the authors' weights and halves here."""
    width: dict[str, Any] = {"heads": heads, "kv_heads": kv_heads}
    return Each((pattern,), lambda v: interleaved_to_halves(v, **width), lambda v: _halves_to_interleaved(v, **width))


def _halves_to_interleaved(value: Tensor, *, heads: int, kv_heads: int) -> Tensor:
    """The inverse of `interleaved_to_halves`, by the permutation that it applies to row numbers."""
    import torch

    rows = torch.arange(value.shape[0], dtype=torch.float64)[:, None].expand(-1, 2)
    order = interleaved_to_halves(rows.contiguous(), heads=heads, kv_heads=kv_heads)[:, 0].long()
    out = torch.empty_like(value)
    out[order] = value
    return out


def rms_gains(*patterns: str) -> Each:
    """Gains of RMSNorm, stored by Moshi as `[1, 1, D]`, to `[D]`."""
    return Each(patterns, lambda v: v.flatten(), lambda v: v.view(1, 1, -1))
