"""H-Codec 1.0: the sizes that its authors' constructor holds, changed by part."""

from typing import Any

import torch
from layout_options import Sweep


def _features(tok: Any, x: torch.Tensor) -> torch.Tensor:
    """Random features, as many as the frames of the clips ask for."""
    c = tok.config.semantic
    frames = -(-x.shape[-1] // tok.spec.hop_samples)
    for stride in c.strides:
        frames *= stride
    return torch.randn(x.shape[0], c.features, frames, generator=torch.Generator().manual_seed(3))


SWEEPS = {
    "h-codec-1.0": Sweep(
        tiny={
            "hard_coded_overrides": {
                "encoder": {"dimension": 16, "n_filters": 4, "ratios": [3, 2]},
                "decoder": {
                    "input_channels": 32, "dim": 32, "intermediate_dim": 20, "convnext_layers": 1, "n_fft": 24, "hop_length": 6,
                },
                "quantizer": {"dim": 16, "codebook_size": 32, "num_quantizers": 2},
                "semantic_encoder": {"input_channels": 6, "encode_channels": 5, "out_channels": 16},
                "semantic_decoder": {"code_dim": 16, "output_channels": 6, "decode_channels": 5},
            }
        },
        options={
            "as it is": {},
            "arguments that the constructor does not read": {"encoder_kwargs": {"n_filters": 8}, "quantizer_kwargs": None},
            "two residual units": {"hard_coded_overrides": {"encoder": {"n_residual_layers": 2, "dilation_base": 3}}},
            "other kernels": {"hard_coded_overrides": {"encoder": {"kernel_size": 5, "residual_kernel_size": 5}}},
            "what this class ignores": {
                "hard_coded_overrides": {"encoder": {"lstm": 0, "use_transformer": False, "last_kernel_size": 3}}
            },
            "identity as skip": {"hard_coded_overrides": {"encoder": {"true_skip": True}}},
            "another activation": {"hard_coded_overrides": {"encoder": {"activation": "LeakyReLU"}}},
            "no compression in the units": {"hard_coded_overrides": {"encoder": {"compress": 1}}},
            "no weight norm": {"hard_coded_overrides": {"encoder": {"norm": "none"}}},
            "another semantic quantizer": {
                "hard_coded_overrides": {"semantic_quantizer": {"dim": 16, "codebook_size": 24, "num_quantizers": 3}}
            },
            "without dropout of codebooks": {"hard_coded_overrides": {"quantizer": {"quantize_dropout": False, "kmeans_init": False}}},
            "three levels": {
                "hard_coded_overrides": {
                    "encoder": {"dimension": 32, "ratios": [2, 3, 2]}, "decoder": {"input_channels": 64, "hop_length": 12},
                    "quantizer": {"dim": 32}, "semantic_encoder": {"out_channels": 32}, "semantic_decoder": {"code_dim": 32},
                }
            },
            "more decoder blocks": {"hard_coded_overrides": {"decoder": {"convnext_layers": 2, "dim": 64}}},
            "other convolutions over the features": {
                "hard_coded_overrides": {
                    side: {"strides": [1, 2], "channel_ratios": [2, 1], "kernel_size": 5, "unit_kernel_size": 5, "bias": False,
                           "block_dilations": [1]}
                    for side in ("semantic_encoder", "semantic_decoder")
                }
            },
            "another rate": {"sample_rate": 24000},
        },
        features=_features,
        refused={
            "a hop that is not the encoder's": ({"hard_coded_overrides": {"decoder": {"hop_length": 5}}}, "hop_length"),
            "sides that differ": ({"hard_coded_overrides": {"semantic_decoder": {"bias": False}}}, "differ"),
            "an unknown key": ({"hard_coded_overrides": {"quantizer": {"codebook_dim": 8}}}, "codebook_dim"),
        },
        published=lambda state: state | {"decoder.head.istft.window": torch.hann_window(24)},
    ),
}  # fmt: skip
