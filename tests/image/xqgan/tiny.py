"""`xqgan` in tiny form, for tests over all families."""

from tiny_parts import GRADIENT_VQ, SMALL_SCALES, SMALL_VIT, UNIT_VQ

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
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
}
