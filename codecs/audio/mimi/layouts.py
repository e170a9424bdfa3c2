"""Mimi in its two layouts: the authors' (kyutai-labs/moshi) and that of transformers."""

import dataclasses
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...config import from_mapping
from ...layouts.configs import check_round_trip, one_number, the_quantizer
from ...layouts.fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from ...layouts.keymap import KeyMap, Rename, Row, Step, Unwrap, WeightNorm, pointwise, under
from ...layouts.layout import Layout
from ...layouts.moshi_config import moshi_transformer
from ...layouts.seanet_keys import seanet_config, seanet_rows
from ...layouts.transformer_keys import HF_BLOCK, MOSHI_BLOCK, fuse_qkv, means, rms_gains, rotary_halves
from ...quantizers.residual_vq import ResidualVQConfig
from .model import MimiConfig

SIDES = ("encoder", "decoder")


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


#: The quantizer's linear maps are convolutions with kernel size 1 in both layouts.
_LINEAR = pointwise("quantizer.{first|rest}.{in_proj|out_proj}.weight")


# --- the authors' layout --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _RotaryHalves(MimiConfig):
    """A config whose published weights store rotary pairs as two halves ("rope_concat"), as ours do, not as neighbours."""


def _moshi(config: Mapping[str, Any]) -> MimiConfig:
    """The loader's configuration (entries `seanet`, `transformer`, `quantizer`, rates)."""
    top = Fields(config, "config")
    top.drop(*FOLDER_KEYS, "model_id")
    fields = Fields(top.take("seanet"), "seanet")
    seanet = seanet_config(fields, n_residual_layers=3, lstm=0, true_skip=True, norm="none")
    fields.done()
    top.require("channels", seanet["channels"])
    rate, hop = top.take("sample_rate"), math.prod(seanet["strides"])
    stride = rate / hop / top.take("frame_rate")
    if stride != int(stride):
        raise ValueError(f"config.frame_rate must divide {rate / hop}; the ratio is {stride}.")
    t, dim = top.take("transformer", None), seanet["latent_dim"]
    transformers = {side: top.take(f"{side}_transformer", t) for side in SIDES}
    concat = {v.get("positional_embedding") == "rope_concat" for v in transformers.values() if v is not None}
    if len(concat) > 1:
        raise ValueError("config: encoder_transformer and decoder_transformer must both have 'rope_concat', or neither.")
    q = Fields(top.take("quantizer"), "quantizer")
    q.require("input_dimension", dim)
    q.require("output_dimension", dim)
    q.drop("decay", "threshold_usage_ratio", "replaced_usage_ratio", "no_quantization_rate", "no_quantization_mode")  # of training
    q.drop("codebook_offset", "generator_seed")  # of its metrics, and of its initialisation
    out = {
        "sample_rate_hz": int(rate),
        "seanet": seanet,
        **{f"{side}_transformer": None if v is None else moshi_transformer(v, dim, concat=True) for side, v in transformers.items()},
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
    return from_mapping(_RotaryHalves if True in concat else MimiConfig, out, "config")


def _moshi_keys(own: MimiConfig) -> KeyMap:
    rows: list[Row] = [
        ("downsample.conv.conv.conv.weight", "encoder.downsample.weight"),
        ("upsample.convtr.convtr.convtr.weight", "decoder.upsample.weight"),
        ("quantizer.rvq_{first|rest}.input_proj.weight", "quantizer.{first|rest}.in_proj.weight"),
        ("quantizer.rvq_{first|rest}.output_proj.weight", "quantizer.{first|rest}.out_proj.weight"),
        ("quantizer.rvq_{first|rest}.vq.layers.{}._codebook.embed", "quantizer.{first|rest}.levels.{}.codebook.embed"),
    ]
    last: list[Step] = []
    for side in SIDES:
        rows += seanet_rows(own.seanet, side, f"{side}.model", f"{side}.seanet")
        rows += under(f"{side}_transformer.transformer.layers.{{}}.", f"{side}.transformer.blocks.{{}}.", MOSHI_BLOCK)
        rows += [
            (f"{side}_transformer.input_proj.weight", f"{side}.transformer.in_proj.weight"),
            (f"{side}_transformer.output_projs.0.weight", f"{side}.transformer.out_proj.weight"),
        ]
        t, blocks = getattr(own, f"{side}_transformer"), f"{side}.transformer.blocks.{{}}."
        if t is not None and t.rope_period is not None and not isinstance(own, _RotaryHalves):
            last.append(rotary_halves(blocks + "attention.qkv.weight", heads=t.heads, kv_heads=t.kv_heads or t.heads))
        if t is not None and t.norm == "rms":
            last.append(rms_gains(blocks + "{norm_attention|norm_feed_forward}.weight"))
    older: list[Row] = [("**.[embedding_sum|embed_avg]", "**.embedding_sum"), ("**.[cluster_usage|cluster_size]", "**.cluster_usage")]
    return KeyMap(
        Unwrap("model"),
        WeightNorm(written=""),
        Rename([*older, ("**.[_initialized|inited]", "**._initialized")], keep_unknown=True),
        means("embedding_sum", flag="_initialized"),
        Rename(rows),
        _LINEAR,
        *last,
    )


# --- transformers -----------------------------------------------------------------------------------------------------

#: `hidden_act` of transformers -> activation here.
HF_ACTIVATIONS = {
    "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu", "silu": "silu", "swish": "silu",
}  # fmt: skip
#: Keys of `transformers.MimiConfig` without effect on ids and waveforms.
_HF_WITHOUT_EFFECT = (
    "attention_dropout", "decoder_config", "encoder_config", "initializer_range", "max_position_embeddings",
    "tie_word_embeddings", "use_cache", "use_streaming",
)  # fmt: skip


def hf_config(config: Mapping[str, Any], name: str = "config") -> dict[str, Any]:
    """Fields of our `MimiConfig` from `transformers.MimiConfig`, of any release since 4.45, alone or inside another config."""
    f = Fields(config, name)
    f.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS, *_HF_WITHOUT_EFFECT)
    f.require("use_causal_conv", True)
    f.require("trim_right_ratio", 1.0)
    f.require("normalize", False)
    strides = list(reversed(f.take("upsampling_ratios", None) or [8, 6, 5, 4]))
    rate, dim, hop = f.take("sampling_rate", 24000), f.take("hidden_size", 512), math.prod(strides)
    frame_rate = f.take("frame_rate", None)
    frame_rate = f.take("_frame_rate", frame_rate) or rate / (2 * hop)  # the class keeps it under this name when it is there
    inner_rate = -(-rate // hop)  # rounded up, as there
    vq_dim = f.take("vector_quantization_hidden_dimension", 256)
    f.require("codebook_dim", vq_dim, 256)
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
        "default_codebooks": f.take("num_codebooks", 0),  # a setting of ours: the class gives all
    }
    f.done(swallowed=True)
    return out


def _hf_transformer(f: Fields, dim: int) -> dict[str, Any]:
    rope = f.take("rope_parameters", None) or {}
    period = f.take("rope_theta", 10000.0)
    if rope.get("rope_type", "default") != "default":
        raise ValueError(f"rope_type is {rope['rope_type']!r}; supported: 'default'.")
    heads = f.take("num_attention_heads", 8)
    return {
        "width": dim,
        "layers": f.take("num_hidden_layers", 8),
        "heads": heads,
        "kv_heads": f.take("num_key_value_heads", 8),
        "head_dim": f.take("head_dim", None) or 0,
        "feed_forward": f.take("intermediate_size", 2048),
        "activation": f.one_of("hidden_act", HF_ACTIVATIONS, "gelu"),
        "context": f.take("sliding_window", 250),
        "norm_eps": f.take("norm_eps", 1e-5),
        "layer_scale": f.take("layer_scale_initial_scale", 0.01),
        "rope_period": float(rope.get("rope_theta", period)),
        "bias": f.take("attention_bias", False),
    }


def hf_quantizer(ours: str) -> list[Row]:
    """Key rows of the split quantizer below `quantizer.`; `means` has computed its codebook tables before."""
    rows: list[Row] = []
    for theirs, part in (("semantic_residual_vector_quantizer", "first"), ("acoustic_residual_vector_quantizer", "rest")):
        rows += [
            (f"quantizer.{theirs}.input_proj.weight", f"{ours}.{part}.in_proj.weight"),
            (f"quantizer.{theirs}.output_proj.weight", f"{ours}.{part}.out_proj.weight"),
            (f"quantizer.{theirs}.layers.{{}}.codebook.embed", f"{ours}.{part}.levels.{{}}.codebook.embed"),
        ]
    return rows


def hf_side(own: Any, side: str) -> list[Row]:
    """Key rows of one side, flat as in the hub's files or nested as in transformers 5 (`encoder.encoder_seanet`)."""
    inner = f"[{side}_transformer|{side}.{side}_transformer]"
    return [
        *seanet_rows(own.seanet, side, f"[{side}|{side}.{side}_seanet].layers", f"{side}.seanet", "transformers"),
        *under(f"{inner}.layers.{{}}.", f"{side}.transformer.blocks.{{}}.", HF_BLOCK),
        ("[downsample|encoder.downsample].conv.weight", "encoder.downsample.weight")
        if side == "encoder"
        else ("[upsample|decoder.upsample].conv.weight", "decoder.upsample.weight"),
    ]


def _hf_keys(own: MimiConfig) -> KeyMap:
    rows = [*hf_quantizer("quantizer"), *hf_side(own, "encoder"), *hf_side(own, "decoder")]
    fuse = [] if own.encoder_transformer is None else [fuse_qkv(own.encoder_transformer)]
    return KeyMap(WeightNorm(written=""), *fuse, means("embed_sum", flag="initialized"), Rename(rows), _LINEAR)


def _say_hf(own: MimiConfig) -> dict[str, Any]:
    """`config.json` of transformers. Raises NotWritable where the class cannot be set up like `own`."""
    s, t, q = own.seanet, own.encoder_transformer, the_quantizer(own.quantizer, ResidualVQConfig)
    t = t and dataclasses.replace(t, kv_heads=t.kv_heads or t.heads)
    groups = own.upsample_groups or s.latent_dim
    width = one_number("quantizer.codebook_dim", q.codebook_dim) or s.latent_dim
    out: dict[str, Any] = {"architectures": ["MimiModel"], "model_type": "mimi"}
    out |= {
        "sampling_rate": own.sample_rate_hz,
        "frame_rate": own.sample_rate_hz / own.hop_samples,
        "audio_channels": s.channels,
        "hidden_size": s.latent_dim,
        "num_filters": s.width,
        "num_residual_layers": s.residual_layers,
        "upsampling_ratios": list(reversed(s.strides)),
        "kernel_size": s.kernel_size,
        "last_kernel_size": s.last_kernel_size,
        "residual_kernel_size": s.residual_kernel_size,
        "dilation_growth_rate": s.dilation_base,
        "use_causal_conv": s.causal,
        "use_conv_shortcut": not s.identity_skip,
        "pad_mode": s.padding,
        "compress": s.compress,
        "trim_right_ratio": s.trim_right,
        "upsample_groups": groups,
        "codebook_dim": width,
        "vector_quantization_hidden_dimension": width,
        "codebook_size": one_number("quantizer.codebook_size", q.codebook_size),
        "num_quantizers": q.num_codebooks,
        "num_semantic_quantizers": int(q.split_first),
    }
    if t is not None:
        activation = next(name for name, ours in HF_ACTIVATIONS.items() if ours == t.activation)
        out |= {
            "num_hidden_layers": t.layers,
            "num_attention_heads": t.heads,
            "num_key_value_heads": t.kv_heads,
            "head_dim": t.head_dim or None,
            "intermediate_size": t.feed_forward,
            "hidden_act": activation,
            "sliding_window": t.context,
            "norm_eps": t.norm_eps,
            "layer_scale_initial_scale": t.layer_scale,
            "rope_theta": t.rope_period,
            "attention_bias": t.bias,
        }
    if own.last_frame != "layers":
        warnings.warn(
            "transformers pads a partial last frame layer by layer, this tokenizer pads the waveform with zeros: "
            "the ids of that last frame may differ.",
            stacklevel=3,
        )
    same = {"encoder_transformer": t, "upsample_groups": groups, "last_frame": "layers", "default_codebooks": 0}
    if own.decoder_transformer == own.encoder_transformer:
        same["decoder_transformer"] = t
    return check_round_trip(dataclasses.replace(own, **same), out, hf_config)


LAYOUTS = (
    Layout(
        system="mimi",
        upstream="kyutai-labs/moshi moshi/models/compression.py MimiModel",
        family="mimi",
        config=_moshi,
        keys=_moshi_keys,
    ),
    Layout(
        system="mimi-hf",
        upstream="huggingface/transformers models/mimi MimiModel",
        family="mimi",
        config=hf_config,
        keys=_hf_keys,
        authors_config=_say_hf,
        model_type="mimi",
    ),
)
