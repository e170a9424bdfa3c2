"""LlamaGen's VQ; its files hold averaged weights before raw ones."""

import torch
from image_cases import enliven
from layout_options import DROP, Sweep
from wrapped_states import average_beside

_SIDE = {"ch": 32, "num_res_blocks": 1}
TINY = {
    "codebook_embed_dim": 4, "codebook_l2_norm": True, "codebook_show_usage": True, "codebook_size": 24, "commit_loss_beta": 0.25,
    "decoder_ch_mult": [1, 2], "dropout_p": 0.0, "encoder_ch_mult": [1, 2], "entropy_loss_ratio": 0.0, "z_channels": 8,
    "encoder": _SIDE, "decoder": _SIDE,
}  # fmt: skip
OPTIONS = {
    "as it is": {},
    "searched by distance": {"codebook_l2_norm": False},
    "by angle, by default": {"codebook_l2_norm": DROP},
    "three levels": {"encoder_ch_mult": [1, 1, 2], "decoder_ch_mult": [1, 1, 2]},
    "a decoder of other widths": {"decoder_ch_mult": [2, 3]},
    "a decoder of more blocks": {"decoder": {"num_res_blocks": 2}},
    "an encoder of more blocks": {"encoder": {"num_res_blocks": 2}},
    "no convolutions where the size changes": {"encoder": {"resamp_with_conv": False}, "decoder": {"resamp_with_conv": False}},
    "other codes": {"codebook_size": 10, "codebook_embed_dim": 3},
    "another latent": {"z_channels": 5},
    "dropout": {"dropout_p": 0.1},
    "without count of use": {"codebook_show_usage": DROP},
    "another commitment": {"commit_loss_beta": 1.0},
}


def published(state: dict) -> dict:
    return average_beside(state | {"quantize.codebook_used": torch.zeros(65536)})


SWEEPS = {
    "llamagen": Sweep(
        tiny=TINY,
        options=OPTIONS,
        refused={
            "norms over the batch": ({"encoder": {"norm_type": "batch"}}, "norm_type"),
            "a misspelt key": ({"codebook_sise": 4}, "codebook_size"),
        },
        enliven=enliven,
        published=published,
    )
}
