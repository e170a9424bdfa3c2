"""X-codec2 and NeuCodec in their authors' layouts and in that of transformers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .authors import unwrap
from .base import Converter, fold_weight_norm, rename
from .fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from .mimi import join_qkv

# --- configs --------------------------------------------------------------------------------------------------------


def authors_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `XCodec2Config` from the constructor arguments of the parts, by the checkpoint's prefixes."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS)
    e, g = Fields(f.take("CodecEnc", {}), "CodecEnc"), Fields(f.take("generator", {}), "generator")
    e.drop("depth", "heads", "pos_meb_dim")  # of a transformer that the class does not build
    # of a quantizer that the class does not build, and of a rotation without effect
    g.drop("vq_num_quantizers", "vq_commit_weight", "vq_weight_init", "vq_full_commit_loss")
    g.drop("codebook_size", "codebook_dim", "pos_meb_dim")
    strides, acoustic = list(e.take("up_ratios", [2, 2, 4, 4, 5])), e.take("hidden_dim", 1024)
    semantic = _arguments(
        f.take("SemanticEncoder", [1024, 1024, 1024]),
        ("input_channels", "code_dim", "encode_channels", "kernel_size", "bias"),
        {"kernel_size": 3, "bias": True},
    )
    latent, width = g.take("vq_dim", 2048), g.take("hidden_dim", 1024)
    for name, shape in (("fc_prior", [semantic["code_dim"] + acoustic, latent]), ("fc_post_a", [latent, width])):
        f.require(name, shape)
    hop = math.prod(strides)
    hop_out = g.take("hop_length", 320)
    out = {
        "sample_rate_hz": f.take("sample_rate", 16000),
        "hop_out_samples": hop_out,
        "width": e.take("ngf", 48),
        "strides": strides,
        "dilations": e.take("dilations", [1, 3, 9]),
        "acoustic_dim": acoustic,
        "semantic_in": semantic["input_channels"],
        "semantic_width": semantic["encode_channels"],
        "semantic_dim": semantic["code_dim"],
        "semantic_kernel": semantic["kernel_size"],
        "semantic_bias": semantic["bias"],
        "pad_features": hop_out == hop,  # NeuCodec, which changes the rate, does without
        "latent_dim": latent,
        "decoder_dim": width,
        "layers": g.take("depth", 12),
        "heads": g.take("heads", 16),
    }
    for part in (e, g, f):
        part.done()
    return out


def _arguments(values: Any, names: Sequence[str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments given by position or by name."""
    given = dict(values) if isinstance(values, Mapping) else dict(zip(names, values, strict=False))
    unknown = sorted(set(given) - set(names))
    if unknown or len(given) < len(names) - len(defaults):
        raise ValueError(f"SemanticEncoder takes {', '.join(names)}; got {values!r}.")
    return {**defaults, **given}


def hf_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `XCodec2Config` from `Xcodec2Config` or `NeuCodecConfig` of transformers."""
    f = Fields(config, "config")
    neucodec = config.get("model_type") == "neucodec" or "output_sampling_rate" in config
    f.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS)
    f.drop("initializer_range", "max_position_embeddings", "pad_token_id", "tie_word_embeddings")
    f.drop("attention_dropout", "head_dim" if _plain_heads(config) else "", "rope_parameters")  # see `XCodec2Decoder`
    f.require("hidden_act", "silu")
    heads, width = f.take("num_attention_heads", 16), f.take("hidden_size", 1024)
    f.require("num_key_value_heads", heads)
    strides = list(f.take("downsampling_ratios", [2, 2, 4, 4, 5]))
    rate = f.take("input_sampling_rate", 16000) if neucodec else f.take("sampling_rate", 16000)
    rate_out = f.take("output_sampling_rate", 24000) if neucodec else rate
    semantic = {"model_type": "wav2vec2-bert", "num_hidden_layers": 16}
    semantic |= dict(f.take("semantic_model_config", {}) or {})
    semantic_width = semantic.get("hidden_size", 1024)
    latent = f.take("quantization_dim", 2048)
    if latent != width + semantic_width:
        raise ValueError(f"config.quantization_dim is {latent}; the authors' class needs {width + semantic_width}.")
    hop = math.prod(strides)
    out = {
        "sample_rate_hz": rate,
        "hop_out_samples": hop * rate_out // rate,
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
    f.done()
    return out


def _plain_heads(config: Mapping[str, Any]) -> bool:
    """True where `head_dim` says nothing that width and heads do not."""
    width, heads = config.get("hidden_size", 1024), config.get("num_attention_heads", 16)
    return config.get("head_dim", 64) in (None, width // heads)


# --- weights --------------------------------------------------------------------------------------------------------

# Authors' key -> own key; the encoder's levels follow in `_authors_encoder`.
_RESIDUAL = (
    (r"norm1\.(weight|bias)", r"norm_in.\1"),
    (r"conv1\.(weight|bias)", r"conv_in.\1"),
    (r"norm2\.(weight|bias)", r"norm_out.\1"),
    (r"conv2\.(weight|bias)", r"conv_out.\1"),
)


def _residual(old: str) -> list[tuple[str, str]]:
    return [
        (rf"{old}{theirs}_net\.(\d+)\." + a, rf"decoder.{ours}.\1." + b.replace(r"\1", r"\2"))
        for theirs, ours in (("prior", "before"), ("post", "after"))
        for a, b in _RESIDUAL
    ]


_BACKBONE = r"generator\.backbone\."
_AUTHORS = (
    (r"SemanticEncoder_module\.initial_conv\.weight", "adapter.conv_in.weight"),
    (r"SemanticEncoder_module\.residual_blocks\.1\.(weight|bias)", r"adapter.conv1.\1"),
    (r"SemanticEncoder_module\.residual_blocks\.3\.(weight|bias)", r"adapter.conv2.\1"),
    (r"SemanticEncoder_module\.final_conv\.weight", "adapter.conv_out.weight"),
    (r"fc_prior\.(weight|bias)", r"join.\1"),
    (r"fc_post_a\.(weight|bias)", r"decoder.proj.\1"),
    (r"generator\.quantizer\.project_(in|out)\.(weight|bias)", r"quantizer.\1_proj.\2"),
    (_BACKBONE + r"embed\.(weight|bias)", r"decoder.embed.\1"),
    *_residual(_BACKBONE),
    (_BACKBONE + r"transformers\.(\d+)\.att_norm\.weight", r"decoder.transformer.blocks.\1.norm_attention.weight"),
    (_BACKBONE + r"transformers\.(\d+)\.ffn_norm\.weight", r"decoder.transformer.blocks.\1.norm_feed_forward.weight"),
    (_BACKBONE + r"transformers\.(\d+)\.att\.c_attn\.weight", r"decoder.transformer.blocks.\1.attention.qkv.weight"),
    (_BACKBONE + r"transformers\.(\d+)\.att\.c_proj\.weight", r"decoder.transformer.blocks.\1.attention.out.weight"),
    (_BACKBONE + r"transformers\.(\d+)\.mlp\.fc1\.weight", r"decoder.transformer.blocks.\1.feed_forward.up.weight"),
    (_BACKBONE + r"transformers\.(\d+)\.mlp\.fc2\.weight", r"decoder.transformer.blocks.\1.feed_forward.down.weight"),
    (_BACKBONE + r"final_layer_norm\.(weight|bias)", r"decoder.norm.\1"),
    (r"generator\.head\.out\.(weight|bias)", r"decoder.head.out.\1"),
)
#: Fixed filters and windows; heads of training (semantic reconstruction, discriminators, perceptual models).
_AUTHORS_DROPPED = (
    r".*\.(up|down)sample\.(lowpass\.)?filter",
    r"generator\.head\.istft\.window",
    r"generator\.quantizer\.(layers|rvqs)\..*",
    r"(SemanticDecoder_module|fc_post_s|discriminator|spec_discriminator|semantic_model|perceptual\w*)\..*",
)


def _authors_encoder(strides: Sequence[int], dilations: Sequence[int]) -> list[tuple[str, str]]:
    """Level i is `conv_blocks.{i + 1}`: its units, an activation, the strided convolution."""
    n, table = len(dilations), [(r"CodecEnc\.conv_blocks\.0\.(weight|bias)", r"encoder.stem.\1")]
    for i in range(len(strides)):
        theirs, ours = rf"CodecEnc\.conv_blocks\.{i + 1}\.block\.", f"encoder.levels.{i}."
        for j in range(n):
            table += [
                (theirs + rf"{j}\.block\.0\.act\.(alpha|beta)", ours + rf"units.{j}.act_in.activation.\1"),
                (theirs + rf"{j}\.block\.1\.(weight|bias)", ours + rf"units.{j}.conv_in.\1"),
                (theirs + rf"{j}\.block\.2\.act\.(alpha|beta)", ours + rf"units.{j}.act_out.activation.\1"),
                (theirs + rf"{j}\.block\.3\.(weight|bias)", ours + rf"units.{j}.conv_out.\1"),
            ]
        table += [
            (theirs + rf"{n}\.act\.(alpha|beta)", ours + r"act.activation.\1"),
            (theirs + rf"{n + 1}\.(weight|bias)", ours + r"conv.\1"),
        ]
    return [
        *table,
        (r"CodecEnc\.conv_final_block\.0\.act\.(alpha|beta)", r"encoder.act.activation.\1"),
        (r"CodecEnc\.conv_final_block\.1\.(weight|bias)", r"encoder.head.\1"),
    ]


def authors_weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Own keys and values from the authors' state dict."""
    own = authors_config(config)
    state = unwrap(state, "state_dict")  # of a Lightning checkpoint
    table = [*_AUTHORS, *_authors_encoder(own["strides"], own["dilations"])]
    return rename(fold_weight_norm(state), table, dropped=_AUTHORS_DROPPED)


_LAYER = r"acoustic_decoder\.layers\.(\d+)\."
_HF = (
    (r"semantic_encoder\.(.*)", r"semantic_model.model.\1"),
    (r"semantic_adapter\.conv1\.weight", "adapter.conv_in.weight"),
    (r"semantic_adapter\.conv2\.(weight|bias)", r"adapter.conv1.\1"),
    (r"semantic_adapter\.conv3\.(weight|bias)", r"adapter.conv2.\1"),
    (r"semantic_adapter\.conv4\.weight", "adapter.conv_out.weight"),
    (r"acoustic_encoder\.conv1\.(weight|bias)", r"encoder.stem.\1"),
    (r"acoustic_encoder\.snake1\.act\.(alpha|beta)", r"encoder.act.activation.\1"),
    (r"acoustic_encoder\.conv2\.(weight|bias)", r"encoder.head.\1"),
    (r"acoustic_encoder\.block\.(\d+)\.snake1\.act\.(alpha|beta)", r"encoder.levels.\1.act.activation.\2"),
    (r"acoustic_encoder\.block\.(\d+)\.conv1\.(weight|bias)", r"encoder.levels.\1.conv.\2"),
    *(
        row
        for j in range(3)
        for unit in [rf"acoustic_encoder\.block\.(\d+)\.res_unit{j + 1}\."]
        for row in (
            (unit + r"snake1\.act\.(alpha|beta)", rf"encoder.levels.\1.units.{j}.act_in.activation.\2"),
            (unit + r"conv1\.(weight|bias)", rf"encoder.levels.\1.units.{j}.conv_in.\2"),
            (unit + r"snake2\.act\.(alpha|beta)", rf"encoder.levels.\1.units.{j}.act_out.activation.\2"),
            (unit + r"conv2\.(weight|bias)", rf"encoder.levels.\1.units.{j}.conv_out.\2"),
        )
    ),
    (r"fc_encoder\.(weight|bias)", r"join.\1"),
    (r"quantizer\.project_(in|out)\.(weight|bias)", r"quantizer.\1_proj.\2"),
    (r"acoustic_decoder\.fc\.(weight|bias)", r"decoder.proj.\1"),
    (r"acoustic_decoder\.embed\.(weight|bias)", r"decoder.embed.\1"),
    *_residual(r"acoustic_decoder\."),
    (_LAYER + r"input_layernorm\.weight", r"decoder.transformer.blocks.\1.norm_attention.weight"),
    (_LAYER + r"post_attention_layernorm\.weight", r"decoder.transformer.blocks.\1.norm_feed_forward.weight"),
    (_LAYER + r"self_attn\.qkv\.(weight|bias)", r"decoder.transformer.blocks.\1.attention.qkv.\2"),
    (_LAYER + r"self_attn\.o_proj\.(weight|bias)", r"decoder.transformer.blocks.\1.attention.out.\2"),
    (_LAYER + r"mlp\.fc1\.weight", r"decoder.transformer.blocks.\1.feed_forward.up.weight"),
    (_LAYER + r"mlp\.fc2\.weight", r"decoder.transformer.blocks.\1.feed_forward.down.weight"),
    (r"acoustic_decoder\.norm\.(weight|bias)", r"decoder.norm.\1"),
    (r"acoustic_decoder\.head\.linear\.(weight|bias)", r"decoder.head.out.\1"),
)


def hf_weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Own keys and values from a state dict of transformers; the speech model's stay its own."""
    speech = {k: v for k, v in state.items() if k.startswith("semantic_encoder.")}
    rest = {k: v for k, v in state.items() if k not in speech}
    dropped = [r".*\.filter", r"acoustic_decoder\.head\.window", r"quantizer\.quantizer\..*"]
    out = rename({**speech, **join_qkv(fold_weight_norm(rest))}, _HF, dropped=dropped)
    return {k: v if v.is_floating_point() else v.to(torch.int64) for k, v in out.items()}


CONVERTERS = (
    *(
        Converter(
            system=system,
            upstream=upstream,
            family="xcodec2",
            config=authors_config,
            weights=authors_weights,
        )
        for system, upstream in (
            ("xcodec2", "zhenye234/X-Codec-2.0 vq/ CodecEncoder, CodecDecoderVocos, SemanticEncoder"),
            ("neucodec", "neuphonic/neucodec neucodec/ CodecEncoder, CodecDecoderVocos, SemanticEncoder"),
        )
    ),
    *(
        Converter(
            system=system,
            upstream=upstream,
            family="xcodec2",
            config=hf_config,
            weights=hf_weights,
        )
        for system, upstream in (
            ("xcodec2-hf", "huggingface/transformers models/xcodec2 Xcodec2Model"),
            ("neucodec-hf", "huggingface/transformers models/neucodec NeuCodecModel"),
        )
    ),
)
