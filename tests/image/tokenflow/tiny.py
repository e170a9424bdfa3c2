"""`tokenflow` in tiny form, for tests over all families."""

from tiny_parts import SMALL_SCALES, SMALL_STACK

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
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
}
