"""`glm_image` in tiny form, for tests over all families."""

from tiny_parts import RVQ, UNIT_VQ

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
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
}
