"""DualToken."""

import torch
from layout_options import DROP, Sweep


def _codes(levels: int, size: int, **more) -> dict:
    return {
        "bottleneck_type": "rq_ema", "ckpt_path": None, "code_shape": [2, 2, levels], "decay": 0.99, "embed_dim": 4,
        "latent_shape": [2, 2, 4], "n_embed": size, "restart_unused_codes": True, "shared_codebook": True, **more,
    }  # fmt: skip


def _both(**change) -> dict:
    return {"vq_sem": change, "vq_pix": change}


#: The authors' model_config_siglip_256_rvq4, with its tower under "siglip" in place of a checkpoint's name.
_MODEL = {
    "layer_recon": 1, "layer_sem": 2, "layer_shortcut": 1, "weight_shortcut": 0.6, "hidden_size": 32,
    "ddconfig": {
        "attn_resolutions": [4], "ch": 32, "ch_mult": [1, 1], "decoder_in_channels": 32, "double_z": False, "dropout": 0.0,
        "in_channels": 3, "num_res_blocks": 1, "out_ch": 3, "resolution": 8,
    },
    "decoder_latent_shape": [4, 4], "checkpointing": True, "ignore_keys": None,
    "vq_sem": _codes(2, 16), "vq_pix": _codes(3, 24, bottleneck_type="rq"),
    "pretrained_model": "$PATH_TO_YOUR_MODELS/siglip2-so400m-patch16-256", "torch_dtype": "float32", "transformers_version": "4.50.3",
    "siglip": {
        "vision": {
            "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 12,
            "patch_size": 4, "image_size": 8,
        },
    },
}  # fmt: skip


def _published(state: dict) -> dict:
    """The published model's names, with SigLIP's text tower and the loss's numbers."""
    more = {
        "siglip_model.text_model.embeddings.token_embedding.weight": torch.ones(3, 2), "siglip_model.logit_scale": torch.ones(1),
        "siglip_model.logit_bias": torch.ones(1), "prequant_sem.attn.zero_k_bias": torch.zeros(32),
    }  # fmt: skip
    return {"state_dict": {f"rqvaesiglip.{k}": v for k, v in (state | more).items()}}


SWEEPS = {
    "dualtoken": Sweep(
        tiny=_MODEL,
        options={
            "as it is": {},
            "inside the outer config": {"architectures": ["RQVAESIGLIPTransformer"], "rqvaesiglip": _MODEL},
            "no shortcut": {"layer_shortcut": None, "weight_shortcut": None},
            "a shortcut without weight": {"weight_shortcut": DROP},
            "own tables": _both(shared_codebook=False),
            "one table, one not": {"vq_pix": {"shared_codebook": False}},
            "tables of own sizes": {"vq_pix": {"shared_codebook": False, "n_embed": [8, 16, 24]}},
            "one level": {"vq_sem": {"code_shape": [2, 2, 1]}},
            "cells of two positions": {
                "vq_sem": {"code_shape": [1, 1, 2]},
                "vq_pix": {"code_shape": [1, 1, 3]},
            },
            "codes never restarted": _both(restart_unused_codes=False, decay=0.9),
            "a decay a level": {"vq_sem": {"decay": [0.9, 0.9]}},
            "the tower's own grid": {"decoder_latent_shape": DROP},
            "no attention in the decoder": {"ddconfig": {"attn_resolutions": []}},
            "resampling without weights": {"ddconfig": {"resamp_with_conv": False}},
            "three levels": {"ddconfig": {"ch_mult": [1, 1, 2], "resolution": 16}},
            "no pooling": {"siglip": {"vision": {"vision_use_head": False}}},
            "every layer": {"layer_sem": 3, "layer_recon": 3},
        },
        refused={
            "another tower": ({"hidden_size": 12}, "hidden_size"),
            "an unknown name": ({"siglip": DROP, "pretrained_model": "clip"}, "siglip2-so400m"),
            "cells that do not fit": ({"vq_sem": {"latent_shape": [3, 3, 4]}}, "latent_shape"),
            "two decays": ({"vq_sem": {"decay": [0.9, 0.8]}}, "decay"),
            "another bottleneck": ({"vq_pix": {"bottleneck_type": "vq"}}, "bottleneck_type"),
        },
        published=_published,
    ),
}  # fmt: skip
