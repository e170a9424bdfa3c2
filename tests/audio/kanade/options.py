"""Kanade and MioCodec: their authors' YAML."""

from typing import Any

import torch
from layout_options import DROP, Sweep

#: A speech model of 16 channels with a frame every 20 samples.
SPEECH: dict[str, Any] = {
    "model_type": "wavlm", "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16,
    "conv_dim": [8, 8], "conv_kernel": [6, 4], "conv_stride": [5, 4], "num_conv_pos_embeddings": 6,
    "num_conv_pos_embedding_groups": 2, "vocab_size": 8, "num_buckets": 16, "max_bucket_distance": 40,
}  # fmt: skip


def _of(kind: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"class_path": f"kanade_tokenizer.module.{kind}", "init_args": arguments}


def _transformer(**arguments: Any) -> dict[str, Any]:
    common = {
        "dim": 16, "n_layers": 1, "n_heads": 2, "window_size": 5, "use_rope": True, "rope_theta": 10000.0, "max_seq_len": 512,
        "multiple_of": 8, "use_flash_attention": True,
    }  # fmt: skip
    return _of("transformer.Transformer", common | arguments)


def _tiny(config: dict[str, Any], **parts: Any) -> dict[str, Any]:
    common: dict[str, Any] = {
        "config": {
            "local_ssl_layers": [2, 3], "global_ssl_layers": [1, 2], "normalize_ssl_features": True, "downsample_factor": 2,
            "use_conv_downsample": True, "sample_rate": 24000,
        } | config,
        "ssl_feature_extractor": _of(
            "ssl_extractor.SSLFeatureExtractor", {"model_name": "wavlm_base_plus", "output_layer": 3, "sample_rate": 24000}
        ),
        "local_encoder": _transformer(),
        "local_quantizer": _of("fsq.FiniteScalarQuantizer", {"input_dim": 16, "output_dim": 16, "levels": [8, 5, 5]}),
        "feature_decoder": _transformer(),
        "global_encoder": _of(
            "global_encoder.GlobalEncoder",
            {"input_channels": 16, "output_channels": 6, "num_layers": 2, "dim": 8, "intermediate_dim": 12},
        ),
    }  # fmt: skip
    return {"model": {"class_path": "kanade_tokenizer.model.KanadeModel", "init_args": common | parts}}


_ADALN = {"adanorm_condition_dim": 6, "use_adaln_zero": True}
_MEL = _tiny(
    {"mel_upsample_factor": 4, "mel_interpolation_mode": "linear", "n_fft": 64, "hop_length": 16, "n_mels": 5, "padding": "center"},
    mel_prenet=_transformer(output_dim=8), mel_decoder=_transformer(dim=8, output_dim=5, **_ADALN),
    mel_postnet=_of(
        "postnet.PostNet", {"input_channels": 5, "channels": 6, "kernel_size": 3, "num_layers": 3, "use_layer_norm": True}
    ),
)  # fmt: skip
_WAVE = _tiny(
    {
        "n_fft": 32, "hop_length": 8, "use_wave_decoder": True, "wave_upsample_factor": 2, "wave_interpolation_mode": "linear",
        "wave_decoder_dim": 8, "wave_resnet_num_blocks": 2, "wave_resnet_kernel_size": 3, "wave_resnet_num_groups": 4,
        "wave_resnet_dropout": 0.1, "istft_padding": "same",
    },
    mel_prenet=None, mel_decoder=None, mel_postnet=None,
    wave_prenet=_transformer(output_dim=8), wave_decoder=_transformer(dim=8, **_ADALN),
)  # fmt: skip


def _in(**changes: Any) -> dict[str, Any]:
    return {"model": {"init_args": changes}}


def _config(**changes: Any) -> dict[str, Any]:
    return _in(config=changes)


def _args(part: str, **changes: Any) -> dict[str, Any]:
    return _in(**{part: {"init_args": changes}})


def features(tok: Any, x: Any) -> torch.Tensor:
    """Hidden states where the published speech model would be fetched."""
    count = len(tok.config.layers) * tok.config.features
    return torch.randn(len(x), count, 14, generator=torch.Generator().manual_seed(3))


def enliven(tok: Any) -> None:
    """AdaLN starts at zero, and narrow quantizers of small latents give one id."""
    g = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, p in tok.named_parameters():
            if p.ndim == 2 and not p.any():
                p.copy_(0.3 * torch.randn(p.shape, generator=g))
            if name.startswith("quantizer.in_proj"):
                p.mul_(3)


_COMMON: dict[str, dict[str, Any]] = {
    "as it is": {},
    "arguments alone": {"model": DROP, **_WAVE["model"]["init_args"]},
    "four frames a position": _config(downsample_factor=4),
    "the mean of frames": _config(use_conv_downsample=False),
    "no standardisation": _config(normalize_ssl_features=False),
    "one layer each": _config(local_ssl_layers=[3], global_ssl_layers=[1]),
    "the nearest frame": {},
    "no windows": _args("local_encoder", window_size=None),
    "no positions": _args("local_encoder", use_rope=False),
    "biases": _args("local_encoder", qkv_bias=True, proj_bias=True, norm_eps=1e-4),
    "wider feed-forward networks": _args("local_encoder", ffn_dim_multiplier=1.5, dropout=0.0),
    "a plain mean of the voice": _args("global_encoder", use_attn_pool=False),
    "narrow attention of the voice": _args("global_encoder", attention_channels=4),
    "a voice without convolution": _args("global_encoder", skip_embed=True, dim=16),
    "the features' decoder in the file": {"with_feature_decoder": True},
    "no decoder of features": _in(feature_decoder=DROP),
    "no speech model named": _in(ssl_feature_extractor=DROP),
    "HuBERT": _args("ssl_feature_extractor", model_name="hubert_base"),
    "other levels": _args("local_quantizer", levels=[8, 8, 8, 5, 5]),
}
_REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a speech model of another kind": (_args("ssl_feature_extractor", model_name="wavlm_large"), "model_name"),
    "another rate for it": (_args("ssl_feature_extractor", sample_rate=16000), "sample_rate"),
    "a causal transformer": (_args("local_encoder", causal=True), "causal"),
    "a misspelt key": (_config(downsample=2), "downsample"),
}

SWEEPS = {
    "kanade": Sweep(
        tiny=_MEL,
        features=features,
        enliven=enliven,
        options=_COMMON | {
            "arguments alone": {"model": DROP, **_MEL["model"]["init_args"]},
            "the nearest frame": _config(mel_interpolation_mode="nearest"),
            "the clean one's": _config(
                padding="same", mel_fmin=0, mel_fmax=8000, bigvgan_style_mel=True, vocoder_name="hift", mel_upsample_factor=1
            ),
            "batch norms": _args("mel_postnet", use_layer_norm=False, dropout=0.1),
        },
        refused=_REFUSED | {"no AdaLN": (_args("mel_decoder", use_adaln_zero=False), "use_adaln_zero")},
    ),
    "miocodec": Sweep(
        tiny=_WAVE,
        features=features,
        enliven=enliven,
        options=_COMMON | {
            "the nearest frame": _config(wave_interpolation_mode="nearest"),
            "no transposed convolution": _config(wave_upsample_factor=1),
            "a raised rate": _config(wave_upsampler_factors=[3, 2], wave_upsampler_kernel_sizes=[9, 4]),
            "a raised rate, usual kernels": _config(wave_upsampler_factors=[2]),
            "more and wider blocks": _config(wave_resnet_num_blocks=3, wave_resnet_kernel_size=5, wave_resnet_num_groups=2),
        },
        refused=_REFUSED | {
            "centred frames": (_config(istft_padding="center"), "istft_padding"),
            "another width": (_config(wave_decoder_dim=16), "wave_decoder_dim"),
        },
    ),
}  # fmt: skip
