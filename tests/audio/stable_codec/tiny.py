"""`stable_codec` in tiny form, for tests over all families."""

SMALL_TAAE = {"width": 8, "multiples": [1, 1], "strides": [2, 1], "depths": [1, 1], "window": [3, 2], "head_dim": 4}
SMALL_TAAE |= {"layer_scale": 0.5}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "stable_codec": (
        "stable_codec",
        {
            "patch_samples": 5,
            "encoder": SMALL_TAAE | {"units": True, "snake": True, "conformer": True},
            "decoder": SMALL_TAAE | {"units": True, "window": [2, 3]},
            "latent_dim": 4,
            "quantizer": {"kind": "fsq", "levels": [401, 401, 101, 101], "convention": "stable"},
            "normalize": "lufs",
        },
    ),
    "stable_codec-posthoc": (
        "stable_codec",
        {
            "channels": 2,
            "patch_samples": 4,
            "encoder": SMALL_TAAE | {"strides": [1, 3]},
            "decoder": SMALL_TAAE | {"strides": [1, 3], "multiples": [1, 2], "snake": True},
            "latent_dim": 3,
            "quantizer": {"kind": "residual_fsq", "levels": [63, 63, 63], "num_codebooks": 2, "scales": [1.0, 0.01]},
            "soft_clip": True,
        },
    ),
}
