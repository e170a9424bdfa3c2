"""KARL and ALIT; their files hold averaged weights before raw ones, and, after the second stage, discriminators."""

from typing import Any

import torch
from layout_options import DROP, Sweep
from wrapped_states import average_beside


def _vqgan(**values) -> dict[str, Any]:
    return {"base_tokenizer": {"params": {"ddconfig": values}}}


_TINY = {
    "encoder_width": 16, "encoder_num_layers": 1, "encoder_num_heads": 2, "decoder_width": 16, "decoder_num_layers": 1,
    "decoder_num_heads": 2, "vq_codebook_size": 24, "vq_token_dim": 4, "vq_commitment_cost": 0.25, "vq_use_l2_norm": True,
    "patch_size": 2, "quantize_latent": True,
    "base_tokenizer": {
        "id": "vqgan",
        "params": {
            "embed_dim": 4,
            "n_embed": 12,
            "ddconfig": {
                "double_z": False, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 32, "ch_mult": [1, 1],
                "num_res_blocks": 1, "attn_resolutions": [16], "dropout": 0.0,
            },
        },
    },
}  # fmt: skip
_OPTIONS = {
    "as it is": {},
    "codes as they are stored": {"vq_use_l2_norm": False},
    "by angle, by default": {"vq_use_l2_norm": DROP},
    "other codes": {"vq_codebook_size": 200, "vq_token_dim": 3},
    "another commitment": {"vq_commitment_cost": 1.0},
    "a wider encoder": {"encoder_width": 24, "encoder_num_heads": 3},
    "a wider decoder": {"decoder_width": 24, "decoder_num_layers": 2},
    "factorised or not": {"factorize_latent": False, "train_stage": "full_finetuning"},
    "another VQGAN": {"base_tokenizer": {"params": {"n_embed": 7, "embed_dim": 5, "ddconfig": {"z_channels": 5}}}},
    "more blocks below": _vqgan(num_res_blocks=2),
    "plain convolutions where the size changes": _vqgan(resamp_with_conv=True),
    "means where the size changes": _vqgan(resamp_with_conv=False),
    "wrapped arguments": {"base_tokenizer": {"embed_dim": 4, "is_requires_grad": False, "pretrained_ckpt_path": "vqgan.ckpt"}},
}
_REFUSED = {
    "no ids": ({"quantize_latent": False}, "quantize_latent"),
    "over a KL autoencoder": ({"base_tokenizer": {"id": "vae"}}, "'vae'"),
    "a misspelt key": ({"vq_token_dims": 4}, "vq_token_dim"),
    "widths that do not meet": ({"base_tokenizer": {"params": {"embed_dim": 3}}}, "embed_dim"),
}


def _published(state):
    """In a checkpoint of the training; the latents of such narrow networks made louder, so that ids differ."""
    state = {k: 30 * v if v.ndim == 2 and v.shape[1] == 16 and len(v) <= 12 else v for k, v in state.items()}
    return average_beside(state | {"gan_losses.0.discriminator.main.0.weight": torch.ones(4, 3, 4, 4)}) | {"epoch": 3, "args": {}}


SWEEPS = {
    "karl": Sweep(
        tiny=_TINY | {"max_grid_tokens": 16},
        options=_OPTIONS
        | {
            "tables of 64 x 64": {"max_grid_tokens": DROP},
            "arguments of ALIT in its YAML": {
                "num_init_latent_tokens": 32, "max_rollout_iters": 8, "dynamic_halting": True, "dynamic_halting_threshold": 0.55,
            },
        },
        refused=_REFUSED,
        published=_published,
    ),
    "alit": Sweep(
        tiny=_TINY
        | {
            "img_size": 32, "num_init_latent_tokens": 3, "max_rollout_iters": 2, "dynamic_halting": True,
            "dynamic_halting_threshold": 0.55,
        },
        options=_OPTIONS
        | {
            "no halting": {"dynamic_halting": False},
            "another threshold": {"dynamic_halting_threshold": 0.1},
            "three roll-outs": {"max_rollout_iters": 3},
            "more tokens a roll-out": {"num_init_latent_tokens": 4},
            "smaller pictures": {"img_size": 16},
        },
        refused=_REFUSED,
        published=_published,
    ),
}  # fmt: skip
