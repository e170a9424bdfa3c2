"""The tokenizer of Qwen3-TTS."""

from typing import Any

from layout_options import DROP, Sweep

# the keys of speech_tokenizer/config.json; its encoder_config, cut off there, is a dump of transformers 4.57
_ENCODER: dict[str, Any] = {
    "_frame_rate": 200.0, "attention_bias": False, "attention_dropout": 0.0, "audio_channels": 1, "codebook_dim": 8,
    "codebook_size": 32, "compress": 2, "dilation_growth_rate": 2, "dtype": "float32", "head_dim": 8, "hidden_act": "gelu",
    "hidden_size": 16, "initializer_range": 0.02, "intermediate_size": 24, "kernel_size": 7, "last_kernel_size": 3,
    "layer_scale_initial_scale": 0.5, "max_position_embeddings": 8000, "norm_eps": 1e-05, "normalize": False,
    "num_attention_heads": 2, "num_filters": 4, "num_hidden_layers": 2, "num_key_value_heads": 2, "num_quantizers": 6,
    "num_residual_layers": 1, "num_semantic_quantizers": 1, "pad_mode": "constant", "residual_kernel_size": 3, "rope_theta": 10000.0,
    "sampling_rate": 2400, "sliding_window": 6, "trim_right_ratio": 1.0, "upsample_groups": 16, "upsampling_ratios": [3, 2],
    "use_cache": False, "use_causal_conv": True, "use_conv_shortcut": False, "use_streaming": False,
    "vector_quantization_hidden_dimension": 8,
}  # fmt: skip
_DECODER: dict[str, Any] = {
    "attention_bias": False, "attention_dropout": 0.0, "latent_dim": 12, "codebook_dim": 16, "codebook_size": 32, "decoder_dim": 16,
    "hidden_act": "silu", "hidden_size": 16, "intermediate_size": 24, "layer_scale_initial_scale": 0.5,
    "max_position_embeddings": 8000, "head_dim": 8, "num_attention_heads": 2, "num_hidden_layers": 2, "num_key_value_heads": 2,
    "num_quantizers": 3, "num_semantic_quantizers": 1, "rms_norm_eps": 1e-05, "rope_theta": 10000, "semantic_codebook_size": 64,
    "sliding_window": 6, "upsample_rates": [3, 2], "upsampling_ratios": [2, 1], "vector_quantization_hidden_dimension": 8,
}  # fmt: skip


def _encoder(**changes: Any) -> dict[str, Any]:
    return {"encoder_config": changes}


def _decoder(**changes: Any) -> dict[str, Any]:
    return {"decoder_config": changes}


SWEEPS = {
    "qwen3-tts-tokenizer-12hz": Sweep(
        tiny={
            "architectures": ["Qwen3TTSTokenizerV2Model"], "model_type": "qwen3_tts_tokenizer_12hz",
            "encoder_valid_num_quantizers": 3, "input_sample_rate": 2400, "output_sample_rate": 2400, "decode_upsample_rate": 12,
            "encode_downsample_rate": 12, "decoder_config": _DECODER, "encoder_config": _ENCODER,
        },
        options={
            "as it is": {},
            "the class's own keys alone": _decoder(
                num_semantic_quantizers=DROP, semantic_codebook_size=DROP, vector_quantization_hidden_dimension=DROP
            ),
            "the frame rate by its other name": _encoder(_frame_rate=DROP, frame_rate=200.0),
            "no frame rate": _encoder(_frame_rate=None),
            "all of the encoder's codebooks": {"encoder_valid_num_quantizers": 6} | _decoder(num_quantizers=6),
            "other steps up": {"decode_upsample_rate": 12} | _decoder(upsample_rates=[4], upsampling_ratios=[3]),
            "another rate out": {"output_sample_rate": 4800, "decode_upsample_rate": 24} | _decoder(upsampling_ratios=[2, 2]),
            "one key-value head": _decoder(num_key_value_heads=1),
            "one key-value head in the encoder": _encoder(num_key_value_heads=1),
            "heads of another width": _decoder(head_dim=6),
            "default width of heads": _decoder(head_dim=DROP),
            "biases in attention": _decoder(attention_bias=True) | _encoder(attention_bias=True),
            "another activation": _decoder(hidden_act="gelu"),
            "wider inside": _decoder(hidden_size=24, latent_dim=16),
            "larger tables in the decoder": _decoder(codebook_size=64),
            "narrower codes": _decoder(codebook_dim=8),
            "a window by default": _decoder(sliding_window=DROP),
            "convolution around units": _encoder(use_conv_shortcut=True),
        },
        refused={
            "more semantic codebooks": (_decoder(num_semantic_quantizers=2), "num_semantic_quantizers"),
            "another number of codebooks": (_decoder(num_quantizers=4), "num_quantizers"),
            "scaled rotary angles": (_decoder(rope_scaling={"type": "linear"}), "rope_scaling"),
            "a wrong rate": ({"decode_upsample_rate": 960}, "decode_upsample_rate"),
        },
    ),
}  # fmt: skip
