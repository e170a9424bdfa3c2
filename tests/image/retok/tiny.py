"""`retok` in tiny form, for tests over all families."""

from tiny_parts import SMALL_STACK, SMALL_VIT, UNIT_VQ

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
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
}
