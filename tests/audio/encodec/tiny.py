"""`encodec` in tiny form, for tests over all families."""

from tiny_parts import RVQ

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "encodec": (
        "encodec",
        {"encoder": {"width": 4, "strides": [2, 5], "latent_dim": 6, "causal": True}, "quantizer": RVQ},
    ),
    "encodec-stereo-segments": (
        "encodec",
        {
            "sample_rate_hz": 1200,
            "encoder": {"width": 4, "strides": [2, 4], "latent_dim": 6, "channels": 2, "norm": "group", "lstm_layers": 1},
            "quantizer": RVQ,
            "normalize": True,
            "segment_seconds": 0.05,
            "segment_overlap": 0.1,
        },
    ),
    "encodec-constant": (
        "encodec",
        {
            "encoder": {"width": 4, "strides": [2, 5], "latent_dim": 6, "causal": True, "padding": "constant"}
            | {"identity_skip": True, "lstm_layers": 0, "residual_layers": 2},
            "quantizer": RVQ,
        },
    ),
}
