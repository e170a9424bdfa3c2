"""ELM's binary autoencoder."""

import torch
from image_cases import enliven
from layout_options import DROP, Sweep


def _published(state: dict) -> dict:
    """The checkpoint of the whole GAN: the autoencoder under `ae.`, with what it makes and never uses."""
    idle = {"generator.logsigma.0.weight": torch.ones(3), "generator.logsigma.1.bias": torch.ones(3)}
    idle |= {"encoder.blocks.1.conv_out.weight": torch.ones(32, 32, 1, 1), "encoder.blocks.1.conv_out.bias": torch.ones(32)}
    return {"ae." + k: v for k, v in (state | idle).items()} | {"disc.main.0.weight": torch.ones(4)}


SWEEPS = {
    "elm-bae": Sweep(
        tiny={
            "n_channels": 3, "nf": 32, "res_blocks": 1, "codebook_size": 12, "emb_dim": 32, "ch_mult": [1, 2], "img_size": 16,
            "attn_resolutions": [8], "quantizer": "binary", "deterministic": True, "norm_first": True,
        },
        options={
            "as it is": {},
            "drawn bits in training": {"deterministic": False},
            "by default drawn": {"deterministic": DROP},
            "bits of -1 and 1": {"use_tanh": True},
            "no norm before the decoder": {"norm_first": False},
            "by default none": {"norm_first": DROP},
            "a decoder of more blocks": {"gen_mul": 2.0},
            "attention at two levels": {"attn_resolutions": [8, 16]},
            "attention in the middle alone": {"attn_resolutions": []},
            "three levels": {"ch_mult": [1, 1, 2], "attn_resolutions": [4]},
            "two blocks a level": {"res_blocks": 2},
            "another number of bits": {"codebook_size": 20},
            "a weight of the code": {"code_weight": 0.1, "beta": 0.3},
        },
        refused={
            "another quantizer": ({"quantizer": "nearest"}, "quantizer"),
            "grey pictures": ({"n_channels": 1}, "n_channels"),
        },
        enliven=enliven,
        published=_published,
    )
}  # fmt: skip
