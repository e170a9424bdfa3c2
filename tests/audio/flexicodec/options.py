"""FlexiCodec: the authors' YAML, whose class holds two widths as numbers, and their speech model's file beside it."""

from typing import Any

import torch
from layout_options import DROP, Sweep


def published(state: dict[str, Any]) -> dict[str, Any]:
    """The speech model apart, with its own prefix and a layer and a head that are not needed; two numbers that say nothing."""
    out = {k.replace("semantic_model.", "sensevoice.", 1): v for k, v in state.items()}
    unused = {k.replace(".encoders.0.", ".tp_encoders.1."): v for k, v in out.items() if ".encoders.0." in k}
    head = {"sensevoice.ctc.ctc_lo.weight": torch.zeros(3, 16), "sensevoice.ctc.ctc_lo.bias": torch.zeros(3)}
    return unused | out | head | {"semantic_mean": torch.zeros(1), "semantic_std": torch.ones(1)}


SPEECH = {"attention_heads": 2, "linear_units": 24, "num_blocks": 2, "tp_blocks": 2, "kernel_size": 3}
SWEEPS = {
    "flexicodec": Sweep(
        tiny={
            "sample_rate": 16000, "encoder_dim": 2, "encoder_rates": [32, 40], "decoder_rates": [40, 32], "decoder_dim": 16,
            "n_codebooks": 3, "quantizer_dropout": 1.0, "codebook_size": 24, "codebook_dim": 4, "semantic_codebook_size": 32768,
            "fsq_config": {"levels": [4, 4, 4]}, "is_causal": False, "use_similarity_alignment": True, "similarity_threshold": 0.95,
            "semantic_downsample_factor": 1.33333, "skip_normalize": True, "semantic_model_type": "sensevoice", "latent_dim": 16,
            "ssl_dim": 512, "convnext_dim": 12, "convnext_layers": 1, "use_bottleneck_transformer": True, "transformer_num_layers": 1,
            "transformer_dim": 16, "transformer_dim_feedforward": 24, "transformer_num_heads": 2, "transformer_causal": False,
            "transformer_context_frames": 16, "max_tokens_per_group": 4, "semantic_model_path": None,
            "use_query_token_aggregator": True, "agg_transformer_num_layers": 1, "agg_transformer_dim": 8,
            "agg_transformer_num_heads": 2, "agg_transformer_dim_feedforward": 24, "use_dynamic_similarity_threshold": True,
            "similarity_threshold_lower": 0.8, "similarity_threshold_upper": 1.0,
            "hard_coded_overrides": {"W512": 16, "W2048": 24, "sensevoice": SPEECH},
        },
        options={
            "as it is": {},
            "means of groups": {"use_query_token_aggregator": False},
            "one query for all groups": {"agg_use_mean_pooling_init": False, "agg_transformer_dim": 16},
            "a fixed rate": {"use_similarity_alignment": False, "similarity_threshold": DROP},
            "no transformer before the decoder": {"use_bottleneck_transformer": False},
            "a transformer of no layers": {"transformer_num_layers": 0},
            "looking back only": {
                "is_causal": True, "transformer_causal": True, "agg_transformer_causal": True, "agg_transformer_context_frames": 3,
            },
            "default causality, blocks and rate": {"is_causal": DROP, "convnext_layers": DROP, "sample_rate": DROP,
                                                   "encoder_rates": [30, 64], "decoder_rates": [64, 30]},
            "the quantized latent subtracted": {"decode_semantic_for_codec": False, "convnext_dim": 16},
            "a later layer of the speech model": {"sensevoice_semantic_layer_idx": 2, "sensevoice_sim_layer_idx": 1},
            "several of its layers": {"sensevoice_semantic_layer_idx": [1, -1]},
            "half its rate": {"semantic_downsample_factor": DROP, "encoder_rates": [32, 60], "decoder_rates": [60, 32]},
            "the published levels": {"fsq_config": DROP},
            "a width of codes for each level": {"codebook_dim": [4, 8, 4]},
            "default widths of codes, no dropout": {"codebook_dim": DROP, "quantizer_dropout": False},
            "groups of two, one threshold": {"max_tokens_per_group": 2, "use_dynamic_similarity_threshold": False},
            "the threshold of the authors' command": {"similarity_threshold": DROP},
            "a head that is never built": {"distill_projection_out_dim": 512, "bottleneck_transformer_config": {}},
        },
        refused={
            "a misspelt key": ({"n_codebook": 3}, "n_codebooks"),
            "groups without a limit": ({"max_tokens_per_group": None}, "without a limit"),
            "another speech model": ({"semantic_model_type": "w2vbert"}, "semantic_model_type"),
            "a query of another width": ({"agg_use_mean_pooling_init": False}, "one query of that many channels"),
        },
        published=published,
    ),
}  # fmt: skip
