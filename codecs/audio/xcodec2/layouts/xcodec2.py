"""X-codec2 in its authors' layouts (training files, hub repository) and in that of transformers; NeuCodec shares both tables."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ....layouts.configs import check_round_trip, the_quantizer
from ....layouts.dac_keys import snake_without_aliases, transformers_side, unit
from ....layouts.fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from ....layouts.keymap import Fuse, KeyMap, Rename, Row, Unwrap, WeightNorm, under
from ....layouts.layout import Layout
from ....layouts.speech_keys import Beside, speech_model
from ....quantizers.residual_fsq import ResidualFSQConfig
from ..model import XCodec2Config

#: Residual blocks before and after the transformer: the same four layers in both layouts.
_RESIDUAL: list[Row] = [("norm1.*", "norm_in.*"), ("conv1.*", "conv_in.*"), ("norm2.*", "norm_out.*"), ("conv2.*", "conv_out.*")]


def _residual(theirs: str) -> list[Row]:
    return [
        row
        for net, ours in (("prior_net", "before"), ("post_net", "after"))
        for row in under(f"{theirs}.{net}.{{}}.", f"decoder.{ours}.{{}}.", _RESIDUAL)
    ]


# --- the authors' layout --------------------------------------------------------------------------------------------

#: Keys of the hub repository's config.json that its class does not read (it reads `semantic_hidden_size`).
_NOT_READ = ("codec_encoder_hidden_size", "codec_decoder_hidden_size", "use_vocos")


def is_xcodec2(config: Mapping[str, Any]) -> bool:
    """True for a `config.json` of the authors' repository or a copy of it, whatever `model_type` it states ("xcodec2", "xcodec")."""
    return "semantic_hidden_size" in config and "codec_decoder_hidden_size" in config


def authors_config(config: Mapping[str, Any], *, neucodec: bool = False) -> dict[str, Any]:
    """Fields of `XCodec2Config`.

    Args:
        config: the hub repository's config, which states one size; or the constructor arguments of each part, under the
            part's prefix in the checkpoint; or a mixture of the two.
        neucodec: the config is of NeuCodec, whose output has 24 kHz and which pads nothing before the speech model.
    """
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS, *_NOT_READ)
    e, g = Fields(f.take("CodecEnc", {}), "CodecEnc"), Fields(f.take("generator", {}), "generator")
    e.drop("depth", "heads", "pos_meb_dim")  # of a transformer that the class does not build
    # of a quantizer that the class does not build, and of a rotary embedding without effect (see `XCodec2Decoder`)
    g.drop("vq_num_quantizers", "vq_commit_weight", "vq_weight_init", "vq_full_commit_loss")
    g.drop("codebook_size", "codebook_dim", "pos_meb_dim")
    strides, acoustic = list(e.take("up_ratios", [2, 2, 4, 4, 5])), e.take("hidden_dim", 1024)
    semantic = _arguments(
        f.take("SemanticEncoder", [f.take("semantic_hidden_size", 1024)] * 3),
        ("input_channels", "code_dim", "encode_channels", "kernel_size", "bias"),
        {"kernel_size": 3, "bias": True},
    )
    latent, width = g.take("vq_dim", 2048), g.take("hidden_dim", 1024)
    f.require("fc_prior", [semantic["code_dim"] + acoustic, latent], [2048, 2048])
    f.require("fc_post_a", [latent, width], [2048, 1024])
    out = {
        "sample_rate_hz": f.take("sample_rate", 16000),
        "hop_out_samples": g.take("hop_length", 480 if neucodec else 320),
        "width": e.take("ngf", 48),
        "strides": strides,
        "dilations": e.take("dilations", [1, 3, 9]),
        "acoustic_dim": acoustic,
        "semantic_in": semantic["input_channels"],
        "semantic_width": semantic["encode_channels"],
        "semantic_dim": semantic["code_dim"],
        "semantic_kernel": semantic["kernel_size"],
        "semantic_bias": semantic["bias"],
        "pad_features": not neucodec,
        "latent_dim": latent,
        "decoder_dim": width,
        "layers": g.take("depth", 12),
        "heads": g.take("heads", 16),
    }
    e.done()
    g.done()
    f.done(swallowed=is_xcodec2(config))
    return out


def _arguments(values: Any, names: Sequence[str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments given by position or by name."""
    given = dict(values) if isinstance(values, Mapping) else dict(zip(names, values, strict=False))
    unknown = sorted(set(given) - set(names))
    if unknown or len(given) < len(names) - len(defaults):
        raise ValueError(f"SemanticEncoder takes {', '.join(names)}; got {values!r}.")
    return {**defaults, **given}


#: Parts of training runs and of the hub's class that ids and waveforms do not need; the speech model is fetched as published.
_TRAINING = (
    "{SemanticDecoder_module|fc_post_s|discriminator|spec_discriminator|semantic_model|model_spk|perception_model|perceptual|criteria}.**",
    "perceptual*.**",
    "generator.quantizer.{layers|rvqs}.**",
)
_BACKBONE: list[Row] = [
    ("embed.*", "embed.*"),
    ("transformers.{}.att_norm.weight", "transformer.blocks.{}.norm_attention.weight"),
    ("transformers.{}.ffn_norm.weight", "transformer.blocks.{}.norm_feed_forward.weight"),
    ("transformers.{}.att.c_attn.weight", "transformer.blocks.{}.attention.qkv.weight"),
    ("transformers.{}.att.c_proj.weight", "transformer.blocks.{}.attention.out.weight"),
    ("transformers.{}.mlp.fc1.weight", "transformer.blocks.{}.feed_forward.up.weight"),
    ("transformers.{}.mlp.fc2.weight", "transformer.blocks.{}.feed_forward.down.weight"),
    ("final_layer_norm.*", "norm.*"),
]
_AUTHORS: list[Row] = [
    ("**.{upsample|downsample.lowpass}.filter", None),  # fixed
    ("generator.head.istft.window", None),
    ("SemanticEncoder_module.initial_conv.weight", "adapter.conv_in.weight"),
    ("SemanticEncoder_module.residual_blocks.1.*", "adapter.conv1.*"),
    ("SemanticEncoder_module.residual_blocks.3.*", "adapter.conv2.*"),
    ("SemanticEncoder_module.final_conv.weight", "adapter.conv_out.weight"),
    ("fc_prior.*", "join.*"),
    ("fc_post_a.*", "decoder.proj.*"),
    ("generator.quantizer.project_{in|out}.*", "quantizer.{in|out}_proj.*"),
    *_residual("generator.backbone"),
    *under("generator.backbone.", "decoder.", _BACKBONE),
    ("generator.head.out.*", "decoder.head.out.*"),
]


def _authors_encoder(levels: int, units: int) -> list[Row]:
    """Level i is `conv_blocks.{i + 1}`: its units, an activation, the strided convolution."""
    rows: list[Row] = [("CodecEnc.conv_blocks.0.*", "encoder.stem.*")]
    for i in range(levels):
        theirs, ours = f"CodecEnc.conv_blocks.{i + 1}.block", f"encoder.levels.{i}"
        for j in range(units):
            rows += unit(f"{theirs}.{j}", f"{ours}.units.{j}", act=snake_without_aliases)
        rows += [*snake_without_aliases(f"{theirs}.{units}", f"{ours}.act"), (f"{theirs}.{units + 1}.*", f"{ours}.conv.*")]
    last = snake_without_aliases("CodecEnc.conv_final_block.0", "encoder.act")
    return [*rows, *last, ("CodecEnc.conv_final_block.1.*", "encoder.head.*")]


def authors_keys(own: XCodec2Config) -> KeyMap:
    """Keys of training files (under "state_dict"), of the hub repository's files and of NeuCodec's."""
    rows = [*_AUTHORS, *_authors_encoder(len(own.strides), len(own.dilations))]
    return KeyMap(
        Unwrap("state_dict"),
        Rename([], also_drop=_TRAINING, keep_unknown=True),  # before weight norm: discriminators have some too
        WeightNorm(on=("CodecEnc.**.weight",)),
        Rename(rows),
    )


# --- transformers ---------------------------------------------------------------------------------------------------


def hf_config(config: Mapping[str, Any], *, neucodec: bool = False) -> dict[str, Any]:
    """Fields of `XCodec2Config` from `Xcodec2Config` or, with `neucodec`, `NeuCodecConfig` of transformers."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS)
    f.drop("initializer_range", "max_position_embeddings", "attention_dropout", "rope_parameters")  # see `XCodec2Decoder`
    f.require("hidden_act", "silu")
    heads, width = f.take("num_attention_heads", 16), f.take("hidden_size", 1024)
    f.require("num_key_value_heads", heads, 16)
    f.require("head_dim", width // heads, 64)
    strides = list(f.take("downsampling_ratios", [2, 2, 4, 4, 5]))
    rate = f.take("input_sampling_rate" if neucodec else "sampling_rate", 16000)
    rate_out = f.take("output_sampling_rate", 24000) if neucodec else rate
    semantic = {"model_type": "wav2vec2-bert", "num_hidden_layers": 16}
    semantic |= dict(f.take("semantic_model_config", {}) or {})
    semantic_width = semantic.get("hidden_size", 1024)
    latent = f.take("quantization_dim", 2048)
    if latent != width + semantic_width:
        raise ValueError(f"config.quantization_dim is {latent}; the authors' class needs {width + semantic_width}.")
    out = {
        "sample_rate_hz": rate,
        "hop_out_samples": math.prod(strides) * rate_out // rate,
        "width": f.take("encoder_hidden_size", 48),
        "strides": strides,
        "acoustic_dim": width,
        "semantic_model": {k: v for k, v in semantic.items() if k not in TRANSFORMERS_KEYS or k == "model_type"},
        "semantic_layers": semantic["num_hidden_layers"],
        "semantic_in": semantic_width,
        "semantic_width": semantic_width,
        "semantic_dim": semantic_width,
        "pad_features": not neucodec,
        "quantizer": {
            "kind": "residual_fsq",
            "levels": f.take("quantization_levels", [4] * 8),
            "num_codebooks": 1,
            "convention": "fsq",
            "project": True,
        },
        "latent_dim": latent,
        "decoder_dim": width,
        "layers": f.take("num_hidden_layers", 12),
        "heads": heads,
        "feed_forward": f.take("intermediate_size", 4096),
        "attention_bias": f.take("attention_bias", False),
        "norm_eps": f.take("rms_norm_eps", 1e-6),
        "dropout": f.take("activation_dropout", 0.1),
    }
    f.done(swallowed=True)
    return out


_HF_LAYER: list[Row] = [
    ("input_layernorm.weight", "norm_attention.weight"),
    ("post_attention_layernorm.weight", "norm_feed_forward.weight"),
    ("self_attn.qkv.*", "attention.qkv.*"),
    ("self_attn.o_proj.*", "attention.out.*"),
    ("mlp.fc1.weight", "feed_forward.up.weight"),
    ("mlp.fc2.weight", "feed_forward.down.weight"),
]
_HF: list[Row] = [
    *speech_model("semantic_encoder", "semantic_model.model"),
    ("**.filter", None),  # fixed, as is the next; the last are tables that the quantizer computes itself
    ("acoustic_decoder.head.window", None),
    ("quantizer.quantizer.**", None),
    ("semantic_adapter.conv1.weight", "adapter.conv_in.weight"),
    ("semantic_adapter.conv2.*", "adapter.conv1.*"),
    ("semantic_adapter.conv3.*", "adapter.conv2.*"),
    ("semantic_adapter.conv4.weight", "adapter.conv_out.weight"),
    *transformers_side("encoder", "acoustic_encoder", "encoder", act=snake_without_aliases),
    ("fc_encoder.*", "join.*"),
    ("quantizer.project_{in|out}.*", "quantizer.{in|out}_proj.*"),
    ("acoustic_decoder.fc.*", "decoder.proj.*"),
    ("acoustic_decoder.embed.*", "decoder.embed.*"),
    *_residual("acoustic_decoder"),
    *under("acoustic_decoder.layers.{}.", "decoder.transformer.blocks.{}.", _HF_LAYER),
    ("acoustic_decoder.norm.*", "decoder.norm.*"),
    ("acoustic_decoder.head.linear.*", "decoder.head.out.*"),
]


def hf_keys(own: XCodec2Config) -> KeyMap:
    """Keys of transformers; those of the speech model stay as they are."""
    fuse = Fuse(("q_proj", "k_proj", "v_proj"), "qkv", where="acoustic_decoder.**self_attn.")
    return KeyMap(Beside(("semantic_encoder.**",), WeightNorm(written="")), fuse, Rename(_HF))


def say_hf(own: XCodec2Config, *, neucodec: bool = False) -> dict[str, Any]:
    """`config.json` of transformers. Raises NotWritable where the class cannot be set up like `own`."""
    rate_out = own.sample_rate_hz * own.hop_out_samples // own.hop_samples
    rates = {"input_sampling_rate": own.sample_rate_hz, "output_sampling_rate": rate_out} if neucodec else {"sampling_rate": rate_out}
    out: dict[str, Any] = {
        "architectures": ["NeuCodecModel" if neucodec else "Xcodec2Model"],
        "model_type": "neucodec" if neucodec else "xcodec2",
        **rates,
        "hidden_size": own.decoder_dim,
        "intermediate_size": own.feed_forward or 4 * own.decoder_dim,
        "num_hidden_layers": own.layers,
        "num_attention_heads": own.heads,
        "num_key_value_heads": own.heads,
        "head_dim": own.decoder_dim // own.heads,
        "rms_norm_eps": own.norm_eps,
        "attention_bias": own.attention_bias,
        "activation_dropout": own.dropout,
        "encoder_hidden_size": own.width,
        "downsampling_ratios": list(own.strides),
        "quantization_dim": own.latent_dim,
        "quantization_levels": list(the_quantizer(own.quantizer, ResidualFSQConfig).levels),
        "semantic_model_config": dict(own.semantic_model),
    }
    same = {"semantic_name": XCodec2Config.semantic_name, "feed_forward": own.feed_forward or 4 * own.decoder_dim}
    return check_round_trip(dataclasses.replace(own, **same), out, partial(hf_config, neucodec=neucodec))


LAYOUTS = (
    Layout(
        system="xcodec2",
        upstream="zhenye234/X-Codec-2.0 vq/ CodecEncoder, CodecDecoderVocos, SemanticEncoder",
        family="xcodec2",
        config=authors_config,
        keys=authors_keys,
        recognises=is_xcodec2,
    ),
    Layout(
        system="xcodec2-hf",
        upstream="huggingface/transformers models/xcodec2 Xcodec2Model",
        family="xcodec2",
        config=hf_config,
        keys=hf_keys,
        authors_config=say_hf,
        model_type="xcodec2",
    ),
)
