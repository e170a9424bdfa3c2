"""The 12.5 Hz tokenizer of Qwen3-TTS in its authors' layout (a folder of `save_pretrained`)."""

import math
from collections.abc import Mapping
from typing import Any

from ...layouts.fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from ...layouts.keymap import Fuse, KeyMap, Rename, Row, WeightNorm, pointwise, under
from ...layouts.layout import Layout
from ...layouts.transformer_keys import HF_BLOCK, fuse_qkv, means
from ..mimi.layouts import HF_ACTIVATIONS, hf_config, hf_quantizer, hf_side
from .model import Qwen3TTSConfig


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `Qwen3TTSConfig` from `Qwen3TTSTokenizerV2Config`."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS)
    mimi = hf_config(f.take("encoder_config", None) or {}, "encoder_config")
    d = Fields(f.take("decoder_config", None) or {}, "decoder_config")
    d.drop(*TRANSFORMERS_KEYS, "attention_dropout", "max_position_embeddings", "tie_word_embeddings")
    # stated, but not read: the class has one semantic codebook of the same size as the others, half as wide as `codebook_dim`
    d.require("num_semantic_quantizers", 1)
    d.drop("semantic_codebook_size", "vector_quantization_hidden_dimension")
    strides, frame_strides = list(d.take("upsample_rates", [8, 5, 4, 3])), list(d.take("upsampling_ratios", [2, 2]))
    num = f.take("encoder_valid_num_quantizers", 16)
    d.require("num_quantizers", num, 16)
    f.require("input_sample_rate", mimi["sample_rate_hz"], 24000)
    f.require("encode_downsample_rate", mimi["frame_stride"] * math.prod(mimi["seanet"]["strides"]), 1920)
    f.require("decode_upsample_rate", math.prod(strides + frame_strides), 1920)
    out = {
        "sample_rate_hz": mimi["sample_rate_hz"],
        "output_rate_hz": f.take("output_sample_rate", 24000),
        "num_codebooks": num,
        "seanet": mimi["seanet"],
        # The class of transformers 4.57.3, which the authors' package requires, attends to all earlier steps.
        "encoder_transformer": mimi["encoder_transformer"] | {"context": None},
        "frame_stride": mimi["frame_stride"],
        "quantizer": {k: v for k, v in mimi["quantizer"].items() if k != "kind"},
        "code_dim": d.take("codebook_dim", 512),
        "codebook_size": d.take("codebook_size", 2048),
        "latent_dim": d.take("latent_dim", 1024),
        "decoder_transformer": _transformer(d),
        "frame_strides": frame_strides,
        "width": d.take("decoder_dim", 1536),
        "strides": strides,
    }
    d.done(swallowed=True)
    f.done(swallowed=True)
    return out


def _transformer(d: Fields) -> dict[str, Any]:
    d.require("rope_scaling", None)
    return {
        "width": d.take("hidden_size", 1024),
        "layers": d.take("num_hidden_layers", 8),
        "heads": d.take("num_attention_heads", 16),
        "kv_heads": d.take("num_key_value_heads", 16),
        "head_dim": d.take("head_dim", None) or 0,
        "feed_forward": d.take("intermediate_size", 3072),
        "gated": True,
        "activation": d.one_of("hidden_act", HF_ACTIVATIONS, "silu"),
        "context": d.take("sliding_window", 72),
        "norm": "rms",
        "norm_eps": d.take("rms_norm_eps", 1e-5),
        "layer_scale": d.take("layer_scale_initial_scale", 0.01),
        "rope_period": float(d.take("rope_theta", 10000.0)),
        "bias": d.take("attention_bias", False),
        "final_norm": True,
    }


_DECODER: list[Row] = [
    ("quantizer.rvq_{first|rest}.input_proj.weight", "quantizer.tables.{first|rest}.in_proj.weight"),
    ("quantizer.rvq_{first|rest}.output_proj.weight", "quantizer.tables.{first|rest}.out_proj.weight"),
    ("quantizer.rvq_{first|rest}.vq.layers.{}._codebook.embed", "quantizer.tables.{first|rest}.levels.{}.codebook.embed"),
    ("pre_conv.conv.*", "decoder.first.*"),
    ("pre_transformer.input_proj.*", "decoder.transformer.in_proj.*"),
    ("pre_transformer.output_proj.*", "decoder.transformer.out_proj.*"),
    ("pre_transformer.norm.weight", "decoder.transformer.norm.weight"),
    *under(
        "pre_transformer.layers.{}.",
        "decoder.transformer.blocks.{}.",
        [("mlp.gate_up.weight", "feed_forward.up.weight"), ("mlp.down_proj.weight", "feed_forward.down.weight"), *HF_BLOCK],
    ),
    ("upsample.{}.0.conv.*", "decoder.frame_levels.{}.up.*"),
    ("upsample.{}.1.dwconv.conv.*", "decoder.frame_levels.{}.block.depthwise.*"),
    ("upsample.{}.1.norm.*", "decoder.frame_levels.{}.block.norm.*"),
    ("upsample.{}.1.pwconv1.*", "decoder.frame_levels.{}.block.up.*"),
    ("upsample.{}.1.pwconv2.*", "decoder.frame_levels.{}.block.down.*"),
    ("upsample.{}.1.gamma", "decoder.frame_levels.{}.block.scale"),
]


def _wave(levels: int) -> list[Row]:
    """Key rows of the waveform part, a numbered list: first convolution, the levels, an activation, last convolution."""
    rows: list[Row] = [
        ("decoder.0.conv.*", "decoder.wave_first.*"),
        (f"decoder.{levels + 1}.*", "decoder.wave_act.*"),
        (f"decoder.{levels + 2}.conv.*", "decoder.wave_last.*"),
    ]
    for i in range(levels):
        theirs, ours = f"decoder.{i + 1}.block.", f"decoder.wave_levels.{i}."
        rows += [(theirs + "0.*", ours + "act.*"), (theirs + "1.conv.*", ours + "up.*")]
        for j in range(3):
            rows += [
                (f"{theirs}{j + 2}.{{act1|act2}}.*", f"{ours}units.{j}.{{act1|act2}}.*"),
                (f"{theirs}{j + 2}.{{conv1|conv2}}.conv.*", f"{ours}units.{j}.{{conv1|conv2}}.*"),
            ]
    return rows


def _keys(own: Qwen3TTSConfig) -> KeyMap:
    encoder = [*hf_quantizer("quantizer.search"), *hf_side(own, "encoder")]
    return KeyMap(
        WeightNorm(written=""),
        fuse_qkv(own.encoder_transformer, "encoder.**self_attn."),
        fuse_qkv(own.decoder_transformer, "decoder.**self_attn."),
        Fuse(("gate_proj", "up_proj"), "gate_up", where="decoder.**mlp."),
        means("embed_sum", "initialized", where="encoder.**"),
        means("embedding_sum", where="decoder.**"),
        Rename([*under("encoder.", "", encoder), *under("decoder.", "", [*_DECODER, *_wave(len(own.strides))])]),
        pointwise("quantizer.{search|tables}.{first|rest}.{in_proj|out_proj}.weight"),
    )


LAYOUTS = (
    Layout(
        system="qwen3-tts-tokenizer-12hz",
        upstream="QwenLM/Qwen3-TTS qwen_tts/core/tokenizer_12hz Qwen3TTSTokenizerV2Model",
        family="qwen3_tts",
        config=_config,
        keys=_keys,
        model_type="qwen3_tts_tokenizer_12hz",
    ),
)
