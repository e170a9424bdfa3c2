"""The 12.5 Hz tokenizer of Qwen3-TTS in its authors' layout (a folder of `save_pretrained`)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...codecs.config import from_mapping
from ...codecs.layers.seanet import SEANetConfig
from .base import Converter, fold_weight_norm, rename
from .fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from .mimi import (
    CODEBOOK_FLAGS,
    HF_ACTIVATIONS,
    HF_BLOCK,
    HF_QUANTIZER,
    block_table,
    flat_key,
    hf_config,
    join_qkv,
    means,
    squeeze_pointwise,
)
from .seanet import seanet_table


def qwen3_tts_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `Qwen3TTSConfig` from `Qwen3TTSTokenizerV2Config`."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, *TRANSFORMERS_KEYS)
    mimi = hf_config(f.take("encoder_config", {}))
    d = Fields(f.take("decoder_config", {}), "decoder_config")
    d.drop(*TRANSFORMERS_KEYS, "attention_dropout", "max_position_embeddings", "tie_word_embeddings")
    strides, frame_strides = d.take("upsample_rates", [8, 5, 4, 3]), d.take("upsampling_ratios", [2, 2])
    num = f.take("encoder_valid_num_quantizers", 16)
    d.require("num_quantizers", num, 16)
    f.require("input_sample_rate", mimi["sample_rate_hz"], 24000)
    hop = mimi["frame_stride"]
    for stride in mimi["seanet"]["strides"]:
        hop *= stride
    f.require("encode_downsample_rate", hop, 1920)
    hop = 1
    for stride in (*strides, *frame_strides):
        hop *= stride
    f.require("decode_upsample_rate", hop, 1920)
    out = {
        "sample_rate_hz": mimi["sample_rate_hz"],
        "output_rate_hz": f.take("output_sample_rate", 24000),
        "num_codebooks": num,
        "seanet": mimi["seanet"],
        # The class of transformers 4.57.3, which the authors' package asks for, looks at all earlier steps.
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
    d.done()
    f.done()
    return out


def _transformer(d: Fields) -> dict[str, Any]:
    d.require("rope_scaling", None)
    heads = d.take("num_attention_heads", 16)
    return {
        "width": d.take("hidden_size", 1024),
        "layers": d.take("num_hidden_layers", 8),
        "heads": heads,
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


#: The decoder's feed-forward network, after `_join_gates`.
_GATED = (
    (r"mlp\.gate_up\.weight", "feed_forward.up.weight"),
    (r"mlp\.down_proj\.weight", "feed_forward.down.weight"),
)
# Authors' key below `decoder.` -> own key.
_DECODER = (
    (r"quantizer\.rvq_(first|rest)\.(in|out)put_proj\.weight", r"quantizer.tables.\1.\2_proj.weight"),
    (
        r"quantizer\.rvq_(first|rest)\.vq\.layers\.(\d+)\._codebook\.embed",
        r"quantizer.tables.\1.levels.\2.codebook.embed",
    ),
    (r"pre_conv\.conv\.(weight|bias)", r"decoder.first.\1"),
    (r"pre_transformer\.(in|out)put_proj\.(weight|bias)", r"decoder.transformer.\1_proj.\2"),
    (r"pre_transformer\.norm\.weight", "decoder.transformer.norm.weight"),
    (r"upsample\.(\d+)\.0\.conv\.(weight|bias)", r"decoder.frame_levels.\1.up.\2"),
    (r"upsample\.(\d+)\.1\.dwconv\.conv\.(weight|bias)", r"decoder.frame_levels.\1.block.depthwise.\2"),
    (r"upsample\.(\d+)\.1\.norm\.(weight|bias)", r"decoder.frame_levels.\1.block.norm.\2"),
    (r"upsample\.(\d+)\.1\.pwconv1\.(weight|bias)", r"decoder.frame_levels.\1.block.up.\2"),
    (r"upsample\.(\d+)\.1\.pwconv2\.(weight|bias)", r"decoder.frame_levels.\1.block.down.\2"),
    (r"upsample\.(\d+)\.1\.gamma", r"decoder.frame_levels.\1.block.scale"),
    *block_table((*HF_BLOCK, *_GATED), r"pre_transformer\.layers", "decoder.transformer.blocks"),
)


def _wave_table(levels: int) -> list[tuple[str, str]]:
    """The waveform part: position 0 is the first convolution, then one a level, an activation, the last convolution."""
    table = [
        (r"decoder\.0\.conv\.(weight|bias)", r"decoder.wave_first.\1"),
        (rf"decoder\.{levels + 1}\.(alpha|beta)", r"decoder.wave_act.\1"),
        (rf"decoder\.{levels + 2}\.conv\.(weight|bias)", r"decoder.wave_last.\1"),
    ]
    for i in range(levels):
        theirs, ours = rf"decoder\.{i + 1}\.block\.", f"decoder.wave_levels.{i}."
        table += [
            (theirs + r"0\.(alpha|beta)", ours + r"act.\1"),
            (theirs + r"1\.conv\.(weight|bias)", ours + r"up.\1"),
        ]
        for j in range(3):
            table += [
                (theirs + rf"{j + 2}\.act([12])\.(alpha|beta)", ours + rf"units.{j}.act\1.\2"),
                (theirs + rf"{j + 2}\.conv([12])\.conv\.(weight|bias)", ours + rf"units.{j}.conv\1.\2"),
            ]
    return table


def qwen3_tts_weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Own keys and values from the authors' state dict."""
    own = qwen3_tts_config(config)
    state = join_qkv(fold_weight_norm(state))
    encoder = {flat_key(k[len("encoder.") :]): v for k, v in state.items() if k.startswith("encoder.")}
    decoder = {k[len("decoder.") :]: v for k, v in state.items() if k.startswith("decoder.")}
    rest = {k: v for k, v in state.items() if not k.startswith(("encoder.", "decoder."))}  # `rename` complains of these
    seanet = from_mapping(SEANetConfig, own["seanet"])
    table = [
        *((a, b.replace("quantizer.", "quantizer.search.")) for a, b in HF_QUANTIZER),
        (r"downsample\.conv\.weight", "encoder.downsample.weight"),
        *block_table(HF_BLOCK, r"encoder_transformer\.layers", "encoder.transformer.blocks"),
        *seanet_table(seanet, "encoder", "encoder.layers", "encoder.seanet"),
    ]
    out = rename({**means(encoder, "embed_sum"), **rest}, table, dropped=[CODEBOOK_FLAGS])
    decoder = means(_join_gates(decoder), "embedding_sum")
    out |= rename(decoder, [*_DECODER, *_wave_table(len(own["strides"]))], dropped=[CODEBOOK_FLAGS])
    return squeeze_pointwise(out, r"quantizer\..*\.(in|out)_proj\.weight")


def _join_gates(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace `gate_proj` and `up_proj` by one `gate_up`, rows in this order."""
    out = dict(state)
    for key in [k for k in out if ".gate_proj." in k]:
        parts = [out.pop(key), out.pop(key.replace(".gate_proj.", ".up_proj."))]
        out[key.replace(".gate_proj.", ".gate_up.")] = torch.cat(parts)
    return out


CONVERTERS = (
    Converter(
        system="qwen3-tts-tokenizer-12hz",
        upstream="QwenLM/Qwen3-TTS qwen_tts/core/tokenizer_12hz Qwen3TTSTokenizerV2Model",
        family="qwen3_tts",
        config=qwen3_tts_config,
        weights=qwen3_tts_weights,
    ),
)
