"""What the layout of `xy` allows, for the tests over all layouts."""

from typing import Any

import torch
from layout_options import DROP, Sweep

_SIDE = {"num_mel_bins": 8, "sampling_rate": 16000, "hop_length": 160, "stride_size": 2, "d_model": 8, "max_audio_seconds": 4}
_ENCODER = _SIDE | {"encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 8}
_ADAPTER = {"d_model": 8, "max_source_positions": 200, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 8}
_TINY = {
    "generator_params": {
        "sample_rate": 16000,
        "feature_extractor_kwargs": {"feature_size": 8, "n_samples": 64000, "chunk_length": 4, "nb_max_frames": 400},
        "semantic_encoder_kwargs": _ENCODER,
        "semantic_encoder_adapter_kwargs": _ADAPTER | {"input_dim": 8, "output_dim": 8},
        "acoustic_encoder_kwargs": _ENCODER,
        "pre_rvq_adapter_kwargs": _ADAPTER | {"input_dim": 16, "output_dim": 8},
        "downsample_kwargs": {"d_model": 8, "avg_pooler": 4},
        "quantizer_kwargs": {
            "input_dim": 32, "rvq_dim": 6, "output_dim": 32, "num_quantizers": 3, "codebook_size": 16, "codebook_dim": 6,
            "quantizer_dropout": 0.0, "commitment": 1,
        },
        "post_rvq_adapter_kwargs": _ADAPTER | {"input_dim": 32, "output_dim": 32, "max_source_positions": 50},
        "upsample_kwargs": {"d_model": 8, "stride": 4},
        "acoustic_decoder_kwargs": _SIDE | {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 8},
        "vocos_kwargs": {"input_channels": 8, "dim": 8, "intermediate_dim": 8, "num_layers": 1, "n_fft": 640, "hop_size": 160},
    }
}  # fmt: skip


def _change(**parts: dict[str, Any]) -> dict[str, Any]:
    return {"generator_params": parts}


def _spread(tok: Any) -> None:
    """Tables of the size of the latents."""
    with torch.no_grad():
        for level in tok.quantizer.levels:
            level.codebook.embed.mul_(2)


_24_KHZ = _change(vocos_kwargs={"n_fft": 960, "hop_size": 240})
_24_KHZ["generator_params"] |= {"input_sample_rate": 16000, "output_sample_rate": 24000, "sample_rate": DROP}
_32_KHZ = _change(vocos_kwargs={"n_fft": 1280, "hop_size": 320})
_32_KHZ["generator_params"] |= {
    "input_sample_rate": 16000, "output_sample_rate": 32000, "encoder_downsample_rate": 1280, "decoder_upsample_rate": 2560,
}  # fmt: skip

#: The same arguments as a folder of transformers has them.
_HF: dict[str, Any] = {
    "model_type": "xy_tokenizer", "input_sample_rate": 16000, "output_sample_rate": 24000, "encoder_downsample_rate": 1280,
    "decoder_upsample_rate": 1920, "code_dim": 32,
    "params": {
        **{name: value for name, value in _TINY["generator_params"].items() if name != "sample_rate"},
        "vocos_kwargs": _TINY["generator_params"]["vocos_kwargs"] | {"n_fft": 960, "hop_size": 240},
    },
}  # fmt: skip

SWEEPS = {
    "xy_tokenizer-hf": Sweep(
        tiny=_HF,
        options={
            "as it is": {},
            "32 kHz out": {
                "output_sample_rate": 32000, "decoder_upsample_rate": 2560,
                "params": {"vocos_kwargs": {"n_fft": 1280, "hop_size": 320}},
            },
            "keys of the newer folder": {"input_sampling_rate": 16000, "initializer_range": 0.02, "dtype": "float32"},
            "no width stated": {"code_dim": DROP},
            "settings of the feature extractor": {
                "params": {"feature_extractor_kwargs": {"return_attention_mask": True, "return_tensors": "pt"}},
            },
            "two levels": {"params": {"quantizer_kwargs": {"num_quantizers": 2}}},
            "encoders of two widths": {
                "params": {"semantic_encoder_kwargs": {"d_model": 12}, "semantic_encoder_adapter_kwargs": {"input_dim": 12}},
            },
            "another transform": {"params": {"feature_extractor_kwargs": {"n_fft": 512}}},
            "no projections": {
                "params": {
                    "semantic_encoder_adapter_kwargs": {"output_dim": 8}, "post_rvq_adapter_kwargs": {"d_model": 32},
                    "quantizer_kwargs": {"rvq_dim": 32, "codebook_dim": 32},
                },
            },
            "pooling by two, stride four": {
                "code_dim": 16,
                "params": {
                    "semantic_encoder_kwargs": {"stride_size": 4}, "acoustic_encoder_kwargs": {"stride_size": 4},
                    "downsample_kwargs": {"avg_pooler": 2}, "post_rvq_adapter_kwargs": {"input_dim": 16},
                    "quantizer_kwargs": {"input_dim": 16, "output_dim": 16},
                },
            },
            "16 kHz out": {
                "output_sample_rate": 16000, "decoder_upsample_rate": 1280,
                "params": {"vocos_kwargs": {"n_fft": 640, "hop_size": 160}},
            },
            "settings of training": {"params": {"quantizer_kwargs": {"kmeans_init": False, "decay": 0.9, "threshold_ema_dead": 3}}},
        },
        refused={
            "another width": ({"code_dim": 64}, "code_dim"),
            "a wrong rate": ({"output_sample_rate": 16000}, "output_sample_rate"),
            "two rates of the input": ({"input_sampling_rate": 24000}, "input_sampling_rate"),
            "no arguments": ({"params": DROP}, "params"),
        },
        enliven=_spread,
    ),
    "xy-tokenizer": Sweep(
        tiny=_TINY,
        options={
            "as it is": {},
            "the rate twice": {"sample_rate": 16000},
            "24 kHz out": _24_KHZ,
            "32 kHz out": _32_KHZ,
            "no projections": _change(
                semantic_encoder_adapter_kwargs={"output_dim": 8}, post_rvq_adapter_kwargs={"d_model": 32},
                quantizer_kwargs={"rvq_dim": 32, "codebook_dim": 32},
            ),
            "projections everywhere": _change(
                semantic_encoder_adapter_kwargs={"output_dim": 4, "d_model": 12},
                pre_rvq_adapter_kwargs={"input_dim": 12, "d_model": 10},
            ),
            "encoders of two widths": _change(
                semantic_encoder_kwargs={"d_model": 12}, semantic_encoder_adapter_kwargs={"input_dim": 12},
            ),
            "pooling by two, stride four": _change(
                semantic_encoder_kwargs={"stride_size": 4}, acoustic_encoder_kwargs={"stride_size": 4},
                downsample_kwargs={"avg_pooler": 2}, post_rvq_adapter_kwargs={"input_dim": 16},
                quantizer_kwargs={"input_dim": 16, "output_dim": 16},
            ),
            "another decoder": _change(
                upsample_kwargs={"stride": 2}, post_rvq_adapter_kwargs={"output_dim": 16}, acoustic_decoder_kwargs={"stride_size": 4},
            ),
            "one level": _change(quantizer_kwargs={"num_quantizers": 1}),
            "defaults of the quantizer": _change(quantizer_kwargs={"quantizer_dropout": DROP, "commitment": DROP}),
            "settings of training": _change(quantizer_kwargs={"kmeans_init": False, "decay": 0.9, "threshold_ema_dead": 3}),
            "another transform": _change(feature_extractor_kwargs={"n_fft": 512}, vocos_kwargs={"n_fft": 480}),
            "a longer window": _change(feature_extractor_kwargs={"n_samples": 128_000}, **{
                f"{name}_kwargs": {"max_audio_seconds": 8} for name in ("semantic_encoder", "acoustic_encoder", "acoustic_decoder")
            }, **{
                name: {"max_source_positions": 400}
                for name in ("semantic_encoder_adapter_kwargs", "pre_rvq_adapter_kwargs", "post_rvq_adapter_kwargs")
            }),
        },
        refused={
            "maps in the levels": (_change(quantizer_kwargs={"codebook_dim": 4}), "codebook_dim"),
            "parts that do not fit": (_change(pre_rvq_adapter_kwargs={"input_dim": 15}), "input_dim"),
            "another hop": (_change(downsample_kwargs={"avg_pooler": 2}), "640 samples"),
            "another kernel": (_change(semantic_encoder_kwargs={"kernel_size": 5}), "kernel_size"),
            "centred synthesis": (_change(vocos_kwargs={"padding": "center"}), "padding"),
            "a wrong rate": ({"generator_params": {"output_sample_rate": 24000}}, "output_sample_rate"),
            "a short table": (_change(post_rvq_adapter_kwargs={"max_source_positions": 49}), "50 positions"),
            "an unknown key": (_change(upsample_kwargs={"kernel": 3}), "kernel"),
        },
        enliven=_spread,
        published=lambda state: {"generator": state},
        cards={"xy-tokenizer-ttsd-24khz": _24_KHZ},
    )
}  # fmt: skip
