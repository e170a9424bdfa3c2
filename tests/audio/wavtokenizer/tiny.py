"""`wavtokenizer` in tiny form, for tests over all families."""

_EXPERTS = {"layers": 1, "heads": 2, "feed_forward": 8, "layer_scale": 0.5}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "wavtokenizer-experts": (
        "wavtokenizer",
        {
            "encoder": {"width": 4, "strides": [2, 5], "latent_dim": 6, "lstm_layers": 0},
            "width": 64,
            "hidden": 16,
            "blocks": 1,
            "window_samples": 40,
            "dropout": 0.0,
            "quantizer": {"kind": "simvq", "codebook_size": 16, "bias": True},
            "experts": _EXPERTS,
            "domains": True,
        },
    ),
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
