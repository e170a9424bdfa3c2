"""`xcodec` in tiny form, for tests over all families."""

from tiny_parts import SMALL_HUBERT

SMALL_XCODEC = {
    "strides": [5, 4],
    "encoder_width": 2,
    "decoder_width": 8,
    "acoustic_dim": 6,
    "semantic": {"features": 8, "width": 8, "strides": [1], "ratios": [1], "dilations": [1]},
    "semantic_model": SMALL_HUBERT | {"conv_dim": [4, 4], "conv_kernel": [6, 4], "conv_stride": [5, 4]},
    "pad_samples": 10,
    "quantizer": {"kind": "residual_vq", "num_codebooks": 2, "codebook_size": 16},
    "bandwidths_kbps": [],
}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "xcodec": ("xcodec", SMALL_XCODEC),
    "xcodec-higgs": (
        "xcodec",
        SMALL_XCODEC
        | {"sample_rate_hz": 24000, "semantic_rate_hz": 16000, "semantic_step": 2, "strides": [6, 10], "acoustic_pad_samples": 15}
        | {"unequal": "cut", "quantizer": {"kind": "residual_vq", "num_codebooks": 2, "codebook_size": 16, "codebook_dim": 4}},
    ),
    "xcodec-frame": ("xcodec", SMALL_XCODEC | {"fill": "frame", "decoder_strides": [2, 10]}),
}
