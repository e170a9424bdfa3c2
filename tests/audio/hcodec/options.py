"""H-Codec: the sizes that the constructor of 1.0 holds, changed by part; the configs of 1.5 and 2.0."""

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


_AGGREGATOR = {"dim": 16, "in_out_dim": 16, "num_heads": 2, "num_layers": 1, "dim_feedforward": 8, "context_frames": 4}
_VQ = {"dim": 16, "codebook_size": 32, "num_quantizers": 2}


def _groups(**change: Any) -> dict[str, Any]:
    """A change of both transformers over groups."""
    return {"aggregators": {"semantic_aggregator": change, "acoustic_aggregator": change}}


def _both(**change: Any) -> dict[str, Any]:
    """A change of encoder and decoder of 2.0."""
    return {"encoder_config": change, "decoder_config": change}


def _convolutions(**change: Any) -> dict[str, Any]:
    """A change of both sides of the features' convolutions of 2.0."""
    return {"semantic_encoder_config": change, "semantic_decoder_config": change}


SWEEPS = {
    "h-codec-1.5": Sweep(
        tiny={
            "encoder_config": {
                "ratios": [3, 2], "encoder": {"dimension": 16, "n_filters": 4, "ratios": [3, 2]},
                "semantic_encoder": {"input_channels": 6, "encode_channels": 5, "out_channels": 16, "strides": [2, 1]},
            },
            "decoder_config": {
                "decoder": {
                    "input_channels": 32, "dim": 32, "intermediate_dim": 20, "convnext_layers": 1, "n_fft": 24, "hop_length": 6,
                },
                "semantic_decoder": {"code_dim": 16, "output_channels": 6, "decode_channels": 5, "strides": [2, 1]},
            },
            "quantizer_config": {"quantizer": _VQ, "semantic_quantizer": _VQ},
            "adaptive_config": {
                "use_similarity_alignment": True, "use_query_token_aggregator": True, "use_bottleneck_transformer": True,
                "manual_threshold": 0.6, "max_tokens_per_group": 4,
                "aggregators": {"semantic_aggregator": _AGGREGATOR, "acoustic_aggregator": _AGGREGATOR},
                "transformer_kwargs": {
                    "d_model": 16, "num_heads": 2, "num_layers": 1, "layer_scale": 0.01, "context": 4, "positional_embedding": "rope",
                    "dim_feedforward": 8, "input_dimension": 32, "output_dimensions": [32],
                },
            },
        },
        options={
            "as it is": {},
            "where the weights lie": {"ckpt_path": "./checkpoints/a.pt", "adaptive_config": {"training": False}},
            "a query that is learned": {"adaptive_config": _groups(use_mean_pooling_init=False)},
            "transformers of another width": {"adaptive_config": _groups(dim=8, num_layers=2)},
            "causal transformers": {"adaptive_config": _groups(causal=True) | {"transformer_kwargs": {"causal": True}}},
            "no transformer before the decoder": {"adaptive_config": {"use_bottleneck_transformer": False}},
            "a gated one": {"adaptive_config": {"transformer_kwargs": {"gating": "silu", "norm": "rms_norm"}}},
            "other positions": {"adaptive_config": {"transformer_kwargs": {"positional_embedding": "sin", "layer_scale": None}}},
            "groups of any length": {"adaptive_config": {"max_tokens_per_group": None}},
            "a drawn threshold": {
                "adaptive_config": {
                    "manual_threshold": None, "similarity_threshold": 0.7, "use_dynamic_similarity_threshold": True,
                    "similarity_threshold_lower": 0.7, "similarity_threshold_upper": 1.0,
                }
            },
            "another semantic quantizer": {"quantizer_config": {"semantic_quantizer": {"codebook_size": 24, "num_quantizers": 3}}},
            "quantizers with their training": {
                "quantizer_config": {"quantizer": {"decay": 0.99, "kmeans_init": True, "kmeans_iters": 5}}
            },
            "another encoder": {"encoder_config": {"encoder": {"n_residual_layers": 2, "true_skip": True, "lstm": 6}}},
        },
        features=_features,
        refused={
            "no groups": ({"adaptive_config": {"use_query_token_aggregator": False}}, "use_query_token_aggregator"),
            "queries that differ": (
                {"adaptive_config": {"aggregators": {"semantic_aggregator": {"use_mean_pooling_init": False}}}}, "differ"
            ),
            "an unknown key": ({"adaptive_config": {"pooling": "max"}}, "pooling"),
        },
        published=lambda state: state | {"decoder.head.istft.window": torch.hann_window(24)},
    ),
    "h-codec-2.0": Sweep(
        tiny={
            "encoder_config": {
                "dim": 64, "intermediate_dim": 20, "dimension": 8, "n_fft": 16, "hop_length": 8, "convnext_layers": 1,
                "transformer_layers": 1, "target_frame_rate": 12.5,
            },
            "decoder_config": {
                "input_channels": 16, "dim": 64, "intermediate_dim": 20, "n_fft": 16, "hop_length": 8, "convnext_layers": 1,
                "transformer_layers": 1, "target_frame_rate": 12.5,
            },
            "quantizer_config": {"dim": 8, "codebook_size": 32, "num_quantizers": 2},
            "semantic_encoder_config": {
                "input_channels": 6, "encode_channels": 5, "out_channels": 8, "channel_ratios": [1, 1, 1], "strides": [2, 1, 2],
            },
            "semantic_decoder_config": {
                "code_dim": 8, "output_channels": 6, "decode_channels": 5, "channel_ratios": [1, 1, 1], "strides": [2, 1, 2],
            },
        },
        options={
            "as it is": {},
            "another rate": {"sampling_rate": 24000},
            "25 Hz": _both(target_frame_rate=25) | _convolutions(channel_ratios=[1, 1], strides=[2, 1]),
            "a wider window": _both(n_fft=24),
            "a window of the decoder alone": {"decoder_config": {"n_fft": 20}},
            "more blocks": _both(convnext_layers=2),
            "more layers": _both(transformer_layers=2),
            "a wider decoder": {"decoder_config": {"dim": 128}},
            "a wider encoder": {"encoder_config": {"dim": 128, "transformer_layers": 2}},
            "stated as default": _both(causal=False),
            "more codebooks": {"quantizer_config": {"num_quantizers": 5, "codebook_size": 24}},
            "dropout of codebooks": {"quantizer_config": {"quantize_dropout": True, "kmeans_init": True, "decay": 0.99}},
            "other convolutions over the features": _convolutions(kernel_size=5, bias=False, block_dilations=[1, 3]),
        },
        features=_features,
        refused={
            "rates that differ": ({"decoder_config": {"target_frame_rate": 25}}, "differ"),
            "hops that differ": ({"decoder_config": {"hop_length": 4}}, "hop_length"),
            "a width without heads": ({"encoder_config": {"dim": 96}}, "64 channels"),
            "streaming": (_both(causal=True), "causal"),
        },
        published=lambda state: state | dict.fromkeys(("decoder.head.istft.window", "encoder.stft.window"), torch.hann_window(16)),
    ),
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
