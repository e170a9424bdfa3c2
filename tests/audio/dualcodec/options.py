"""DualCodec: the authors' YAML, whose class holds two widths as numbers, and a file of the features' statistics."""

from typing import Any

import torch
from layout_options import DROP, Sweep
from torch import Tensor


def _features(tok: Any, x: Tensor) -> Tensor:
    """Random features, one a position."""
    frames = -(-x.shape[-1] // tok.spec.hop_samples)
    return torch.randn(x.shape[0], tok.config.semantic_in, frames, generator=torch.Generator().manual_seed(3))


SWEEPS = {
    "dualcodec": Sweep(
        tiny={
            "sample_rate": 24000, "encoder_rates": [2, 4, 5], "decoder_rates": [5, 4, 2], "encoder_dim": 4, "decoder_dim": 32,
            "latent_dim": 48, "n_codebooks": 3, "quantizer_dropout": 1.0, "codebook_size": 48, "semantic_codebook_size": 64,
            "is_causal": True, "semantic_downsample_factor": 2, "convnext_dim": 24, "convnext_layers": 1, "codebook_dim": 4,
            "semantic_codebook_dim": 4, "hard_coded_overrides": {"W1024": 48, "W2048": 64},
        },
        options={
            "as it is": {},
            "what the YAML of a training run holds": {
                "SAMPLE_RATE": 24000, "discriminator": {"_target_": "dualcodec.model_codec.Discriminator"},
                "model": {
                    "_target_": "dualcodec.model_codec.DualCodec", "sample_rate": "${..SAMPLE_RATE}", "encoder_rates": [2, 4, 5],
                    "decoder_rates": [5, 4, 2], "encoder_dim": 4, "decoder_dim": 32, "latent_dim": 48, "n_codebooks": 3,
                    "quantizer_dropout": 1.0, "codebook_size": 48, "semantic_codebook_size": 64, "is_causal": True,
                    "semantic_downsample_factor": 4, "convnext_dim": 24, "convnext_layers": 1,
                    "hard_coded_overrides": {"W1024": 48, "W2048": 64},
                },
            },
            "a latent as wide as the encoder": {"latent_dim": DROP, "hard_coded_overrides": {"W1024": 32}},
            "looking both ways": {"is_causal": False},
            "three blocks": {"convnext_layers": 3},
            "the quantized latent subtracted": {"decode_semantic_for_codec": False, "convnext_dim": 48},
            "default widths of codes": {"codebook_dim": DROP, "semantic_codebook_dim": DROP},
            "a width of codes for each level": {"codebook_dim": [4, 8, 4]},
            "widths of codes as lists": {"codebook_dim": [4, 4, 4], "semantic_codebook_dim": [6]},
            "other rates down and up": {"encoder_rates": [4, 10], "decoder_rates": [5, 2, 4]},
            "one acoustic codebook": {"n_codebooks": 1},
            "no dropout": {"quantizer_dropout": False},
            "default dropout and causality": {"quantizer_dropout": DROP, "is_causal": DROP, "semantic_downsample_factor": DROP},
            "a head that is never built": {"distill_projection_out_dim": 512},
        },
        refused={"a misspelt key": ({"n_codebook": 3}, "n_codebooks")},
        features=_features,
    ),
}  # fmt: skip
