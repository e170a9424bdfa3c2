"""`longcat_next`, `longcat_next_codes` in tiny form, for tests over all families."""

from tiny_parts import RVQ

SHARED_RVQ = RVQ | {"shared_codebook": True, "kmeans_init": True}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "longcat-next-codes": ("longcat_next_codes", {"width": 6, "code_dim": 6, "quantizer": SHARED_RVQ}),
    "longcat-next": (
        "longcat_next",
        {
            "tower": {"patch_size": 2, "width": 16, "layers": 2, "heads": 2, "hidden": 12, "window": 4, "whole_layers": [1]},
            "train_tower": True,
            "codes": {"width": 6, "code_dim": 4, "quantizer": SHARED_RVQ},
            "pixel_decoder": {"width": 16, "layers": 1, "heads": 2, "hidden": 12, "inner_norms": True},
        },
    ),
}
