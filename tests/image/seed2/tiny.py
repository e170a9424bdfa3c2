"""`seed2`, `seed2_codes` in tiny form, for tests over all families."""

from tiny_parts import GRADIENT_VQ, SMALL_VAE

#: SEED-2 over 3 x 3 patches and 12 queries, and a diffusion decoder of 8 x 8 pixels.
SEED2_TOWER = {"image_size": 12, "patch_size": 4, "width": 8, "layers": 1, "heads": 2, "hidden": 16}
SEED2_TOWER |= {"registers": 0, "layer_scale": None, "norm_out": "none"}
SEED2_QFORMER = {"width": 8, "layers": 2, "heads": 2, "hidden": 16, "causal": True}
SEED2_CODES = {"num_queries": 12, "width": 8, "code_dim": 4, "embedding_dim": 6, "head_layers": 1, "head_heads": 2}
SEED2_CODES |= {"quantizer": GRADIENT_VQ | {"codebook_weight": 0.25, "kmeans_init": True}}
SMALL_UNCLIP = {
    "unet": {
        "sample_size": 4,
        "in_channels": 3,
        "out_channels": 3,
        "layers_per_block": 1,
        "block_out_channels": [8, 16],
        "norm_num_groups": 4,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        "cross_attention_dim": 8,
        "attention_head_dim": 2,
        "class_embed_type": "projection",
        "projection_class_embeddings_input_dim": 12,
    },
    "vae": SMALL_VAE,
    "steps": 2,
}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "seed2": ("seed2", {"tower": SEED2_TOWER, "qformer": SEED2_QFORMER, "codes": SEED2_CODES, "decoder": SMALL_UNCLIP}),
    "seed2-codes": ("seed2_codes", SEED2_CODES),
}
