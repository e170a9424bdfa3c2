"""`longcat` in tiny form, for tests over all families."""

from tiny_parts import FACTORISED_4

SMALL_LONGCAT = {
    "strides": [2, 5],
    "encoder_width": 4,
    "latent_dim": 8,
    "semantic_size": 0,
    "decoder_strides": [5, 2],
    "decoder_width": 8,
    "quantizer": FACTORISED_4 | {"kind": "residual_vq", "num_codebooks": 2, "codebook_size": 6, "product": 2},
}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "longcat": ("longcat", SMALL_LONGCAT),
    "longcat-speech": (
        "longcat",
        SMALL_LONGCAT
        | {"strides": [4, 3], "decoder_strides": [3, 4], "semantic_size": 12, "semantic_dim": 6}
        | {
            "speech": {"window_samples": 4, "hop_samples": 2, "bands": 6, "conv_width": 4, "width": 8}
            | {"layers": 2, "heads": 2, "hidden": 8}
        },
    ),
    "longcat-causal": ("longcat", SMALL_LONGCAT | {"decoder_strides": [5, 3], "causal_decoder": True}),
}
