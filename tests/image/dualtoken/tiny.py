"""`dualtoken` in tiny form, for tests over all families."""

from tiny_parts import GRADIENT_VQ, RVQ, SMALL_STACK

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

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "dualtoken": ("dualtoken", DUALTOKEN),
    "dualtoken-folded": (
        "dualtoken",
        DUALTOKEN
        | {"tower": DUALTOKEN["tower"] | {"norm_out": "none"}, "pool": False, "shortcut_layer": None, "fold": 2}
        | {"pixel_quantizer": GRADIENT_VQ, "decoder": SMALL_STACK | {"widths": [4, 4, 8]}, "decoder_grid": None},
    ),
}
