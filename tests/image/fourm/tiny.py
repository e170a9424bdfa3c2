"""`fourm`, `fourm_divae`, `fourm_divae_maps`, `fourm_maps` in tiny form, for tests over all families."""

from tiny_parts import SMALL_VIT

FOURM_DIVAE = {"patch_size": 4, "encoder_grid": 3, "encoder": SMALL_VIT, "latent_dim": 4, "unet_patch": 2, "steps": 2}
FOURM_DIVAE |= {"quantizer": {"kind": "vq", "codebook_size": 16, "normalize": True, "kmeans_init": True}}
FOURM_DIVAE |= {"unet": {"width": 8, "blocks": 1, "multipliers": [1, 2], "attention_strides": [2], "groups": 4, "zero_init": False}}
SMALL_UVIT = {"channels": [4, 8], "blocks": 1, "width": 8, "layers": 3, "heads": 2, "position_grid": 3, "groups": 2, "dropout": 0.0}
SMALL_UVIT |= {"long_skips": True, "condition": "cross", "halve_before_middle": False, "zero_init": False}
FOURM_MAPS = {"encoder_grid": 3, "decoder_grid": 3, "encoder": SMALL_VIT, "decoder": SMALL_VIT, "latent_dim": 4}
FOURM_MAPS |= {"quantizer": FOURM_DIVAE["quantizer"]}
SMALL_TOWER = {"width": 8, "blocks": 2}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
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
}
