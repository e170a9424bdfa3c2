"""`flexicodec` in tiny form, for tests over all families."""

from tiny_parts import FACTORISED_4

_TRANSFORMER = {"width": 8, "layers": 1, "heads": 2, "feed_forward": 8, "causal": False, "context": None}
SMALL_FLEXICODEC = {
    "strides": [32, 40],
    "encoder_width": 2,
    "decoder_width": 16,
    "latent_dim": 8,
    "speech": {"width": 8, "heads": 2, "hidden": 8, "layers": 2, "later_layers": 0, "kernel_size": 3},
    "semantic_width": 6,
    "semantic_hidden": 8,
    "semantic_blocks": 1,
    "groups": {"threshold": 0.96, "longest": 4, "draw_threshold": [0.9, 0.99], "semantic": _TRANSFORMER, "acoustic": _TRANSFORMER},
    "smoother": _TRANSFORMER,
    "semantic_quantizer": {"kind": "fsq", "levels": [4, 4, 4], "convention": "nemo"},
    "quantizer": FACTORISED_4 | {"kind": "residual_vq", "num_codebooks": 2, "codebook_size": 16},
}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "flexicodec": ("flexicodec", SMALL_FLEXICODEC),
    "flexicodec-fixed-rate": ("flexicodec", SMALL_FLEXICODEC | {"groups": None, "smoother": None}),
}
