"""FlexiCodec as published: DAC under `dac.`, ConvNeXt blocks, FSQ, transformers over groups, SenseVoice under `semantic_model.`.

SenseVoice's weights are in a repository of their own, model.pt, whose card puts `sensevoice.` before its keys; those that a checkpoint
holds itself win. The statistics of its filter banks are a third file, am.mvn (`cmvn.`).
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...layouts import dac_keys
from ...layouts.configs import dac_rvq, open_config, training_only
from ...layouts.fields import Fields
from ...layouts.group_keys import aggregator_rows, flat_queries, projected_rows, projected_steps, projected_transformer
from ...layouts.keymap import KeyMap, Rename, Row, State, Step, Then, WeightNorm, under
from ...layouts.layout import Layout
from .model import FlexiCodecConfig
from .sensevoice import SenseVoiceConfig

#: Threshold of the authors' `encode_flexicodec`.
_THRESHOLD = 0.91
#: `encoder_conf` in SenseVoiceSmall's config.yaml, which lies beside its weights.
_SENSEVOICE = {"attention_heads": 4, "linear_units": 2048, "num_blocks": 50, "tp_blocks": 20, "kernel_size": 11}


def _transformer(f: Fields, prefix: str, dim: int, context: int | None) -> dict[str, Any]:
    """A `Transformer1dConfig` mapping, of `dim` channels in and out, from the arguments that begin with `prefix`."""
    values = {
        "d_model": f.take(f"{prefix}_dim", 512), "num_heads": f.take(f"{prefix}_num_heads", 8),
        "num_layers": f.take(f"{prefix}_num_layers", 6), "dim_feedforward": f.take(f"{prefix}_dim_feedforward", 2048),
        "causal": bool(f.take(f"{prefix}_causal", False)), "context": context, "layer_scale": 0.01, "positional_embedding": "rope",
    }  # fmt: skip
    return projected_transformer(values, dim, prefix)


def _speech(f: Fields, width: int, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """A `SenseVoiceConfig` mapping from the authors' choice of layers and the speech model's own sizes."""
    s = Fields(_SENSEVOICE | dict(sizes), "sensevoice")
    out = {
        "width": width, "heads": s.take("attention_heads"), "hidden": s.take("linear_units"), "layers": s.take("num_blocks"),
        "later_layers": s.take("tp_blocks"), "kernel_size": s.take("kernel_size"),
    }  # fmt: skip
    s.done()
    f.require("semantic_model_type", "sensevoice")
    f.require("sensevoice_prepend_inputs", True)
    f.drop("semantic_model_path", "ssl_dim", "skip_normalize", "sensevoice_sim_layer_idx")  # without effect with SenseVoice
    count, layer = out["layers"] + out["later_layers"], f.take("sensevoice_semantic_layer_idx", None)
    if layer is None:
        return out
    if isinstance(layer, int):
        return out | {"outputs": [layer % count]}
    first, behind = layer
    return out | {"outputs": list(range(first, count if behind == -1 else behind))}


def _groups(f: Fields, dim: int, context: int) -> dict[str, Any] | None:
    """A `GroupsConfig` mapping; None: a fixed rate."""
    grouped, read_off = f.take("use_similarity_alignment", False), f.take("use_query_token_aggregator", False)
    mean, longest = f.take("agg_use_mean_pooling_init", True), f.take("max_tokens_per_group", 8)
    other = f.take("agg_transformer_context_frames", None)
    semantic = _transformer(f, "agg_transformer", dim, context)
    acoustic = semantic | {"width": dim}  # where the one has their width, the other has that of the latents
    if acoustic["causal"]:
        acoustic["context"] = context if other is None else other
    threshold, drawn = f.take("similarity_threshold", None), f.take("use_dynamic_similarity_threshold", False)
    bounds = [f.take("similarity_threshold_lower", 0.8), f.take("similarity_threshold_upper", 1.0)]
    if not grouped:
        return None
    if longest is None or longest <= 0:
        raise ValueError(f"max_tokens_per_group is {longest}: groups without a limit have no codebook of durations; set 1 to 256.")
    if read_off and not mean and semantic["width"] != dim:
        raise ValueError(f"agg_transformer_dim is {semantic['width']}: one query of that many channels among frames of {dim}.")
    return {
        "threshold": _THRESHOLD if threshold is None else threshold,
        "longest": longest,
        "draw_threshold": bounds if drawn else None,
        "query": "mean" if mean else "learned",
        "semantic": semantic if read_off else None,
        "acoustic": acoustic if read_off else None,
    }


def _fsq(f: Fields) -> dict[str, Any]:
    q = Fields(f.take("fsq_config", None) or {}, "fsq_config")
    q.require("num_codebooks", 1)
    q.drop("scale", "keep_num_codebooks_dim")
    out = {"kind": "fsq", "levels": list(q.take("levels", [8, 8, 8, 8, 8])), "convention": "nemo"}
    q.done()
    f.drop("semantic_codebook_size", "semantic_codebook_dim")  # of the codebook that FSQ replaces
    return out


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of the authors' `FlexiCodec`, also under `model`."""
    overrides = config.get("hard_coded_overrides", {})
    f = open_config({k: v for k, v in config.items() if k != "hard_coded_overrides"}, "config")
    # numbers that are hard-coded in the authors' class, and the sizes of the published speech model
    literals = Fields(overrides, "hard_coded_overrides")
    features, hidden, sizes = literals.take("W512", 512), literals.take("W2048", 2048), literals.take("sensevoice", {})
    literals.done()
    # `distill_*`: settings of a head that the authors' class never builds
    f.drop("distill_projection_out_dim", "bottleneck_transformer_config")
    training_only(f, "lambda_distill_loss", 15.0)
    f.require("semantic_encoder", None)
    f.require("semantic_decoder", None)
    width, strides = f.take("encoder_dim", 64), f.take("encoder_rates", [2, 4, 8, 8])
    dim, context = f.take("latent_dim", None) or width * 2 ** len(strides), f.take("transformer_context_frames", 24)
    smoother = _transformer(f, "transformer", dim, context)
    groups = _groups(f, dim, context)
    # at a fixed rate the authors' class has this transformer too, but nothing goes through it
    smooth = f.take("use_bottleneck_transformer", False) and smoother["layers"] > 0 and groups is not None
    out = {
        "sample_rate_hz": f.take("sample_rate", 24000),
        "strides": strides,
        "decoder_strides": f.take("decoder_rates", [8, 8, 4, 2]),
        "encoder_width": width,
        "decoder_width": f.take("decoder_dim", 1536),
        "latent_dim": dim,
        "speech": _speech(f, features, sizes),
        "speech_stride": float(f.take("semantic_downsample_factor", 2)),
        "semantic_width": f.take("convnext_dim", 768),
        "semantic_hidden": hidden,
        "semantic_blocks": f.take("convnext_layers", 4),
        "semantic_causal": bool(f.take("is_causal", True)),
        "subtract_decoded": bool(f.take("decode_semantic_for_codec", True)),
        "groups": groups,
        "smoother": smoother if smooth else None,
        "semantic_quantizer": _fsq(f),
        "quantizer": dac_rvq(f),
    }
    f.done()
    return out


# --- weights --------------------------------------------------------------------------------------------------------

_BLOCK: list[Row] = [("dwconv.*", "depthwise.*"), ("norm.*", "norm.*"), ("pwconv1.*", "up.*"), ("pwconv2.*", "down.*")]

_SPEECH_LAYER: list[Row] = [
    ("self_attn.linear_q_k_v.*", "attention.qkv.*"),
    ("self_attn.linear_out.*", "attention.out.*"),
    ("self_attn.fsmn_block.*", "attention.memory.*"),
    ("feed_forward.w_1.*", "up.*"),
    ("feed_forward.w_2.*", "down.*"),
    ("norm1.*", "norm_attention.*"),
    ("norm2.*", "norm_feed_forward.*"),
]


def _speech_rows(c: SenseVoiceConfig) -> list[Row]:
    """Rows of SenseVoice; of layers that are not needed, and of the recogniser's output, nothing is kept."""
    names = ["encoders0.0", *(f"encoders.{i}" for i in range(c.layers - 1)), *(f"tp_encoders.{i}" for i in range(c.later_layers))]
    last, rows = max(c.chosen), list[Row]()
    for i, name in enumerate(names):
        theirs = f"semantic_model.encoder.{name}."
        rows += under(theirs, f"speech.layers.{i}.", _SPEECH_LAYER) if i <= last else [(f"{theirs}**", None)]
    return [
        ("semantic_model.embed.weight", "speech.queries.weight"),
        *rows,
        ("semantic_model.encoder.after_norm.*", "speech.norm.*"),
        ("semantic_model.encoder.tp_norm.*", "speech.later_norm.*" if last >= c.layers else None),
        ("semantic_model.ctc.**", None),
        ("{semantic_mean|semantic_std}", None),  # 0 and 1
        ("cmvn.{shift|scale}", "speech.{shift|scale}"),
    ]


def _own_speech_model(state: State) -> State:
    """Weights of SenseVoice's own file under the checkpoint's name, where the checkpoint holds none."""
    apart = {k: v for k, v in state.items() if k.startswith("sensevoice.")}
    rest = {k: v for k, v in state.items() if k not in apart}
    if any(k.startswith("semantic_model.") for k in rest):
        return rest
    found: dict[str, Any] = {k.removeprefix("sensevoice."): v for k, v in apart.items()}
    for wrapper in ("state_dict", "model_state_dict", "model"):
        found = dict(found[wrapper]) if isinstance(found.get(wrapper), Mapping) else found
    return rest | {f"semantic_model.{k}": v for k, v in found.items() if isinstance(v, Tensor)}


def _rows(own: FlexiCodecConfig, quantizer: str) -> list[Row]:
    blocks, rows = own.semantic_blocks, list[Row]()
    for i in range(blocks):
        rows += under(f"convnext_encoder.{i + 1}.", f"semantic_path.encoder.{i}.", _BLOCK)
        rows += under(f"convnext_decoder.{i}.", f"semantic_path.decoder.{i}.", _BLOCK)
    g = own.groups
    return [
        ("convnext_encoder.0.*", "semantic_path.down.*"),
        *rows,
        (f"convnext_decoder.{blocks}.*", "semantic_path.up.*"),
        ("semantic_vq.fsq.project_in.*", f"{quantizer}.first.in_proj.*"),
        ("semantic_vq.fsq.project_out.*", f"{quantizer}.first.out_proj.*"),
        *under("dac.", "", [*dac_keys.encoder(len(own.strides)), *dac_keys.decoder(len(own.ups))]),
        *((f"dac.{a}", b and b.replace("quantizer", f"{quantizer}.second", 1)) for a, b in dac_keys.QUANTIZER),
        *([] if own.smoother is None else projected_rows("bottleneck_transformer", "smoother")),
        *(aggregator_rows(g.query) if g is not None and g.semantic is not None else []),
        ("{semantic_aggregator|acoustic_aggregator|bottleneck_transformer}.**", None),  # of a fixed rate
        *([] if own.speech is None else _speech_rows(own.speech)),
    ]


def _keys(own: FlexiCodecConfig) -> KeyMap:
    quantizer, g = "quantizer" if own.groups is None else "quantizer.inner", own.groups
    steps: list[Step] = [
        *projected_steps("semantic_groups.transformer", None if g is None else g.semantic),
        *projected_steps("acoustic_groups.transformer", None if g is None else g.acoustic),
        *projected_steps("smoother", own.smoother),
    ]
    return KeyMap(
        Then(_own_speech_model, lambda state: state),
        WeightNorm(but=("{convnext_encoder|convnext_decoder}.{}.dwconv.weight", "semantic_model.**.fsmn_block.weight")),
        Rename(_rows(own, quantizer)),
        flat_queries(),
        *steps,
        dac_keys.linear_projections(f"{quantizer}.second.levels.{{}}.{{in_proj|out_proj}}.weight"),
    )


LAYOUTS = (
    Layout(
        system="flexicodec",
        upstream="AmphionTeam/FlexiCodec flexicodec.modeling_flexicodec.FlexiCodec",
        family="flexicodec",
        config=_config,
        keys=_keys,
    ),
)
