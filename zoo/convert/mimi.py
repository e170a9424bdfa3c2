"""Mimi in its two layouts: the authors' (kyutai-labs/moshi) and that of transformers."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...codecs.config import from_mapping
from ...codecs.layers.seanet import SEANetConfig
from ...codecs.layers.transformer1d import interleaved_to_halves
from .base import Converter, fold_weight_norm, rename
from .fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from .seanet import seanet_config, seanet_table

#: `hidden_act` of transformers -> activation here.
HF_ACTIVATIONS = {
    "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu", "silu": "silu", "swish": "silu",
}  # fmt: skip
#: Smallest usage that a stored sum is divided by.
USAGE_FLOOR = 1e-5


# --- configs --------------------------------------------------------------------------------------------------------


def moshi_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `MimiConfig` from the loader's configuration (entries `seanet`, `transformer`, `quantizer`, rates)."""
    top = Fields(config, "config")
    top.drop(*FOLDER_KEYS, "model_id")
    fields = Fields(top.take("seanet"), "seanet")
    seanet = seanet_config(fields, n_residual_layers=3, lstm=0, true_skip=True, norm="none")
    fields.done()
    top.require("channels", seanet["channels"])
    rate = top.take("sample_rate")
    stride = rate / math.prod(seanet["strides"]) / top.take("frame_rate")
    if stride != int(stride):
        raise ValueError(f"config.frame_rate must divide {rate / math.prod(seanet['strides'])}; the ratio is {stride}.")
    t, dim = top.take("transformer", None), seanet["latent_dim"]
    q = Fields(top.take("quantizer"), "quantizer")
    q.require("input_dimension", dim)
    q.require("output_dimension", dim)
    q.drop("decay", "threshold_usage_ratio", "replaced_usage_ratio", "no_quantization_rate")  # of training
    out = {
        "sample_rate_hz": int(rate),
        "seanet": seanet,
        "encoder_transformer": moshi_transformer(top.take("encoder_transformer", t), dim),
        "decoder_transformer": moshi_transformer(top.take("decoder_transformer", t), dim),
        "frame_stride": int(stride),
        "quantizer": _split_rvq(
            num=q.take("n_q", 8),
            size=q.take("bins", 1024),
            width=q.take("dimension", 128),
            split=q.take("n_q_semantic", 1),
            dropout=1.0 if q.take("q_dropout", False) else 0.0,
        ),
        "default_codebooks": top.take("num_codebooks", 0),
    }
    q.done()
    top.done()
    return out


#: gating of Moshi's layers -> activation here; "none" is the plain two-layer network with GELU.
_GATINGS = {"none": "gelu", "silu": "silu", "gelu": "gelu", "relu": "relu"}


def moshi_transformer(values: Mapping[str, Any], dim: int | None = None) -> dict[str, Any]:
    """Fields of `Transformer1dConfig` from keyword arguments of Moshi's (and MOSS's) projected transformer.

    Args:
        values: the keyword arguments.
        dim: width of what goes in and comes out; None: the caller takes care of it.
    """
    t = Fields(values, "transformer")
    t.require("causal", True, False)
    gating = t.take("gating", "none")
    position, period = t.take("positional_embedding", "sin"), float(t.take("max_period", 10000))
    if gating not in _GATINGS or position not in ("rope", "sin", "sin_rope", "none", "rope_concat"):
        raise ValueError(f"transformer: gating {gating!r} or positional_embedding {position!r} is not supported.")
    width, heads, hidden = t.take("d_model"), t.take("num_heads"), t.take("dim_feedforward", 2048)
    if gating != "none":  # a gated network is made as large as a plain one
        hidden = (21 * width) // 8 if hidden == 4 * width else (2 * hidden) // 3
    if dim is not None:
        t.require("input_dimension", dim)
        t.require("output_dimensions", [dim])
    for key, value in (("weights_per_step", 0), ("cross_attention", False), ("positional_scale", 1.0)):
        t.require(key, value)
    t.drop("input_dimension", "output_dimension", "conv_layout", "module_type", "betas", "checkpointing")
    norms = {"layer_norm": ("layer", 1e-5), "rms_norm": ("rms", 1e-5), "rms_norm_f32": ("rms", 1e-8)}
    norm = t.one_of("norm", norms, "layer_norm")
    out = {
        "width": width,
        "layers": t.take("num_layers"),
        "heads": heads,
        "kv_heads": heads // t.take("kv_repeat", 1),
        "feed_forward": hidden,
        "gated": gating != "none",
        "activation": _GATINGS[gating],
        "context": t.take("context", None),
        "norm": norm[0],
        "norm_eps": norm[1],
        "layer_scale": t.take("layer_scale", None),
        "rope_period": period if "rope" in position else None,
        "sin_period": period if "sin" in position else None,
    }
    t.done()
    return out


#: Keys of `transformers.MimiConfig` without effect on ids and waveforms.
_HF_WITHOUT_EFFECT = (
    "attention_dropout", "decoder_config", "encoder_config", "initializer_range", "max_position_embeddings",
    "tie_word_embeddings", "use_cache", "use_streaming",
)  # fmt: skip


def hf_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `MimiConfig` from `transformers.MimiConfig`."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS, *_HF_WITHOUT_EFFECT)
    f.require("use_causal_conv", True)
    f.require("trim_right_ratio", 1.0)
    f.require("normalize", False)
    strides = list(reversed(f.take("upsampling_ratios", None) or [8, 6, 5, 4]))
    rate, dim, hop = f.take("sampling_rate", 24000), f.take("hidden_size", 512), math.prod(strides)
    frame_rate = f.take("_frame_rate", None) or f.take("frame_rate", None) or rate / (2 * hop)
    inner_rate = -(-rate // hop)  # rounded up, as there
    vq_dim = f.take("vector_quantization_hidden_dimension", 256)
    f.require("codebook_dim", vq_dim)
    transformer = _hf_transformer(f, dim)
    out = {
        "sample_rate_hz": rate,
        "seanet": {
            "channels": f.take("audio_channels", 1),
            "latent_dim": dim,
            "width": f.take("num_filters", 64),
            "strides": strides,
            "residual_layers": f.take("num_residual_layers", 1),
            "kernel_size": f.take("kernel_size", 7),
            "residual_kernel_size": f.take("residual_kernel_size", 3),
            "last_kernel_size": f.take("last_kernel_size", 3),
            "dilation_base": f.take("dilation_growth_rate", 2),
            "compress": f.take("compress", 2),
            "identity_skip": not f.take("use_conv_shortcut", False),
            "lstm_layers": 0,
            "causal": True,
            "padding": f.take("pad_mode", "constant"),
        },
        "encoder_transformer": transformer,
        "decoder_transformer": transformer,
        "frame_stride": int(inner_rate / frame_rate) if inner_rate != frame_rate else 1,
        "upsample_groups": f.take("upsample_groups", 512),
        "quantizer": _split_rvq(
            num=f.take("num_quantizers", 32),
            size=f.take("codebook_size", 2048),
            width=vq_dim if vq_dim != dim else 0,
            split=f.take("num_semantic_quantizers", 1),
        ),
        "last_frame": "layers",
        "default_codebooks": f.take("num_codebooks", 0),
    }
    f.done()
    return out


def _hf_transformer(f: Fields, dim: int) -> dict[str, Any]:
    rope = f.take("rope_parameters", None) or {"rope_theta": f.take("rope_theta", 10000.0)}
    if rope.get("rope_type", "default") != "default":
        raise ValueError(f"rope_type is {rope['rope_type']!r}; supported: 'default'.")
    heads = f.take("num_attention_heads", 8)
    return {
        "width": dim,
        "layers": f.take("num_hidden_layers", 8),
        "heads": heads,
        "kv_heads": f.take("num_key_value_heads", heads),
        "head_dim": f.take("head_dim", None) or 0,
        "feed_forward": f.take("intermediate_size", 2048),
        "activation": f.one_of("hidden_act", HF_ACTIVATIONS, "gelu"),
        "context": f.take("sliding_window", 250),
        "norm_eps": f.take("norm_eps", 1e-5),
        "layer_scale": f.take("layer_scale_initial_scale", 0.01),
        "rope_period": float(rope.get("rope_theta", 10000.0)),
        "bias": f.take("attention_bias", False),
    }


def _split_rvq(*, num: int, size: int, width: int, split: int, dropout: float = 0.0) -> dict[str, Any]:
    return {
        "kind": "residual_vq",
        "num_codebooks": num,
        "codebook_size": size,
        "codebook_dim": width,
        "projection": "shared",
        "proj_bias": False,
        "split_first": split,
        "dropout": dropout,
    }


# --- weights --------------------------------------------------------------------------------------------------------

# Authors' key -> own key; the convolutional sides follow in `seanet_table`.
_MOSHI = (
    (r"downsample\.conv\.conv\.conv\.weight", "encoder.downsample.weight"),
    (r"upsample\.convtr\.convtr\.convtr\.weight", "decoder.upsample.weight"),
    (r"quantizer\.rvq_(first|rest)\.input_proj\.weight", r"quantizer.\1.in_proj.weight"),
    (r"quantizer\.rvq_(first|rest)\.output_proj\.weight", r"quantizer.\1.out_proj.weight"),
    (r"quantizer\.rvq_(first|rest)\.vq\.layers\.(\d+)\._codebook\.embed", r"quantizer.\1.levels.\2.codebook.embed"),
)
#: Keys of Moshi's transformer blocks below `<prefix>.transformer.layers.N`, also used by MOSS.
MOSHI_BLOCK = (
    (r"norm1\.(weight|bias)", r"norm_attention.\1"),
    (r"norm1\.alpha", "norm_attention.weight"),
    (r"self_attn\.(?:in_projs\.0\.weight|in_proj_weight|in_proj\.weight)", "attention.qkv.weight"),
    (r"self_attn\.out_projs?(?:\.0)?\.weight", "attention.out.weight"),
    (r"layer_scale_1\.scale", "scale_attention.scale"),
    (r"norm2\.(weight|bias)", r"norm_feed_forward.\1"),
    (r"norm2\.alpha", "norm_feed_forward.weight"),
    (r"linear1\.weight|gating\.linear_in\.weight", "feed_forward.up.weight"),
    (r"linear2\.weight|gating\.linear_out\.weight", "feed_forward.down.weight"),
    (r"layer_scale_2\.scale", "scale_feed_forward.scale"),
)
#: Keys of the quantizer in transformers.
HF_QUANTIZER = (
    (r"quantizer\.semantic_residual_vector_quantizer\.input_proj\.weight", "quantizer.first.in_proj.weight"),
    (r"quantizer\.semantic_residual_vector_quantizer\.output_proj\.weight", "quantizer.first.out_proj.weight"),
    (r"quantizer\.acoustic_residual_vector_quantizer\.input_proj\.weight", "quantizer.rest.in_proj.weight"),
    (r"quantizer\.acoustic_residual_vector_quantizer\.output_proj\.weight", "quantizer.rest.out_proj.weight"),
    (
        r"quantizer\.semantic_residual_vector_quantizer\.layers\.(\d+)\.codebook\.embed",
        r"quantizer.first.levels.\1.codebook.embed",
    ),
    (
        r"quantizer\.acoustic_residual_vector_quantizer\.layers\.(\d+)\.codebook\.embed",
        r"quantizer.rest.levels.\1.codebook.embed",
    ),
)
_HF = (
    *HF_QUANTIZER,
    (r"downsample\.conv\.weight", "encoder.downsample.weight"),
    (r"upsample\.conv\.weight", "decoder.upsample.weight"),
)
#: Keys of its transformer blocks below `<side>_transformer.layers.N`.
HF_BLOCK = (
    (r"input_layernorm\.(weight|bias)", r"norm_attention.\1"),
    (r"self_attn\.qkv\.(weight|bias)", r"attention.qkv.\1"),
    (r"self_attn\.o_proj\.(weight|bias)", r"attention.out.\1"),
    (r"self_attn_layer_scale\.scale", "scale_attention.scale"),
    (r"post_attention_layernorm\.(weight|bias)", r"norm_feed_forward.\1"),
    (r"mlp\.fc1\.weight", "feed_forward.up.weight"),
    (r"mlp\.fc2\.weight", "feed_forward.down.weight"),
    (r"mlp_layer_scale\.scale", "scale_feed_forward.scale"),
)
#: Flags of the codebooks' start; the tables are ready here.
CODEBOOK_FLAGS = r".*\.(_initialized|initialized|inited)"


def moshi_weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Own keys and values from the authors' state dict."""
    own = moshi_config(config)
    state = {re.sub(r"\.embed_avg$", ".embedding_sum", k): v for k, v in fold_weight_norm(state).items()}  # older names
    state = {re.sub(r"\.cluster_size$", ".cluster_usage", k): v for k, v in state.items()}
    state = means(state, "embedding_sum")
    table = [*_MOSHI, *_sides(own, "model")]
    for side in ("encoder", "decoder"):
        theirs, ours = rf"{side}_transformer\.", f"{side}.transformer."
        table += block_table(MOSHI_BLOCK, theirs + r"transformer\.layers", ours + "blocks")
        table += [(theirs + r"input_proj\.weight", ours + "in_proj.weight")]
        table += [(theirs + r"output_projs\.0\.weight", ours + "out_proj.weight")]
    out = squeeze_pointwise(rename(state, table, dropped=[CODEBOOK_FLAGS]), r"quantizer\..*\.(in|out)_proj\.weight")
    for side in ("encoder", "decoder"):
        authors = config.get(f"{side}_transformer") or config["transformer"]
        interleaved = authors.get("positional_embedding", "sin") != "rope_concat"
        finish_blocks(out, f"{side}.transformer", own[f"{side}_transformer"], interleaved=interleaved)
    return out


def hf_weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Own keys and values from a state dict of transformers, flat as in the hub's files or nested as its modules."""
    own = hf_config(config)
    state = {flat_key(k): v for k, v in fold_weight_norm(state).items()}
    state = means(join_qkv(state), "embed_sum")
    table = [*_HF, *_sides(own, "layers")]
    for side in ("encoder", "decoder"):
        table += block_table(HF_BLOCK, rf"{side}_transformer\.layers", f"{side}.transformer.blocks")
    out = rename(state, table, dropped=[CODEBOOK_FLAGS])
    return squeeze_pointwise(out, r"quantizer\..*\.(in|out)_proj\.weight")


def _sides(own: Mapping[str, Any], layers: str) -> list[tuple[str, str]]:
    seanet = from_mapping(SEANetConfig, own["seanet"])
    sides = ("encoder", "decoder")
    return [row for side in sides for row in seanet_table(seanet, side, f"{side}.{layers}", f"{side}.seanet")]


def flat_key(key: str) -> str:
    """A nested key of transformers 5 (`encoder.encoder_seanet.layers...`) as the hub's files have it."""
    key = re.sub(r"^(encoder|decoder)\.\1_seanet\.", r"\1.", key)
    return re.sub(r"^(?:encoder|decoder)\.((?:encoder|decoder)_transformer|downsample|upsample)\.", r"\1.", key)


def block_table(block: Sequence[tuple[str, str]], old: str, new: str) -> list[tuple[str, str]]:
    """The table of one block below numbered ones: `old.N.<key>` to `new.N.<key>`."""
    # The block's number takes group 1.
    return [(old + r"\.(\d+)\.(?:" + a + ")", new + r".\1." + b.replace(r"\1", r"\2")) for a, b in block]


def means(state: Mapping[str, Tensor], sums: str) -> dict[str, Tensor]:
    """Replace every pair of running sums and usage by the table of code vectors, `<prefix>embed`."""
    out = dict(state)
    for key in [k for k in out if k.endswith("." + sums)]:
        prefix = key[: -len(sums)]
        usage = out.pop(prefix + "cluster_usage")
        out[prefix + "embed"] = out.pop(key) / usage.clamp(min=USAGE_FLOOR)[:, None]
    return out


def join_qkv(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace `q_proj`, `k_proj`, `v_proj` (weights and biases) by one `qkv`, rows in this order."""
    out = dict(state)
    for key in [k for k in out if ".q_proj." in k]:
        parts = [out.pop(key.replace(".q_proj.", f".{n}_proj.")) for n in "qkv"]
        out[key.replace(".q_proj.", ".qkv.")] = torch.cat(parts)
    return out


def squeeze_pointwise(state: dict[str, Tensor], pattern: str) -> dict[str, Tensor]:
    """Convolutions of kernel 1 as linear maps: `[o, i, 1]` to `[o, i]` for the keys that match."""
    return {k: v.squeeze(-1) if v.ndim == 3 and re.fullmatch(pattern, k) else v for k, v in state.items()}


def finish_blocks(
    state: dict[str, Tensor], prefix: str, transformer: Mapping[str, Any], *, interleaved: bool = True
) -> None:
    """Bring the blocks below `prefix` to this library's order of rotary pairs and shape of norm weights, in place."""
    for key in [k for k in state if k.startswith(prefix + ".blocks.")]:
        if key.endswith("attention.qkv.weight") and transformer["rope_period"] is not None and interleaved:
            state[key] = interleaved_to_halves(state[key], heads=transformer["heads"], kv_heads=transformer["kv_heads"])
        elif ".norm_" in key:
            state[key] = state[key].flatten()  # RMSNorm keeps its gains as [1, 1, D] there


CONVERTERS = (
    Converter(
        system="mimi",
        upstream="kyutai-labs/moshi moshi/models/compression.py MimiModel",
        family="mimi",
        config=moshi_config,
        weights=moshi_weights,
    ),
    Converter(
        system="mimi-hf",
        upstream="huggingface/transformers models/mimi MimiModel",
        family="mimi",
        config=hf_config,
        weights=hf_weights,
    ),
)
