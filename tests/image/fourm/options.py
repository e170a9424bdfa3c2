"""4M's VQ-VAE and DiVAE: pictures, maps of all kinds, vectors; U-Nets and U-ViTs."""

import torch
from image_cases import enliven
from layout_options import DROP, Sweep

_ENCODER = {
    "image_size": 16, "image_size_enc": None, "enc_type": "vit_nano_enc", "post_mlp": True, "patch_size": 8, "codebook_size": 24,
    "num_codebooks": 1, "latent_dim": 4, "norm_codes": True, "norm_latents": False, "sync_codebook": False,
    "model_sizes": {
        "nano": {"dim_tokens": 16, "depth": 1, "num_heads": 2},
        "micro": {"dim_tokens": 8, "depth": 2, "num_heads": 2},
    },
}  # fmt: skip
_VQVAE = _ENCODER | {"dec_type": "vit_nano_dec", "image_size_dec": None}
_UNET = {"patch_size": 4, "model_channels": 32, "num_res_blocks": 1, "attention_resolutions": [2], "channel_mult": [1, 1]}
_UVIT = {
    "patch_size": 4, "block_out_channels": [4, 8], "layers_per_block": 1, "downsample_before_mid": False, "mid_layers": 1,
    "mid_num_heads": 2, "mid_dim": 8, "mid_mlp_ratio": 2, "mid_qkv_bias": True, "mid_hw_posemb": 3, "norm_num_groups": 4,
}  # fmt: skip
_DIVAE = _ENCODER | {
    "num_train_timesteps": 3, "beta_schedule": "linear", "prediction_type": "sample", "clip_sample": False, "thresholding": False,
    "zero_terminal_snr": True, "image_size_dec": None, "scheduler": "ddim", "unet": _UNET, "uvit": _UVIT,
}  # fmt: skip

#: What both read. What goes in is left to published configs: channels, classes, patches.
_SHARED = {
    "as it is": {},
    "said to be pictures": {"n_channels": 3, "n_labels": None, "patch_proj": True, "quant_type": "lucid", "undo_std": False},
    "no MLP behind": {"post_mlp": DROP},
    "searched by distance": {"norm_codes": False},
    "a smaller encoder": {"enc_type": "vit_micro_enc"},
    "a table of another grid": {"image_size_enc": 32},
    "other codes": {"codebook_size": 10, "latent_dim": 6},
    "standardised pictures": {"undo_std": True},
    "settings of training": {"ema_decay": 0.9, "threshold_ema_dead_code": 0, "commitment_weight": 0.5, "kmeans_init": True},
    "latents of length 1 in training": {"norm_latents": True},
    "one channel of a picture": {"n_channels": 1},
    "one channel of a map": {"n_channels": 1, "input": "map"},
    "five channels": {"n_channels": 5},
    "stray keys": {"domain": "rgb"},
    "a file to start from": {"ckpt_path": "x.pth", "ignore_keys": [], "freeze_enc": True},
}
_REFUSED = {
    "an unknown encoder": ({"enc_type": "vit_x_enc"}, "enc_type"),
    "several tables": ({"num_codebooks": 2}, "num_codebooks"),
    "oblong patches": ({"patch_size": [8, 4]}, "patch_size"),
    "another input": ({"input": "video"}, "input"),
}
_FEATURES = {"patch_proj": False, "n_channels": 5}
_TOWERS = {"enc_type": "BottleneckMLP/B_2-Wi_8", "dec_type": "BottleneckMLP/B_1-Wi_12-E_2", "n_channels": 5, "patch_proj": False}
_UVIT_LONG = {"mid_use_long_skip": True, "mid_layers": 3}


def _published(state):
    table = state.get("quantize._codebook.embed")
    if table is None:
        return state
    used = {"initted": torch.ones(1), "cluster_size": torch.ones(len(table))}
    return state | {f"quantize._codebook.{k}": v for k, v in used.items()}


SWEEPS = {
    "4m-vqvae": Sweep(
        tiny=_VQVAE,
        options=_SHARED
        | {
            "refined": {"out_conv": True},
            "a smaller decoder": {"dec_type": "vit_micro_dec"},
            "a decoder's table of another grid": {"image_size_dec": 32, "patch_size_dec": 8},
            "classes": {"n_labels": 7, "n_channels": 5},
            "classes, refined": {"n_labels": 7, "n_channels": 3, "out_conv": True},
            "features": _FEATURES,
            "features of patches of 14": _FEATURES | {"patch_size": 14, "image_size": 42},
            "memory codes": _FEATURES | {"quant_type": "memcodes", "num_codebooks": 2},
            "one memory code": {"quant_type": "memcodes", "codebook_size": 16},
            "six channels with memory codes": {"n_channels": 6, "quant_type": "memcodes", "num_codebooks": 2},
            "classes with memory codes": {"n_labels": 7, "n_channels": 5, "quant_type": "memcodes", "num_codebooks": 4},
            "towers": _TOWERS,
            "towers with memory codes": _TOWERS | {"quant_type": "memcodes", "num_codebooks": 4},
            "plain towers": _TOWERS | {"enc_type": "MLP/B_3-Wi_8", "dec_type": "MLP/B_2-Wi_6"},
            "a tower in front": _FEATURES | {"enc_type": _TOWERS["enc_type"]},
            "a tower behind": _FEATURES | {"dec_type": _TOWERS["dec_type"]},
            "classes through towers": _TOWERS | {"n_labels": 7},
        },
        refused=_REFUSED
        | {
            "an unknown decoder": ({"dec_type": "unet_patched"}, "dec_type"),
            "another size out": ({"patch_size_dec": 4}, "another size"),
            "patches out of no patches": ({"enc_type": "BottleneckMLP/B_2-Wi_8"}, "another size"),
        },
        enliven=enliven,
        published=_published,
    ),
    "4m-divae": Sweep(
        tiny=_DIVAE,
        options=_SHARED
        | {
            "a U-Net, of another name": {"dec_type": "unet_nano", "conditioning": "add"},
            "attention everywhere": {"unet": {"attention_resolutions": [1, 2], "num_heads": 2}},
            "heads of a width": {"unet": {"attention_resolutions": [1, 2], "num_head_channels": 8}},
            "heads of its own on the way up": {"unet": {"num_heads": 4, "num_heads_upsample": 2}},
            "blocks that halve": {"unet": {"resblock_updown": True, "use_scale_shift_norm": True}},
            "means that halve": {"unet": {"conv_resample": False}},
            "three levels": {"unet": {"channel_mult": [1, 2, 1], "num_res_blocks": 2, "patch_size": 2}},
            "features": {"patch_proj": False, "n_channels": 5},
            "a tower in front": {"enc_type": "BottleneckMLP/B_1-Wi_8", "n_channels": 5},
            "a U-ViT": {"dec_type": "uvit_nano", "conditioning": "concat"},
            "a U-ViT, by default": {"dec_type": "uvit_nano", "conditioning": DROP, "dec_transformer_dropout": 0.0},
            "a U-ViT that halves once more": {
                "dec_type": "uvit_nano", "conditioning": "concat", "uvit": {"downsample_before_mid": True, "patch_size": 2},
            },
            "a U-ViT with long skips": {"dec_type": "uvit_nano", "conditioning": "concat", "uvit": _UVIT_LONG},
            "a U-ViT that reads codes": {"dec_type": "uvit_nano", "conditioning": "xattn", "uvit": {"mid_qkv_bias": False}},
            "all of it": {
                "dec_type": "uvit_nano", "conditioning": "xattn", "n_channels": 1,
                "uvit": _UVIT_LONG | {"block_out_channels": [4, 4, 8], "layers_per_block": 2, "patch_size": 2},
            },
            "new noise at every step": {"scheduler": "ddpm", "prediction_type": "v_prediction", "thresholding": True},
            "noise": {"prediction_type": "epsilon", "beta_schedule": "squaredcos_cap_v2", "zero_terminal_snr": False},
            "a shifted cosine": {"beta_schedule": "shifted_cosine:0.5", "clip_sample": True},
            "guidance in training": {"cls_free_guidance_dropout": 0.1, "masked_cfg": True, "masked_cfg_low": 2},
        },
        refused=_REFUSED
        | {
            "classes": ({"n_labels": 7}, "n_labels"),
            "an unknown U-ViT": ({"dec_type": "uvit_b_p8_f16", "uvit": None}, "dec_type"),
            "an unknown condition": ({"dec_type": "uvit_nano", "conditioning": "add"}, "conditioning"),
            "an unknown U-Net": ({"dec_type": "unet_nano", "unet": None}, "unet_nano"),
            "a Transformer": ({"dec_type": "vit_b_dec"}, "dec_type"),
            "an unknown schedule": ({"beta_schedule": "cosine"}, "beta_schedule"),
        },
        enliven=enliven,
        published=_published,
    ),
}  # fmt: skip
