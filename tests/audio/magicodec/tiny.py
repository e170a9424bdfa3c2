"""`magicodec` in tiny form, for tests over all families."""

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "magicodec": (
        "magicodec",
        {
            "hop_samples": 20,
            "width": 8,
            "inner": 8,
            "layers": 2,
            "heads": 2,
            "feed_forward": 12,
            "encoder_window": [3, 0],
            "decoder_window": [3, 1],
            "latent_dim": 4,
            "quantizer": {"kind": "simvq", "codebook_size": 64, "bias": True},
        },
    ),
}
