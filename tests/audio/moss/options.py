"""MOSS-Audio-Tokenizer: the 24 kHz release, and the stereo ones."""

from typing import Any

from layout_options import DROP, Sweep


def patch(size: int) -> dict[str, Any]:
    return {"module_type": "PatchedPretransform", "patch_size": size}


def transformer(width_in: int, width_out: int, **changes: Any) -> dict[str, Any]:
    """One transformer with the keys of the published files."""
    return {
        "causal": True, "conv_layout": True, "d_model": 8, "dim_feedforward": 32, "gating": "none", "input_dimension": width_in,
        "layer_scale": 0.5, "max_period": 10000, "module_type": "Transformer", "norm": "layer_norm", "num_heads": 2, "num_layers": 2,
        "output_dimension": width_out, "positional_embedding": "rope",
    } | changes  # fmt: skip


def _sides(**changes: Any) -> dict[str, Any]:
    encoder = [patch(4), transformer(4, 6, **changes), patch(2), transformer(12, 10, **changes)]
    decoder = [transformer(10, 12, **changes), patch(2), transformer(6, 4, **changes), patch(4)]
    return {"encoder_kwargs": encoder, "decoder_kwargs": decoder}


STEREO = {
    "model_type": "moss-audio-tokenizer", "number_channels": 2, "enable_channel_interleave": True, "attention_implementation": "sdpa",
    "compute_dtype": "fp32", "downsample_rate": 4,
}  # fmt: skip

SWEEPS = {
    "moss-audio-tokenizer": Sweep(
        tiny={
            "architectures": ["MossAudioTokenizerModel"],
            "auto_map": {
                "AutoConfig": "configuration_moss_audio_tokenizer.MossAudioTokenizerConfig",
                "AutoModel": "modeling_moss_audio_tokenizer.MossAudioTokenizerModel",
            },
            "causal_transformer_context_duration": 0.01, "code_dim": 10, "downsample_rate": 8, "dtype": "float32",
            "model_type": "speech_tokenizer",
            "quantizer_kwargs": {
                "codebook_dim": 4, "codebook_size": 32, "input_dim": 10, "num_quantizers": 3, "output_dim": 10,
                "quantizer_type": "rlfq", "rvq_dim": 6,
            },
            "quantizer_type": "rlfq", "reversed_decoder_kwargs": [], "sample_rate": 2400, "sampling_rate": 2400,
            "transformers_version": "4.56.0.dev0", "version": "4.26.1.a", **_sides(),
        },
        options={
            "as it is": {},
            "plain residual codes": {"quantizer_type": "rvq", "quantizer_kwargs": {"quantizer_type": DROP}},
            "spectral residual codes": {"quantizer_kwargs": {"quantizer_type": "spec_rvq"}},
            "random prefixes": {"quantizer_kwargs": {"quantizer_type": "random_prefix_rlfq"}},
            "no maps around the stack": {"quantizer_kwargs": {"rvq_dim": None}},
            "no maps around a table": {"quantizer_kwargs": {"rvq_dim": 6, "codebook_dim": 6}},
            "tables by default": {"quantizer_kwargs": {"codebook_size": DROP, "codebook_dim": DROP}},
            "a gated network": _sides(gating="silu"),
            "a gated network of another width": _sides(gating="gelu", dim_feedforward=24),
            "RMSNorm": _sides(norm="rms_norm"),
            "RMSNorm of the other epsilon": _sides(norm="rms_norm_f32"),
            "sinusoids": _sides(positional_embedding="sin"),
            "rotary pairs and sinusoids": _sides(positional_embedding="sin_rope"),
            "no positions": _sides(positional_embedding="none"),
            "no layer scale": _sides(layer_scale=None),
            "a window of each module": _sides(context_duration=0.02),
            "the decoder mirrored": {"decoder_kwargs": DROP, "reversed_decoder_kwargs": _sides()["encoder_kwargs"]},
            "one spelling of the rate": {"sampling_rate": DROP},
            "two channels": STEREO,
            "two channels under the older names": {
                "channels_numbers": 2, "attention_backend": "sdpa", "codec_compute_dtype": "fp32", "codec_load_dtype": "fp32",
                "downsample_rate": 4,
            },
            "one channel in so many words": {"number_channels": 1, "enable_channel_interleave": True},
        },
        refused={
            "channels side by side": (STEREO | {"enable_channel_interleave": False}, "enable_channel_interleave"),
            "a wrong hop": ({"downsample_rate": 12}, "downsample_rate"),
            "another module": ({"encoder_kwargs": [{"module_type": "Conv"}]}, "module_type"),
            "rotary pairs as halves": (_sides(positional_embedding="rope_concat"), "rope_concat"),
            "an attention that looks ahead": (_sides(causal=False), "causal"),
        },
    ),
}  # fmt: skip
