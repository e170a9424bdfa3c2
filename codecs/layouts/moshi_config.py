"""Keyword arguments of Moshi's projected transformer, the basis of Mimi and, as a copy, of MOSS-Audio-Tokenizer."""

from collections.abc import Mapping
from typing import Any

from .fields import Fields

#: gating of Moshi's layers -> activation here; "none" is the plain two-layer network with GELU.
_GATINGS = {"none": "gelu", "silu": "silu", "gelu": "gelu", "relu": "relu"}
#: norm there -> norm and epsilon here.
_NORMS = {"layer_norm": ("layer", 1e-5), "rms_norm": ("rms", 1e-5), "rms_norm_f32": ("rms", 1e-8)}


def moshi_transformer(values: Mapping[str, Any], dim: int | None = None, *, concat: bool = False) -> dict[str, Any]:
    """Fields of `Transformer1dConfig` from the authors' keyword arguments.

    Args:
        values: the keyword arguments.
        dim: required input and output width; None: not checked.
        concat: the class supports the position "rope_concat", rotary pairs as halves.
    """
    t = Fields(values, "transformer")
    t.require("causal", True, False)
    gating = t.take("gating", "none")
    position, period = t.take("positional_embedding", "sin"), float(t.take("max_period", 10000))
    if gating not in _GATINGS or position not in ("rope", "sin", "sin_rope", "none", *(("rope_concat",) if concat else ())):
        raise ValueError(f"transformer: gating {gating!r} or positional_embedding {position!r} is not supported.")
    width, heads, hidden = t.take("d_model"), t.take("num_heads"), t.take("dim_feedforward", 2048)
    if gating != "none":  # a gated network has as many weights as a plain one
        hidden = (21 * width) // 8 if hidden == 4 * width else (2 * hidden) // 3
    if dim is not None:
        t.require("input_dimension", dim)
        t.require("output_dimensions", [dim])
    for key, value in (("weights_per_step", 0), ("cross_attention", False), ("positional_scale", 1.0)):
        t.require(key, value)
    t.drop("input_dimension", "output_dimension", "conv_layout", "module_type", "betas", "checkpointing")
    norm, eps = t.one_of("norm", _NORMS, "layer_norm")
    out = {
        "width": width,
        "layers": t.take("num_layers"),
        "heads": heads,
        "kv_heads": heads // t.take("kv_repeat", 1),
        "feed_forward": hidden,
        "gated": gating != "none",
        "activation": _GATINGS[gating],
        "context": t.take("context", None),
        "norm": norm,
        "norm_eps": eps,
        "layer_scale": t.take("layer_scale", None),
        "rope_period": period if "rope" in position else None,
        "sin_period": period if "sin" in position else None,
    }
    t.done()
    return out
