"""`xcodec2` in tiny form, for tests over all families."""

from tiny_parts import SMALL_W2V_BERT

SMALL_XCODEC2 = {
    "width": 1,
    "acoustic_dim": 8,
    "semantic_model": SMALL_W2V_BERT,
    "semantic_in": 8,
    "semantic_width": 8,
    "semantic_dim": 8,
    "quantizer": {
        "kind": "residual_fsq",
        "levels": [32, 25, 33],
        "num_codebooks": 1,
        "convention": "fsq",
        "project": True,
    },
    "latent_dim": 16,
    "decoder_dim": 64,
    "layers": 1,
    "heads": 2,
    "dropout": 0.0,
}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "xcodec2": ("xcodec2", SMALL_XCODEC2),
    "neucodec": ("xcodec2", SMALL_XCODEC2 | {"hop_out_samples": 480, "pad_features": False}),
}
