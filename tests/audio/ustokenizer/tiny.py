"""`ustokenizer` in tiny form, for tests over all families."""

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "ustokenizer": (
        "ustokenizer",
        {
            "encoder": {"features": 6, "width": 8, "strides": [1, 1], "bias": False},
            "decoder": {"features": 6, "width": 8, "strides": [1, 1], "ratios": [1, 1.5]},
            "latent_dim": 5,
            "quantizer": {"kind": "residual_vq", "num_codebooks": 2, "codebook_size": 16, "kmeans_init": False},
        },
    ),
}
