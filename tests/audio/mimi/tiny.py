"""`mimi` in tiny form, for tests over all families."""

from tiny_parts import SMALL_SEANET, SMALL_TRANSFORMER, SPLIT_RVQ

SMALL_SIDES = {"encoder_transformer": SMALL_TRANSFORMER, "decoder_transformer": SMALL_TRANSFORMER}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "mimi": ("mimi", {"seanet": SMALL_SEANET, **SMALL_SIDES, "quantizer": SPLIT_RVQ}),
    "mimi-layers": (
        "mimi",
        {
            "seanet": SMALL_SEANET | {"channels": 2, "padding": "replicate", "identity_skip": False},
            "encoder_transformer": SMALL_TRANSFORMER | {"width": 12, "kv_heads": 1, "norm": "rms", "gated": True},
            "decoder_transformer": None,
            "frame_stride": 1,
            "quantizer": SPLIT_RVQ | {"split_first": 2},
            "last_frame": "layers",
        },
    ),
}
