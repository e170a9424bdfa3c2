"""`waveform` in tiny form, for tests over all families."""

from tiny_parts import RVQ

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "waveform": ("waveform", {"width": 4, "strides": [2, 4], "dilations": [1, 3], "latent_dim": 6, "quantizer": RVQ}),
    "waveform-causal-stereo": (
        "waveform",
        {"width": 4, "strides": [2, 5], "dilations": [1, 3], "latent_dim": 6, "quantizer": RVQ}
        | {"causal": True, "channels": 2, "activation": "elu"},
    ),
}
