"""COMiT: the arguments of its three parts, of which hydra makes modules."""

import torch
from image_cases import enliven
from layout_options import DROP, Sweep

_VAE = {
    "block_out_channels": [4, 4, 4, 4], "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 1, "norm_num_groups": 2, "latent_channels": 4,
}  # fmt: skip
_NETWORK = {
    "_target_": "comit.components.predictor.RuledDiT", "max_input_size": 16, "patch_size": 2, "in_channels": 4, "out_channels": 4,
    "hidden_size": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0, "num_msg_tokens": 5, "msg_tokens_dim": 3,
    "representation_layer": 0,
}  # fmt: skip
_TINY = {
    "predictor": _NETWORK,
    "quantizer": {"_target_": "comit.components.quantizer.FSQ", "levels": [8, 5, 3]},
    "vae": {"_target_": "comit.components.vae.SDAutoencoderKL", "model_type": "ema"},
    "vae_config": _VAE,
}


def _net(**values):
    return {"predictor": values}


def _published(state):
    """Their state dict also holds weights of a second picture and of a place to come, which nothing reads."""
    width = state["predictor.c_pos_embed"].shape[-1]
    unread = {"y_pos_offset": (1, 1, width), "c_final_layer.linear.weight": (2, width), "c_final_layer.linear.bias": (2,)}
    return state | {f"predictor.{name}": torch.zeros(shape) for name, shape in unread.items()}


SWEEPS = {
    "comit": Sweep(
        tiny=_TINY,
        options={
            "as it is": {},
            "larger pictures": _net(max_input_size=32),
            "the usual size by default": _net(max_input_size=DROP),
            "larger patches": _net(patch_size=4),
            "patches by default": _net(patch_size=DROP),
            "wider": _net(hidden_size=24),
            "heads by default": _net(num_heads=DROP),
            "one block": _net(depth=1),
            "wide MLPs by default": _net(mlp_ratio=DROP),
            "16 tokens by default": _net(num_msg_tokens=DROP),
            "features of the last block": _net(representation_layer=1),
            "features of no block": _net(representation_layer=DROP),
            "channels by default": _net(in_channels=DROP, out_channels=DROP),
            "more channels of a token": {"predictor": {"msg_tokens_dim": 4}, "quantizer": {"levels": [5, 4, 3, 3]}},
            "settings of training": {"quantizer": {"drop_quant_p": 0.0, "corrupt_tokens_p": 0.0, "apply_corrupt_tokens_p": 0.2}},
            "the other VAE": {"vae": {"model_type": "mse"}},
            "hydra's keys": {"predictor": {"_recursive_": True}, "vae": {"_convert_": "all"}},
        },
        refused={
            "another number of channels": (_net(msg_tokens_dim=4), "msg_tokens_dim"),
            "other outputs": (_net(out_channels=8), "out_channels"),
            "an unknown VAE": ({"vae": {"model_type": "xl"}}, "model_type"),
            "an unknown setting": (_net(rope=True), "rope"),
        },
        enliven=enliven,
        published=_published,
    )
}
