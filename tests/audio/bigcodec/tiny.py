"""`bigcodec` in tiny form, for tests over all families."""

from tiny_parts import FACTORISED

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "bigcodec": (
        "bigcodec",
        {"strides": [2, 5], "encoder_width": 4, "decoder_width": 8, "latent_dim": 6}
        | {"quantizer": FACTORISED | {"num_codebooks": 1, "kmeans_init": True}},
    ),
}
