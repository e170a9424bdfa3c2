"""BiCodec: the authors' YAML."""

from typing import Any

import torch
from layout_options import DROP, Sweep


def _net(**arguments: Any) -> dict[str, Any]:
    return {"vocos_dim": 8, "vocos_intermediate_dim": 12, "vocos_num_layers": 1, "sample_ratios": [1, 1]} | arguments


_TINY: dict[str, Any] = {
    "audio_tokenizer": {
        "mel_params": {
            "sample_rate": 16000, "n_fft": 64, "win_length": 40, "hop_length": 20, "mel_fmin": 10, "mel_fmax": None, "num_mels": 6,
        },
        "encoder": _net(input_channels=10, out_channels=12),
        "decoder": {"input_channel": 8, "channels": 16, "rates": [5, 4], "kernel_sizes": [11, 8]},
        "quantizer": {
            "input_dim": 12, "codebook_size": 32, "codebook_dim": 4, "commitment": 0.25, "codebook_loss_weight": 2.0,
            "use_l2_normlize": True, "threshold_ema_dead_code": 0.2,
        },
        "speaker_encoder": {
            "input_dim": 6, "out_dim": 8, "latent_dim": 6, "token_num": 3, "fsq_levels": [4, 4, 4], "fsq_num_quantizers": 1,
        },
        "prenet": _net(input_channels=12, out_channels=8, condition_dim=8, use_tanh_at_final=False),
        "postnet": _net(input_channels=8, out_channels=10, use_tanh_at_final=False),
    },
    "hard_coded_overrides": {"ecapa_channels": 8, "ecapa_out_channels": 12, "se_bottleneck": 4},
}  # fmt: skip


def _in(**changes: Any) -> dict[str, Any]:
    return {"audio_tokenizer": changes}


def features(tok: Any, x: Any) -> torch.Tensor:
    """Features where the published speech model would be fetched."""
    return torch.randn(len(x), tok.config.features, 12, generator=torch.Generator().manual_seed(3))


SWEEPS = {
    "bicodec": Sweep(
        tiny=_TINY,
        shape=(1, 260),
        features=features,
        options={
            "as it is": {},
            "the repository's outer settings": {"volume_normalize": True, "ref_segment_duration": 6, "latent_hop_length": 320},
            "no loudness, a short reference": {"volume_normalize": False, "ref_segment_duration": 0.01},
            "half the frames": _in(encoder={"sample_ratios": [1, 2]}, prenet={"sample_ratios": [2, 1]}),
            "odd ratios": _in(encoder={"sample_ratios": [3]}, prenet={"sample_ratios": [3]}, postnet={"sample_ratios": [1]}),
            "default ratios": _in(encoder={"sample_ratios": DROP}, prenet={"sample_ratios": DROP}, postnet={"sample_ratios": DROP}),
            "tanh behind both": _in(prenet={"use_tanh_at_final": True}, postnet={"use_tanh_at_final": True}),
            "a larger table": _in(quantizer={"codebook_size": 64, "codebook_dim": 3}),
            "defaults of the quantizer": _in(
                quantizer={"codebook_loss_weight": DROP, "use_l2_normlize": DROP, "threshold_ema_dead_code": DROP, "momentum": 0.9}
            ),
            "more voice ids": _in(speaker_encoder={"token_num": 7, "fsq_levels": [8, 5, 5]}),
            "a wide voice": _in(speaker_encoder={"latent_dim": 12}),
            "a range of the mel": _in(mel_params={"mel_fmax": 4000, "mel_fmin": 50}),
            "three levels": _in(decoder={"rates": [5, 2, 2], "kernel_sizes": [9, 4, 6]}),
            "wider ECAPA": {"hard_coded_overrides": {"ecapa_channels": 16, "ecapa_out_channels": 6}},
            "more layers": _in(encoder={"vocos_num_layers": 3}, prenet={"vocos_num_layers": 2}),
        },
        refused={
            "several voice quantizers": (_in(speaker_encoder={"fsq_num_quantizers": 2}), "fsq_num_quantizers"),
            "a table as wide as the latents": (_in(quantizer={"codebook_dim": 12}), "codebook_dim"),
            "bands that differ": (_in(mel_params={"num_mels": 7}), "num_mels"),
            "an odd surplus of a kernel": (_in(decoder={"kernel_sizes": [10, 8]}), "kernels"),
            "a misspelt key": (_in(prenet={"sample_ratio": [1]}), "sample_ratio"),
        },
    ),
}  # fmt: skip
