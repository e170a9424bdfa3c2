"""Groups of frames in the authors' terms: Moshi's projected transformers over frames, and the two that read off groups' vectors.

FlexiCodec and H-Codec 1.5 name and set up these parts alike.
"""

from collections.abc import Mapping
from typing import Any

from ..layers.transformer1d import Transformer1dConfig
from .keymap import Each, Row, Step, under
from .moshi_config import moshi_transformer
from .transformer_keys import MOSHI_BLOCK, rms_gains, rotary_halves

#: The authors' names of the two transformers over groups -> ours.
GROUPS = {"semantic_aggregator": "semantic_groups", "acoustic_aggregator": "acoustic_groups"}


def projected_transformer(values: Mapping[str, Any], dim: int, name: str) -> dict[str, Any]:
    """A `Transformer1dConfig` mapping; the context has no effect where every position attends to all others."""
    causal = bool(values.get("causal", False))
    if list(values.get("output_dimensions", [dim]))[:1] != [dim] or values.get("input_dimension", dim) != dim:
        raise ValueError(f"{name} maps {values.get('input_dimension')} to {values.get('output_dimensions')} channels, not {dim}.")
    rest = {k: v for k, v in values.items() if k not in ("input_dimension", "output_dimensions")}
    out = moshi_transformer(rest | {"causal": True})
    return out | {"causal": causal, "context": out["context"] if causal else None}


def projected_rows(theirs: str, ours: str) -> list[Row]:
    """Rows of such a transformer."""
    return [
        (f"{theirs}.input_proj.weight", f"{ours}.in_proj.weight"),
        (f"{theirs}.output_projs.0.weight", f"{ours}.out_proj.weight"),
        *under(f"{theirs}.transformer.layers.{{}}.", f"{ours}.blocks.{{}}.", MOSHI_BLOCK),
    ]


def projected_steps(ours: str, c: Transformer1dConfig | None) -> list[Step]:
    """Steps behind `projected_rows`; None: there is no transformer."""
    if c is None:
        return []
    gains = [rms_gains(f"{ours}.blocks.{{}}.{{norm_attention|norm_feed_forward}}.weight")] if c.norm == "rms" else []
    return [*gains, rotary_halves(f"{ours}.blocks.{{}}.attention.qkv.weight", heads=c.heads, kv_heads=c.heads)]


def aggregator_rows(query: str) -> list[Row]:
    """Rows of both transformers over groups; `query` as in `GroupVectors`, and `flat_queries` must follow."""
    read, rows = "query_embedding" if query == "mean" else "query_token", list[Row]()
    for theirs, ours in GROUPS.items():
        rows += [(f"{theirs}.{read}", f"{ours}.query"), *projected_rows(f"{theirs}.transformer", f"{ours}.transformer")]
        rows.append((f"{theirs}.query_embedding", None))  # where it is not read above, no output depends on it
    return rows


def flat_queries() -> Each:
    """Queries `[1, D, 1]` as `[D]`."""
    return Each(("*_groups.query",), lambda v: v.flatten(), lambda v: v.view(1, -1, 1))
