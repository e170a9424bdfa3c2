"""`levo` in tiny form, for tests over all families."""

from tiny_parts import FACTORISED_4

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "levo": (
        "levo",
        {
            "layers": [2, 1],
            "feature_dim": 8,
            "musicfm": {"bands": 8, "conv_width": 2, "width": 8, "layers": 2, "heads": 2, "hidden": 8, "kernel_size": 3},
            "quantizer": FACTORISED_4 | {"kind": "grouped_vq", "groups": 2, "levels": 1, "codebook_size": 16},
            "flow": {"layers": 1, "heads": 2, "hidden": 8, "latent_dim": 4, "mask_dim": 4, "window_frames": 8},
            "vae": {"width": 2, "multiples": [1, 2], "strides": [2, 3]},
        },
    ),
}
