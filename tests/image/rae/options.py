"""CubiD's autoencoder: a tower of transformers, a decoder and statistics, which are published as three files."""

import torch
from image_cases import lively
from layout_options import DROP, Sweep

_TOWER = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 3, "image_size": 20, "patch_size": 5,
    "num_register_tokens": 4, "layerscale_value": 1.0,
}  # fmt: skip


def _published(state: dict) -> dict:
    state = lively(state)
    mean, var = state["latent_mean"], torch.rand_like(state["latent_var"]) + 0.5
    extra = {"encoder.encoder.embeddings.mask_token": torch.ones(1, 24), "decoder.mask_token": torch.ones(1, 1, 32)}
    norm = {f"encoder.encoder.layernorm.{end}": torch.ones(24) for end in ("weight", "bias")}
    return {**state, **extra, **norm, "latent_mean": mean[0], "latent_var": var[0]}


SWEEPS = {
    "cubid": Sweep(
        tiny={
            "encoder_size": 20, "decoder_dim": 32, "decoder_depth": 1, "decoder_heads": 2, "decoder_mlp_dim": 48,
            "decoder_patch_size": 4, "encoder_config": _TOWER,
            "quantizer": {"quant_levels": 8, "quant_min": -9.0, "quant_max": 9.0, "std_range": 3.0},
        },
        options={
            "as it is": {},
            "no whole patch covers it": {"encoder_size": 24},
            "nor this": {"encoder_size": 33},
            "a larger grid than the table's": {"encoder_size": 30},
            "the picture's size": {"image_size": 16},
            "16 levels": {"quantizer": {"quant_levels": 16}},
            "another range": {"quantizer": {"quant_min": -5.0, "quant_max": 5.0}},
            "fewer deviations": {"quantizer": {"std_range": 2.5}},
            "its own quantizer by default": {"quantizer": DROP},
            "a deeper decoder": {"decoder_depth": 2},
            "larger patches of pixels": {"decoder_patch_size": 8},
            "another tower": {"encoder_config": {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 3, "mlp_ratio": 4}},
            "what transformers adds": {"encoder_config": {"model_type": "dinov2_with_registers", "use_cache": True}},
            "where its files lay": {"encoder_name": "facebook/dinov2-with-registers-base", "decoder_path": "model.pt"},
        },
        refused={
            "no registers": ({"encoder_config": {"num_register_tokens": 0}}, "num_register_tokens"),
            "a gated tower": ({"encoder_config": {"use_swiglu_ffn": True}}, "use_swiglu_ffn"),
            "a size that the grid does not give": ({"image_size": 20}, "image_size"),
            "a misspelt key": ({"decoder_width": 32}, "decoder_dim"),
        },
        published=_published,
    ),
}  # fmt: skip
