"""`dac` in tiny form, for tests over all families."""

from tiny_parts import FACTORISED

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "dac": ("dac", {"strides": [2, 5], "encoder_width": 4, "decoder_width": 8, "quantizer": FACTORISED}),
    "dac-frames": (
        "dac",
        {"strides": [2, 5], "encoder_width": 4, "latent_dim": 8, "quantizer": FACTORISED}
        | {"frame_decoder": {"width": 8, "hidden": 8, "layers": 1, "window_samples": 40}},
    ),
    "dac-unfilled": (
        "dac",
        {"strides": [3, 2], "encoder_width": 4, "decoder_width": 8, "quantizer": FACTORISED, "fill": "none"},
    ),
}
