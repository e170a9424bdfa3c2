"""`wavtokenizer` in tiny form, for tests over all families."""

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "wavtokenizer": (
        "wavtokenizer",
        {
            "encoder": {"width": 4, "strides": [2, 5], "latent_dim": 6},
            "width": 64,
            "hidden": 40,
            "blocks": 2,
            "window_samples": 40,
            "dropout": 0.0,
            "quantizer": {"kind": "vq", "codebook_size": 16},
        },
    ),
}
