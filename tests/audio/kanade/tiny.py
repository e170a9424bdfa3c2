"""`kanade` in tiny form, for tests over all families."""

from tiny_parts import SMALL_HUBERT

_TRANSFORMER = {"width": 8, "layers": 1, "heads": 2, "feed_forward": 8, "window": 5}
_SMALL = {
    "sample_rate_hz": 24000,
    "semantic_model": SMALL_HUBERT
    | {"num_hidden_layers": 3, "conv_dim": [4, 4], "conv_kernel": [6, 4], "conv_stride": [5, 4], "conv_pos_batch_norm": True},
    "features": 8,
    "content_layers": [2, 3],
    "voice_layers": [1],
    "encoder": _TRANSFORMER,
    "quantizer": {"kind": "fsq", "levels": [8, 5, 5], "convention": "nemo"},
    "voice": {"dim": 4, "width": 8, "hidden": 8, "layers": 1, "attention": 4},
}
_SPECTRUM = {"prenet": _TRANSFORMER, "prenet_out": 0, "decoder": _TRANSFORMER}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "kanade-wave": (
        "kanade",
        _SMALL
        | {"wave": _SPECTRUM | {"window_samples": 20, "hop_samples": 5, "block_groups": 2, "raises": [3]}}
        | {"feature_decoder": _TRANSFORMER},
    ),
    "kanade-mel": (
        "kanade",
        _SMALL
        | {"wave": None, "mel": _SPECTRUM | {"hop_samples": 16, "bands": 4, "post_width": 4, "post_layers": 2, "post_kernel": 3}},
    ),
}
