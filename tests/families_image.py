"""Every image family in tiny form. A new family adds its lines here."""

from quantizers_tiny import RVQ

SHARED_RVQ = RVQ | {"shared_codebook": True, "kmeans_init": True}

#: One side of a VQGAN: two levels, attention at the coarser one.
SMALL_STACK = {"widths": [4, 8], "blocks": 1, "attention_levels": [1], "groups": 4}
SMALL_SWIN = {"middle": ["residual", "swin", "head_attention"], "swin": {"width": 16, "depth": 2, "window": 2, "heads": 2}}
#: One convolution a scale, so that all of them are used.
PHI3 = {"kmeans_init": True, "phi_count": 3}
VQGAN = {"encoder": SMALL_STACK | {"stem_width": 4}, "decoder": SMALL_STACK, "z_channels": 6, "embed_dim": 4}

#: A transformer of a few numbers, in the terms of the ViT families.
SMALL_SCALES = {"scales": [[1, 1], [2, 2], [3, 3]]}
SMALL_VIT = {"width": 16, "layers": 1, "heads": 2}
GRADIENT_VQ = {"kind": "vq", "codebook_size": 16, "update": "gradient", "kmeans_init": False}
UNIT_VQ = GRADIENT_VQ | {"normalize": True, "returns": "normalized"}
TITOK = {
    "image_size": 16,
    "encoder_patch_size": 4,
    "decoder_patch_size": 4,
    "encoder": SMALL_VIT,
    "decoder": SMALL_VIT,
    "num_latents": 6,
    "latent_dim": 4,
    "quantizer": UNIT_VQ,
}
#: The VQGAN under KARL and ALIT: stride 2, a grid of 4 x 4.
BASE_VQGAN = {
    "encoder": SMALL_STACK | {"stem_width": 4, "attention_levels": []},
    "decoder": SMALL_STACK | {"attention_levels": []},
    "z_channels": 4,
    "embed_dim": 0,
    "quantizer": GRADIENT_VQ,
    "value_range": [0.0, 1.0],
}
DISTILLED = {
    "base": BASE_VQGAN,
    "grid_size": 4,
    "patch_size": 2,
    "encoder": SMALL_VIT,
    "decoder": SMALL_VIT,
    "latent_dim": 4,
    "quantizer": UNIT_VQ,
}

FOURM_DIVAE = {"patch_size": 4, "encoder_grid": 3, "encoder": SMALL_VIT, "latent_dim": 4, "unet_patch": 2, "steps": 2}
FOURM_DIVAE |= {"quantizer": {"kind": "vq", "codebook_size": 16, "normalize": True, "kmeans_init": True}}
FOURM_DIVAE |= {"unet": {"width": 8, "blocks": 1, "multipliers": [1, 2], "attention_strides": [2], "groups": 4, "zero_init": False}}
SMALL_UVIT = {"channels": [4, 8], "blocks": 1, "width": 8, "layers": 3, "heads": 2, "position_grid": 3, "groups": 2, "dropout": 0.0}
SMALL_UVIT |= {"long_skips": True, "condition": "cross", "halve_before_middle": False, "zero_init": False}
FOURM_MAPS = {"encoder_grid": 3, "decoder_grid": 3, "encoder": SMALL_VIT, "decoder": SMALL_VIT, "latent_dim": 4}
FOURM_MAPS |= {"quantizer": FOURM_DIVAE["quantizer"]}
SMALL_TOWER = {"width": 8, "blocks": 2}
#: Continuous, of diffusers, halving once.
SMALL_VAE = {
    "block_out_channels": [4, 4],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "norm_num_groups": 2,
    "latent_channels": 3,
}
#: SEED-2 over 3 x 3 patches and 12 queries, and a painter of 8 x 8 pixels.
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

#: A tower of 4 x 4 positions and 3 layers; the decoder starts from 8 x 8.
DUALTOKEN = {
    "tower": {"image_size": 16, "patch_size": 4, "width": 8, "layers": 3, "heads": 2, "hidden": 12, "gelu": "tanh"}
    | {"class_token": False, "registers": 0, "layer_scale": None, "norm_out": "affine"},
    "pixel_layer": 1,
    "semantic_layer": 2,
    "shortcut_layer": 1,
    "semantic_dim": 4,
    "pixel_dim": 4,
    "semantic_quantizer": RVQ | {"shared_codebook": True},
    "pixel_quantizer": RVQ | {"num_codebooks": 2},
    "decoder": SMALL_STACK,
    "decoder_channels": 8,
    "decoder_grid": [8, 8],
}
SMALL_VITAMIN = {"stem_width": 4, "conv_widths": [4, 6], "conv_blocks": [1, 2], "width": 8, "layers": 1, "heads": 2}
SMALL_VITAMIN |= {"decoder_blocks": [2, 1]}
UNITOK_CODES = {"width": 8, "code_dim": 4, "quantizer": UNIT_VQ | {"kind": "grouped_vq", "groups": 2, "levels": 1}}
SMALL_ROTARY = {"width": 16, "layers": 1, "heads": 2}
#: A tower of 8 pixels a feature beside a VQGAN of stride 2.
DUALVITOK = {
    "tower": SMALL_ROTARY | {"patch_size": 4, "feature_dim": 6},
    "semantic_encoder": SMALL_ROTARY,
    "semantic_dim": 4,
    "semantic_decoder": SMALL_ROTARY,
    "feature_dim": 6,
    "sizes": [[16, 16, 8, 16]],
    "encoder": SMALL_STACK | {"stem_width": 4, "resample": "residual", "head_shortcut": True},
    "encoder_channels": 4,
    "pixel_dim": 4,
    "decoder": SMALL_STACK | {"condition": "spatial", "resample": "residual", "stem_shortcut": True},
    "semantic_quantizer": {"kind": "simvq", "codebook_size": 16},
    "pixel_quantizer": {"kind": "simvq", "codebook_size": 64},
}

#: label -> (family, config)
IMAGE: dict[str, tuple[str, dict]] = {
    "convnet": (
        "convnet",
        {"patch_size": 2, "widths": [8, 8], "encoder_blocks": [1, 1], "decoder_blocks": [1, 1], "latent_dim": 6}
        | {"quantizer": RVQ},
    ),
    "convnet-groupnorm-fsq": (
        "convnet",
        {"patch_size": 1, "widths": [8, 8], "encoder_blocks": [0, 1], "decoder_blocks": [1, 1], "latent_dim": 6}
        | {"norm": "group", "quantizer": {"kind": "fsq", "levels": [5, 4, 3]}},
    ),
    "vqgan": ("vqgan", VQGAN | {"quantizer": {"kind": "vq", "codebook_size": 16, "update": "gradient"}}),
    "vqgan-gumbel": ("vqgan", VQGAN | {"quantizer": {"kind": "gumbel", "codebook_size": 16}}),
    "vqgan-magvit2": (
        "vqgan",
        {
            "encoder": SMALL_STACK | {"stem_width": 4, "bias": False, "resample": "conv_centred", "middle": ["residual"]},
            "decoder": SMALL_STACK | {"bias": False, "resample": "depth_to_space", "condition": "adaptive", "noise": True},
            "z_channels": 20,
            "embed_dim": 0,
            "quantizer": {"kind": "sign", "bits": 20},
        },
    ),
    "vqgan-maskgit": (
        "vqgan",
        {
            "encoder": SMALL_STACK | {"stem_width": 4, "shortcut": "output", "resample": "average", "head_kernel": 1},
            "decoder": SMALL_STACK | {"shortcut": "output", "resample": "pixel_shuffle", "activation": "gelu"},
            "z_channels": 6,
            "embed_dim": 0,
            "quantizer": {"kind": "bernoulli", "bits": 8, "double_sigmoid": True},
            "value_range": [0.0, 1.0],
        },
    ),
    "vqgan-haar-swin": (
        "vqgan",
        {
            "encoder": SMALL_STACK | SMALL_SWIN | {"stem_width": 4, "patching": "haar", "patch_size": 2},
            "decoder": SMALL_STACK | SMALL_SWIN | {"patching": "haar", "patch_size": 2, "condition": "spatial"},
            "z_channels": 6,
            "embed_dim": 3,
            "quantizer": {"kind": "fsq", "levels": [5, 4, 3]},
            "value_range": [0.0, 1.0],
            "network_range": [-1.0, 1.0],
        },
    ),
    "var": (
        "var",
        VQGAN | {"quantizer": {"kind": "multiscale_bsq", "bits": 4, "scales": [[1, 1], [2, 2], [3, 3], [6, 6]]}},
    ),
    "var-vq": (
        "var",
        VQGAN
        | {"quantizer": {"kind": "multiscale_vq", "codebook_size": 16, "scales": [[1, 1], [2, 2], [4, 4]]} | PHI3},
    ),
    "vqgan-encoder": ("vqgan", VQGAN | {"decoder": None}),  # encodes alone
    "vqgan-ibq": ("vqgan", VQGAN | {"quantizer": {"kind": "ibq", "codebook_size": 512}}),
    "kl_tokens": (
        "kl_tokens",
        {"encoder": SMALL_STACK | {"stem_width": 4}, "decoder": SMALL_STACK, "latent_dim": 3}
        | {"quantizer": {"kind": "dimension_wise", "levels": 8, "low": -0.3, "high": 0.3}},
    ),
    "emu3": (
        "emu3",
        {"encoder": SMALL_STACK | {"stem_width": 4}, "decoder": SMALL_STACK | {"condition": "spatial"}, "time_blocks": 1}
        | {"latent_dim": 4, "quantizer": {"kind": "vq", "codebook_size": 16, "update": "gradient"}},
    ),
    "titok": ("titok", TITOK),
    "titok-legacy-prefix": (
        "titok",
        TITOK
        | {"latent_layout": "reshaped", "output": "codes", "teacher_codes": 16, "prefix": True}
        | {"teacher": {"decoder": {"widths": [4, 4, 8], "blocks": 1, "middle": ["residual"], "groups": 4}, "latent_dim": 4}},
    ),
    "titok-text": ("titok", TITOK | {"text": {"length": 3, "dim": 5}, "quantizer": GRADIENT_VQ}),
    "bsq_vit": (
        "bsq_vit",
        {"image_size": [16, 24], "patch_size": 4, "encoder": SMALL_VIT, "decoder": SMALL_VIT | {"mask": "causal"}}
        | {"latent_dim": 20, "head_width": 8}
        | {"quantizer": {"kind": "bsq", "bits": 20, "normalize": False, "entropy": "analytic"}},
    ),
    "instella": (
        "instella",
        {"patch_size": 4, "num_latents": 5, "encoder": SMALL_VIT | {"layers": 2}, "decoder": SMALL_VIT | {"layers": 2}}
        | {"rope_axes": [2, 2, 4], "down_after": [0], "up_after": [0], "position_scale": 64, "feature_dim": 3}
        | {"feature_after": 0, "quantizer": {"kind": "bernoulli", "bits": 12}},
    ),
    "uniwetok": (
        "uniwetok",
        {"widths": [32, 32], "blocks": 1, "attention": {"blocks": 1, "heads": 4, "registers": 2}, "latent_dim": 20}
        | {"quantizer": {"kind": "sign", "bits": 20}},
    ),
    "flextok": (
        "flextok",
        {
            "image_size": [16, 16],
            "vae": SMALL_VAE | {"layers_per_block": 1},
            "encoder": {"width": 16, "layers": 1, "head_width": 8},
            "decoder": {"width": 16, "layers": 1, "head_width": 8},
            "num_registers": 6,
            "quantizer": {"kind": "fsq", "levels": [63, 63, 15]},
            "latent_dim": 3,
            "condition": {"null_probability": 0.3, "drop_sampling": "uniform"},
            "time_frequencies": 8,
            "zero_init": False,
        },
    ),
    "karl": (
        "karl",
        DISTILLED | {"position_size": 4, "max_tokens": 12, "default_tokens": 8, "halt_above": 0.5, "train_budgets": (4, 8, 12)},
    ),
    "alit": ("alit", DISTILLED | {"tokens_per_rollout": 3, "rollouts": 2, "max_tokens": 6, "halting_threshold": 0.0}),
    "retok": (
        "retok",
        {
            "image_size": 16,
            "encoder": SMALL_STACK | {"stem_width": 4, "attention_levels": []},
            "decoder": SMALL_STACK | {"attention_levels": [], "resample": "depth_to_space", "condition": "adaptive"},
            "z_channels": 4,
            "sampler": SMALL_VIT,
            "unsampler": SMALL_VIT,
            "num_tokens": 8,
            "first": 2,
            "latent_dim": 4,
            "quantizer": UNIT_VQ | {"gradient": "rotation", "kmeans_init": True},
            "feature_after": 1,
            "feature_dim": 5,
        },
    ),
    "xqgan": (
        "xqgan",
        {"image_size": 16, "patch_size": 4, "encoder": SMALL_VIT, "decoder": SMALL_VIT, "grid_size": 3, "latent_dim": 4}
        | {"quantizer": UNIT_VQ | {"kmeans_init": True}, "perturbation": {"neighbours": 4}},
    ),
    "xqgan-multiscale": (
        "xqgan",
        {"image_size": 16, "patch_size": 4, "encoder": SMALL_VIT, "decoder": SMALL_VIT, "grid_size": 3, "latent_dim": 4}
        | {"branches": 2}
        | {"quantizer": SMALL_SCALES | {"kind": "multiscale_vq", "codebook_size": 16, "phi_count": 0, "kmeans_init": True}},
    ),
    "xqgan-multiscale-signs": (
        "xqgan",
        {"image_size": 16, "patch_size": 4, "encoder": SMALL_VIT, "decoder": SMALL_VIT, "grid_size": 3, "latent_dim": 4}
        | {
            "quantizer": {"kind": "multiscale_bsq", "bits": 4, "upsample": "bicubic"}
            | SMALL_SCALES
            | {"phi_ratio": 0.5, "phi_count": 0, "unit_input": True}
        },
    ),
    "xqgan-own-positions": (
        "xqgan",
        {"image_size": 16, "patch_size": 4, "encoder": SMALL_VIT, "decoder": SMALL_VIT, "grid_size": 4, "latent_dim": 4}
        | {"quantizer": GRADIENT_VQ | {"kmeans_init": True}, "shared_positions": False},
    ),
    "rae": (
        "rae",
        {
            "image_size": 12,
            "encoder": {"image_size": 20, "patch_size": 4, "width": 8, "layers": 1, "heads": 2, "hidden": 16, "registers": 1},
            "encoder_size": 16,
            "train_encoder": True,
            "decoder": SMALL_VIT,
            "decoder_hidden": 24,
            "decoder_patch_size": 3,
            "quantizer": {"kind": "dimension_wise", "levels": 8, "low": -3.0, "high": 3.0},
        },
    ),
    "tokenflow": (
        "tokenflow",
        {
            "image_size": 12,
            "output_size": 12,
            "tower": {"image_size": 12, "patch_size": 4, "width": 8, "layers": 1, "heads": 2, "hidden": 16}
            | {"class_token": False, "registers": 0, "layer_scale": None, "gelu": "tanh", "norm_out": "none"},
            "encoder": SMALL_STACK | {"stem_width": 4},
            "decoder": SMALL_STACK,
            "z_channels": 6,
            "pixel_dim": 3,
            "semantic_decoder": {"image_size": 3, "patch_size": 1, "in_channels": 4, "width": 8, "layers": 1, "heads": 2}
            | {"hidden": 16, "registers": 0, "layer_scale": None, "norm_out": "affine"},
            "feature_dim": 5,
            "quantizer": SMALL_SCALES
            | {"kind": "multiscale_vq", "codebook_size": 16, "phi_ratio": 0.0, "semantic_dim": 4}
            | {"normalize": True, "returns": "normalized", "kmeans_init": True},
        },
    ),
    "tokenflow-clip": (
        "tokenflow",
        {
            "image_size": 12,
            "output_size": 12,
            "tower": {"image_size": 8, "patch_size": 4, "width": 8, "layers": 1, "heads": 2, "hidden": 16, "registers": 0}
            | {"layer_scale": None, "gelu": "quick", "norm_in": True, "norm_out": "affine", "patch_bias": False, "fit": "offset"},
            "tower_input": "raw",
            "encoder": SMALL_STACK | {"stem_width": 4},
            "decoder": SMALL_STACK,
            "z_channels": 6,
            "pixel_dim": 3,
            "semantic_decoder": {"image_size": 2, "patch_size": 1, "in_channels": 4, "width": 8, "layers": 1, "heads": 2}
            | {"hidden": 16, "registers": 0, "layer_scale": None, "norm_out": "affine", "fit": "offset"},
            "feature_dim": 5,
            "quantizer": SMALL_SCALES
            | {"kind": "multiscale_vq", "codebook_size": 16, "phi_ratio": 0.0, "semantic_dim": 4}
            | {"normalize": True, "returns": "normalized", "kmeans_init": True},
        },
    ),
    "tokenflow-vitamin": (
        "tokenflow",
        {
            "image_size": 48,
            "output_size": 48,
            "vitamin": {"stem_width": 4, "conv_widths": [4, 8], "conv_blocks": [1, 1], "width": 8, "layers": 1, "heads": 2}
            | {"gelu": "none", "norm_out": False},
            "tower_input": "clip",
            "encoder": SMALL_STACK | {"stem_width": 4},
            "decoder": SMALL_STACK,
            "z_channels": 6,
            "pixel_dim": 3,
            "semantic_decoder": {"image_size": 3, "patch_size": 1, "in_channels": 4, "width": 8, "layers": 1, "heads": 2}
            | {"hidden": 16, "registers": 0, "layer_scale": None, "norm_out": "affine"},
            "feature_dim": 5,
            "quantizer": SMALL_SCALES
            | {"kind": "multiscale_vq", "codebook_size": 16, "phi_ratio": 0.0, "semantic_dim": 4}
            | {"normalize": True, "returns": "normalized", "kmeans_init": True},
        },
    ),
    "fourm": (
        "fourm",
        {"patch_size": 4, "encoder_grid": 3, "decoder_grid": 2, "encoder": SMALL_VIT, "decoder": SMALL_VIT, "refine": True}
        | {"latent_dim": 4, "quantizer": {"kind": "vq", "codebook_size": 16, "normalize": True, "kmeans_init": True}},
    ),
    "fourm-divae": ("fourm_divae", FOURM_DIVAE),
    "fourm-divae-ddpm": ("fourm_divae", FOURM_DIVAE | {"channels": 1, "schedule": {"sampler": "ddpm", "prediction": "velocity"}}),
    "fourm-divae-uvit": ("fourm_divae", FOURM_DIVAE | {"uvit": SMALL_UVIT}),
    "fourm-divae-maps": (
        "fourm_divae_maps",
        FOURM_DIVAE | {"channels": 2, "uvit": SMALL_UVIT | {"condition": "add", "long_skips": False, "halve_before_middle": True}},
    ),
    "fourm-maps": ("fourm_maps", FOURM_MAPS | {"channels": 5, "patch_size": 1}),
    "fourm-maps-classes": ("fourm_maps", FOURM_MAPS | {"channels": 5, "patch_size": 4, "classes": 7, "refine": True}),
    "fourm-maps-towers": (
        "fourm_maps",
        {"channels": 5, "patch_size": 1, "encoder_tower": SMALL_TOWER, "decoder_tower": SMALL_TOWER | {"residual": False}}
        | {"latent_dim": 6, "quantizer": {"kind": "memcodes", "codebooks": 3, "codebook_size": 16}},
    ),
    "dualtoken": ("dualtoken", DUALTOKEN),
    "dualtoken-folded": (
        "dualtoken",
        DUALTOKEN
        | {"tower": DUALTOKEN["tower"] | {"norm_out": "none"}, "pool": False, "shortcut_layer": None, "fold": 2}
        | {"pixel_quantizer": GRADIENT_VQ, "decoder": SMALL_STACK | {"widths": [4, 4, 8]}, "decoder_grid": None},
    ),
    "unitok": ("unitok", {"image_size": 32, "tower": SMALL_VITAMIN, "codes": UNITOK_CODES, "embedding_dim": 6}),
    "unitok-queries": (
        "unitok",
        {"image_size": 32, "tower": SMALL_VITAMIN | {"queries": 3}, "codes": UNITOK_CODES | {"projection": "linear"}},
    ),
    "unitok-codes": ("unitok_codes", UNITOK_CODES),
    "fdt": ("fdt", {"width": 8, "text_width": 0, "code_dim": 8, "quantizer": {"kind": "sparsemax", "codebook_size": 16}}),
    "dualvitok": ("dualvitok", DUALVITOK),
    "dualvitok-pixel": (
        "dualvitok",
        DUALVITOK | {"merge": "pixel", "decoder_channels": 4, "target": "identity", "train_tower": True, "semantic_head": "mlp"},
    ),
    "seed2": ("seed2", {"tower": SEED2_TOWER, "qformer": SEED2_QFORMER, "codes": SEED2_CODES, "decoder": SMALL_UNCLIP}),
    "seed2-codes": ("seed2_codes", SEED2_CODES),
    "glm-image": (
        "glm_image",
        {"image_size": 12, "patch_size": 4, "width": 8, "layers": 1, "heads": 2, "hidden": 16, "code_dim": 6}
        | {"quantizer": UNIT_VQ | {"kmeans_init": True}},
    ),
    "glm-image-no-bias": (
        "glm_image",
        {"image_size": 16, "patch_size": 8, "width": 8, "layers": 2, "heads": 2, "hidden": 12, "code_dim": 8, "bias": False}
        | {"activation": "silu", "quantizer": RVQ},
    ),
    "longcat-next-codes": ("longcat_next_codes", {"width": 6, "code_dim": 6, "quantizer": SHARED_RVQ}),
    "longcat-next": (
        "longcat_next",
        {
            "tower": {"patch_size": 2, "width": 16, "layers": 2, "heads": 2, "hidden": 12, "window": 4, "whole_layers": [1]},
            "train_tower": True,
            "codes": {"width": 6, "code_dim": 4, "quantizer": SHARED_RVQ},
            "painter": {"width": 16, "layers": 1, "heads": 2, "hidden": 12, "inner_norms": True},
        },
    ),
}
