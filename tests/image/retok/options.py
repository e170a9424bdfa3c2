"""ReTok and GigaTok; their files hold averaged weights before raw ones."""

import torch
from image_cases import enliven
from layout_options import DROP, Sweep
from wrapped_states import average_beside

_TINY = {
    "codebook_size": 24, "codebook_embed_dim": 4, "codebook_l2_norm": True, "codebook_show_usage": True, "commit_loss_beta": 0.25,
    "entropy_loss_ratio": 0.0, "encoder_ch_mult": [1, 1], "decoder_ch_mult": [1, 1], "model_size": None, "encoder_size": "nano",
    "decoder_size": "nano", "num_latent_tokens": 8, "z_channels": 32, "dropout_p": 0.0, "multi_level_query_init": True,
    "last_level_2d_query_init": False, "multi_level_2d_query_init": False, "adaptive_gn": True, "d2s_up": True, "rot": True,
    "use_attn": False, "fea_rec_loss_type": "mse", "fea_rec_loss_weight": 1.0, "distill_depth": 1, "out_inner_dim": 6,
    "shrunk": {
        "ch": 32, "num_res_blocks": 1, "image_size": 16,
        "model_sizes": {
            "nano": {"width": 16, "num_layers": 1, "num_heads": 2},
            "micro": {"width": 24, "num_layers": 2, "num_heads": 3},
        },
    },
}  # fmt: skip
_OPTIONS = {
    "as it is": {},
    "one size for both": {"model_size": "micro", "encoder_size": None, "decoder_size": None},
    "two sizes": {"encoder_size": "micro"},
    "attention in the convolutions": {"use_attn": True},
    "attention, by default": {"use_attn": DROP},
    "plain norms": {"adaptive_gn": False},
    "plain doubling, by default": {"d2s_up": DROP, "adaptive_gn": DROP},
    "norms of queries and keys": {"use_qk_norm": True},
    "another kernel": {"use_flash_attn": True},
    "no features": {"distill_depth": DROP},
    "features of the encoder": {"distill_depth": None, "encoder_2d_distill": True},
    "learned grid queries": {"learnable_2d_query_init": True},
    "codes as they are stored": {"codebook_l2_norm": False},
    "no rotation": {"rot": DROP},
    "three levels": {"encoder_ch_mult": [1, 1, 2], "decoder_ch_mult": [1, 1, 2], "num_latent_tokens": 4},
    "a training's entropy": {"entropy_loss_ratio": 0.005, "codebook_show_usage": DROP},
}
_REFUSED = {
    "rotary positions": ({"use_rope": True}, "use_rope"),
    "bits": ({"use_lfq": True}, "use_lfq"),
    "an unknown size": ({"encoder_size": "giant"}, "giant"),
    "a misspelt key": ({"codebook_sise": 3}, "codebook_size"),
}


def _spread(tok):
    """Lively weights, and latents around zero, so that ids vary."""
    enliven(tok)
    with torch.no_grad():
        z = tok.encode_latents(torch.randn(8, 3, *tok.spec.image_size, generator=torch.Generator().manual_seed(2)))
        mean, std = z.mean((0, 2)), z.std((0, 2))
        tok.to_latent.weight.div_(std[:, None])
        tok.to_latent.bias.sub_(mean).div_(std)


def _published(state):
    return average_beside(state | {"quantize.codebook_used": torch.zeros(65536)}) | {"discriminator": {}, "args": {}}


SWEEPS = {
    "retok": Sweep(
        tiny=_TINY | {"shrunk": _TINY["shrunk"] | {"first": 2}},
        options=_OPTIONS | {"fewer redundant tokens": {"shrunk": {"first": 5}}},
        refused=_REFUSED | {"no queries for them": ({"multi_level_query_init": DROP}, "redundant")},
        enliven=_spread,
        published=_published,
    ),
    "gigatok": Sweep(
        tiny=_TINY,
        options=_OPTIONS
        | {
            "the mean for all, by default": {"multi_level_query_init": DROP, "num_latent_tokens": 5},
            "learned queries": {"multi_level_query_init": False, "learnable_1d_query_init": True, "num_latent_tokens": 5},
        },
        refused=_REFUSED | {"two kinds of queries": ({"learnable_1d_query_init": True}, "exclude")},
        enliven=_spread,
        published=_published,
    ),
}
