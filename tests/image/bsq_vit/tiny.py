"""`bsq_vit` in tiny form, for tests over all families."""

from tiny_parts import SMALL_VIT

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "bsq_vit": (
        "bsq_vit",
        {"image_size": [16, 24], "patch_size": 4, "encoder": SMALL_VIT, "decoder": SMALL_VIT | {"mask": "causal"}}
        | {"latent_dim": 20, "head_width": 8}
        | {"quantizer": {"kind": "bsq", "bits": 20, "normalize": False, "entropy": "analytic"}},
    ),
}
