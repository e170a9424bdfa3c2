"""Fish Audio's codec: the authors' YAML of hydra."""

from typing import Any

import torch
from layout_options import DROP, Sweep


def _model(**arguments: Any) -> dict[str, Any]:
    common = {
        "_target_": "fish_speech.models.dac.modded_dac.ModelArgs", "block_size": 2048, "n_layer": 1, "n_head": 2, "dim": 12,
        "intermediate_size": 16, "n_local_heads": -1, "head_dim": 6, "rope_base": 10000, "norm_eps": 1e-5, "dropout_rate": 0.1,
        "attn_dropout_rate": 0.1, "channels_first": True,
    }  # fmt: skip
    return common | arguments


def _module(**arguments: Any) -> dict[str, Any]:
    target = "fish_speech.models.dac.modded_dac.WindowLimitedTransformer"
    return {"_target_": target, "causal": True, "window_size": 4, "input_dim": 12, "config": _model()} | arguments


_TINY: dict[str, Any] = {
    "_target_": "fish_speech.models.dac.modded_dac.DAC", "sample_rate": 44100, "encoder_dim": 32, "encoder_rates": [2, 3],
    "decoder_dim": 16, "decoder_rates": [3, 2], "latent_dim": 12, "encoder_transformer_layers": [1, 0],
    "decoder_transformer_layers": [2, 0],
    "transformer_general_config": {
        "_target_": "fish_speech.models.dac.modded_dac.ModelArgs", "_partial_": True, "block_size": 8192, "n_local_heads": -1,
        "head_dim": 64, "rope_base": 10000, "norm_eps": 1e-5, "dropout_rate": 0.1, "attn_dropout_rate": 0.1, "channels_first": True,
    },
    "quantizer": {
        "_target_": "fish_speech.models.dac.rvq.DownsampleResidualVectorQuantize", "input_dim": 12, "n_codebooks": 2,
        "codebook_size": 16, "codebook_dim": 4, "quantizer_dropout": 0.5, "downsample_factor": [2, 2], "pre_module": _module(),
        "post_module": _module(), "semantic_codebook_size": 32,
    },
}  # fmt: skip


def _in(**changes: Any) -> dict[str, Any]:
    return {"quantizer": changes}


def _published(state: dict[str, Any]) -> dict[str, Any]:
    """Keys of the whole training module."""
    return {"state_dict": {f"generator.{k}": v for k, v in state.items()}}


def _enliven(tok: Any) -> None:
    """ConvNeXt's branches start at a millionth."""
    with torch.no_grad():
        for name, p in tok.named_parameters():
            if name.endswith(".scale"):
                p.fill_(0.5)


SWEEPS = {
    "fish-s1": Sweep(
        tiny=_TINY,
        shape=(1, 130),
        published=_published,
        enliven=_enliven,
        options={
            "as it is": {},
            "no transformers in the encoder": {"encoder_transformer_layers": [0, 0]},
            "none by default": {"encoder_transformer_layers": DROP, "decoder_transformer_layers": DROP},
            "a transformer behind both levels": {"encoder_transformer_layers": [1, 1]},
            "no modules around the quantizer": _in(pre_module=DROP, post_module=None),
            "modules of another width": _in(
                pre_module={"config": {"dim": 8, "head_dim": 4}}, post_module={"config": {"dim": 8, "head_dim": 4}}
            ),
            "no windows": _in(pre_module={"window_size": DROP}, post_module={"window_size": None}),
            "one window": _in(pre_module={"window_size": 1}),
            "a head wider than its share": _in(pre_module={"config": {"head_dim": 8}}),
            "the hidden width by default": _in(pre_module={"config": {"intermediate_size": None}}),
            "one step down": _in(downsample_factor=[4]),
            "one residual codebook": _in(n_codebooks=1),
            "larger tables": _in(codebook_size=32, semantic_codebook_size=64, codebook_dim=3),
            "the decoder's steps otherwise": {"decoder_rates": [2, 3]},
            "a predictor of the training": _in(semantic_predictor_module={"_target_": "x"}),
            "another rate": {"sample_rate": 24000},
        },
        refused={
            "not causal": ({"causal": False}, "causal"),
            "conformer positions": (_in(pre_module={"config": {"pos_embed_type": "conformer"}}), "pos_embed_type"),
            "fewer key heads": (_in(pre_module={"config": {"n_local_heads": 1}}), "n_local_heads"),
            "other frames": (_in(downsample_factor=[2]), "downsample_factor"),
            "another width": (_in(input_dim=10), "input_dim"),
            "a misspelt key": ({"encoder_rate": [2, 3]}, "encoder_rate"),
        },
    ),
}  # fmt: skip
