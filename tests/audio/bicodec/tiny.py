"""`bicodec` in tiny form, for tests over all families."""

from tiny_parts import FACTORISED_4, SMALL_HUBERT

_NET = {"width": 8, "hidden": 8, "layers": 1, "ratios": [1]}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "bicodec": (
        "bicodec",
        {
            "semantic_model": SMALL_HUBERT
            | {"conv_dim": [4, 4], "conv_kernel": [6, 4], "conv_stride": [5, 4], "conv_pos_batch_norm": True},
            "semantic_layers": [0, 1],
            "features": 8,
            "reference_seconds": 0.01,
            "mel_fft": 64,
            "mel_window": 40,
            "mel_hop": 20,
            "encoder": _NET,
            "prenet": _NET,
            "postnet": _NET,
            "dim": 8,
            "quantizer": {"kind": "vq", "codebook_size": 16, **FACTORISED_4},
            "voice": {"bands": 4, "channels": 8, "out_channels": 8, "squeeze": 4, "dim": 6, "count": 3, "heads": 2, "head_dim": 4},
            "voice_quantizer": {"kind": "fsq", "levels": [4, 3]},
            "out_dim": 8,
            "strides": [5, 4],
            "kernels": [11, 8],
            "decoder_width": 8,
        },
    ),
}
