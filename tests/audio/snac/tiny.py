"""`snac` in tiny form, for tests over all families."""

from tiny_parts import FACTORISED

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "snac": (
        "snac",
        {"strides": [2, 3], "encoder_width": 4, "decoder_width": 8, "quantizer": FACTORISED | {"strides": [4, 2, 1]}},
    ),
    "snac-attention": (
        "snac",
        {
            "strides": [4],
            "encoder_width": 32,
            "decoder_width": 64,
            "window": 4,
            "noise": False,
            "depthwise": False,
            "quantizer": FACTORISED | {"strides": [2, 1, 1]},
        },
    ),
}
