"""DualViTok of ILLUME+."""

import torch
from layout_options import DROP, Sweep

_PIXEL = {
    "ch": 32, "attn_resolutions": [1], "ch_mult": [1, 1], "codebook_size": 32, "double_z": False, "dropout": 0.0, "in_channels": 3,
    "num_res_blocks": 1, "out_channels": 3, "use_dc_up_down_blocks": True,
}  # fmt: skip
_SEMANTIC = {"num_blocks": 1, "z_channels": 4, "embed_dim": 16, "attn_implementation": "sdpa"}
_CODES = {"type": "SimVQ", "dim": 4, "channel_first": True, "rotation_trick": False}


_TINY = {
    "semantic_encoder": _SEMANTIC | {"semantic_encoder": "Emova-ollm/qwen2vit600m", "proj_layer": "linear", "target_mlp": "norm"},
    "semantic_quantizer": _CODES | {"codebook_size": 16},
    "semantic_decoder": _SEMANTIC | {"proj_layer": "linear_norm", "output_channels": 8},
    "pixel_encoder": _PIXEL | {"embed_dim": 4, "z_channels": 4},
    "pixel_quantizer": _CODES | {"codebook_size": 32},
    "pixel_decoder": _PIXEL | {"embed_dim": 8, "z_channels": 8},
    "pixel_drop_rate": None, "pixel_drop_batch_rate": 0.1, "pixel_noise_type": "random",
    # not in published configs: the tower stands in its own repository, and the number of the blocks' heads in the code
    "qwen2_vit": {"depth": 1, "embed_dim": 16, "hidden_size": 8, "num_heads": 2, "mlp_ratio": 2}, "block_num_heads": 2,
}  # fmt: skip


def _both(**change) -> dict:
    return {"pixel_encoder": change, "pixel_decoder": change}


def _tables(**change) -> dict:
    return {"semantic_quantizer": change, "pixel_quantizer": change}


def _published(state: dict) -> dict:
    """Their loaders take "model", whatever stands under "ema", unless told to."""
    return {"model": state, "ema": {k: torch.randn_like(v) for k, v in state.items()}, "steps": 7}


SWEEPS = {
    "dualvitok": Sweep(
        tiny=_TINY,
        shape=(3, 28, 56),
        options={
            "as it is": {},
            "inside the YAML's model": {"type": "DualViTok", "config": _TINY},
            "a hidden layer before the semantic code": {"semantic_encoder": {"proj_layer": "mlp"}},
            "a norm before it": {"semantic_encoder": {"proj_layer": "norm_linear"}},
            "linear by default": {"semantic_encoder": {"proj_layer": DROP}, "semantic_decoder": {"proj_layer": DROP}},
            "a hidden layer before the features": {"semantic_decoder": {"proj_layer": "mlp"}},
            "a norm before the features": {"semantic_decoder": {"proj_layer": "norm_linear"}},
            "the tower's features as they are": {"semantic_encoder": {"target_mlp": "identity"}},
            "twice the channels": {"semantic_encoder": {"double_z": True, "z_channels": 2}},
            "pixel codes alone": {"semantic_detail_merge_type": "pixel", "pixel_decoder": {"embed_dim": 4}},
            "plain resampling": _both(use_dc_up_down_blocks=DROP),
            "no attention": _both(attn_resolutions=[]),
            "three levels": _both(ch_mult=[1, 1, 2], attn_resolutions=[2]),
            "two blocks": _both(num_res_blocks=2),
            "a table of another width": _tables(frozen_codebook_dim=6),
            "rotated gradients by default": _tables(rotation_trick=DROP),
            "another activation": {"qwen2_vit": {"hidden_act": "silu", "mlp_ratio": 3}},
            "disturbed codes": {"pixel_drop_rate": 0.5, "pixel_drop_batch_rate": 0.3, "pixel_noise_type": "zero"},
            "noise by default": {"pixel_drop_rate": DROP, "pixel_drop_batch_rate": DROP, "pixel_noise_type": DROP},
        },
        refused={
            "an unknown tower": ({"qwen2_vit": DROP, "semantic_encoder": {"semantic_encoder": "other"}}, "qwen2vit600m"),
            "another quantizer": ({"pixel_quantizer": {"type": "VQ"}}, "SimVQ"),
            "widths that do not meet": ({"pixel_decoder": {"embed_dim": 6}}, "embed_dim"),
            "moments": ({"pixel_encoder": {"double_z": True}}, "double_z"),
            "a misspelt key": ({"pixel_encoder": {"num_resblocks": 1}}, "num_res_blocks"),
        },
        published=_published,
    ),
}  # fmt: skip
