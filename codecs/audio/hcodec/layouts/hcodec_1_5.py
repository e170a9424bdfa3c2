"""H-Codec 1.5: the parts of 1.0, sized by a config, and Moshi's transformers that give groups of frames their vectors."""

from collections.abc import Mapping
from typing import Any

from ....layouts.fields import FOLDER_KEYS, Fields
from ....layouts.group_keys import GROUPS, aggregator_rows, flat_queries, projected_rows, projected_steps, projected_transformer
from ....layouts.keymap import KeyMap, Step
from ....layouts.layout import Layout
from ..model import HCodecConfig
from .parts import CONV_DEFAULTS, LEARNED_UP, VQ_DEFAULTS, key_map, part, seanet_encoder_rows, seanet_parts, streams

_VQ = {"dim": 512, "codebook_size": 1024, "num_quantizers": 4, "decay": 0.99, "kmeans_init": True, "kmeans_iters": 50,
       "quantize_dropout": True}  # fmt: skip
_AGGREGATOR = {"dim": 512, "in_out_dim": 512, "num_heads": 8, "num_layers": 32, "dim_feedforward": 2048, "context_frames": 16}

#: The published sizes (`conf/config_adaptive_v3.yaml`); they stand in the authors' repository, not beside the weights.
_PUBLISHED: dict[str, dict[str, Any]] = {
    "encoder_config": {
        "encoder": {"dimension": 512, "ratios": [2, 4, 5, 8]},
        "semantic_encoder": {
            "input_channels": 1024, "encode_channels": 1024, "out_channels": 512, "channel_ratios": [1, 1], "strides": [2, 1],
        },
    },
    "decoder_config": {
        "decoder": {"input_channels": 1024, "dim": 1024, "intermediate_dim": 2304},
        "semantic_decoder": {
            "code_dim": 512, "output_channels": 1024, "decode_channels": 1024, "channel_ratios": [1, 1], "strides": [2, 1],
        },
    },
    "quantizer_config": {"quantizer": _VQ, "semantic_quantizer": _VQ},
    "adaptive_config": {
        "use_similarity_alignment": True, "use_query_token_aggregator": True, "use_bottleneck_transformer": True,
        "use_dynamic_similarity_threshold": False, "infer_using_dynamic_threshold": False,
        "similarity_threshold": 0.7, "similarity_threshold_lower": 0.7, "similarity_threshold_upper": 1.0, "manual_threshold": 0.6,
        "max_tokens_per_group": 8,
        "aggregators": {"semantic_aggregator": _AGGREGATOR, "acoustic_aggregator": _AGGREGATOR},
        "transformer_kwargs": {
            "d_model": 1024, "num_heads": 8, "num_layers": 32, "causal": False, "layer_scale": 0.01, "context": 16,
            "positional_embedding": "rope", "dim_feedforward": 2048, "input_dimension": 1024, "output_dimensions": [1024],
        },
    },
}  # fmt: skip


def _aggregator(f: Fields, dim: int) -> tuple[dict[str, Any], str]:
    """The transformer of `QueryTokenAggregator`, and what its queries are."""
    f.require("in_out_dim", dim)
    mean = f.take("use_mean_pooling_init", True)
    values = {
        "d_model": f.take("dim"), "num_heads": f.take("num_heads"), "num_layers": f.take("num_layers"), "layer_scale": 0.01,
        "dim_feedforward": f.take("dim_feedforward"), "causal": f.take("causal", False), "context": f.take("context_frames", 125),
        "positional_embedding": "rope",
    }  # fmt: skip
    f.done()
    if not mean and values["d_model"] != dim:
        raise ValueError(f"{f.name} has one query of {values['d_model']} channels among frames of {dim}.")
    return projected_transformer(values, dim, f.name), "mean" if mean else "learned"


def _merging(a: Fields, dim: int) -> dict[str, Any]:
    """A `MergingConfig` mapping from `adaptive_config`."""
    a.drop("training")
    a.require("use_similarity_alignment", True)
    a.require("use_query_token_aggregator", True)
    aggregators = part(a, "aggregators")
    both = {ours: _aggregator(part(aggregators, theirs), dim) for theirs, ours in GROUPS.items()}
    aggregators.done()
    queries = {query for _, query in both.values()}
    if len(queries) > 1:
        raise ValueError("adaptive_config.aggregators differ in use_mean_pooling_init; they must agree.")
    smoother = dict(a.take("transformer_kwargs", {})) if a.take("use_bottleneck_transformer") else None
    a.drop("transformer_kwargs")
    fixed, manual = a.take("similarity_threshold", None), a.take("manual_threshold", None)
    bounds = a.take("similarity_threshold_lower", None), a.take("similarity_threshold_upper", None)
    if a.take("infer_using_dynamic_threshold", False) and manual is None:
        raise ValueError("adaptive_config draws a threshold for each clip (infer_using_dynamic_threshold); set manual_threshold.")
    drawn, threshold = a.take("use_dynamic_similarity_threshold", False), fixed if manual is None else manual
    if threshold is None:
        raise ValueError("adaptive_config has neither manual_threshold nor similarity_threshold; set one of them.")
    out = {
        "threshold": threshold,
        "draw_threshold": list(bounds) if drawn and manual is None else None,
        "longest": a.take("max_tokens_per_group", 8),
        "query": queries.pop(),
        "semantic": both["semantic_groups"][0],
        "acoustic": both["acoustic_groups"][0],
        "smoother": None if smoother is None else projected_transformer(smoother, 2 * dim, "transformer_kwargs"),
    }
    a.done()
    return out


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, "ckpt_path")
    e, d, q, a = (Fields(f.take(name, default), name) for name, default in _PUBLISHED.items())
    f.done()
    e.drop("ratios")  # a copy of those of `encoder`, for the padding of clips
    out = seanet_parts(Fields(e.take("encoder"), "encoder"), part(d, "decoder"))
    latent = out["seanet"]["latent_dim"]
    first, second = (Fields(VQ_DEFAULTS | dict(q.take(n)), n) for n in ("quantizer", "semantic_quantizer"))
    se, sd = (Fields(CONV_DEFAULTS | dict(s.take(n)), n) for s, n in ((e, "semantic_encoder"), (d, "semantic_decoder")))
    out |= streams(first, second, se, sd, latent)
    out |= {
        "merging": _merging(a, latent), "semantic_name": "facebook/wav2vec2-large-xlsr-53", "semantic_layers": [11, 14, 16],
    }  # fmt: skip
    for fields in (e, d, q):
        fields.done()
    return out


# --- weights --------------------------------------------------------------------------------------------------------


def _keys(own: HCodecConfig) -> KeyMap:
    m = own.merging
    assert m is not None
    rows = [*seanet_encoder_rows(own.seanet), *projected_rows("bottleneck_transformer", "smoother")]
    rows += aggregator_rows(m.query)
    steps: list[Step] = [
        flat_queries(),
        *projected_steps("semantic_groups.transformer", m.semantic),
        *projected_steps("acoustic_groups.transformer", m.acoustic),
        *projected_steps("smoother", m.smoother),
    ]
    return key_map(own, rows, LEARNED_UP, *steps)


LAYOUTS = (
    Layout(
        system="h-codec-1.5",
        upstream="alibaba/unified-audio QuarkAudio-HCodec/HCodec-1.5 Codec",
        family="hcodec",
        config=_config,
        keys=_keys,
    ),
)
