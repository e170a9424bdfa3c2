"""`hcodec` in tiny form, for tests over all families."""

from tiny_parts import SMALL_HUBERT

SMALL_HCODEC = {
    "seanet": {"width": 2, "strides": [10, 16], "latent_dim": 8, "lstm_layers": 0},
    "heads": 2,
    "layers": 1,
    "semantic": {"features": 8, "width": 6, "ratios": [1], "strides": [1], "dilations": [1]},
    "semantic_model": SMALL_HUBERT,
    "quantizer": {"kind": "residual_vq", "num_codebooks": 2, "codebook_size": 16},
    "semantic_quantizer": {"kind": "residual_vq", "num_codebooks": 1, "codebook_size": 16},
    "decoder_dim": 32,
    "decoder_hidden": 16,
    "decoder_blocks": 1,
    "window_samples": 640,
    "dropout": 0.0,
}

_TRANSFORMER = {"width": 8, "layers": 1, "heads": 2, "feed_forward": 8, "causal": False, "context": None}
SMALL_ADAPTIVE = SMALL_HCODEC | {
    # fewer codes than groups in a batch: else the first codebook holds each latent exactly, and the second one what rounding leaves
    "quantizer": {"kind": "residual_vq", "num_codebooks": 2, "codebook_size": 4},
    "merging": {"acoustic": _TRANSFORMER, "semantic": _TRANSFORMER, "smoother": _TRANSFORMER | {"width": 16}, "longest": 4},
}
SMALL_SPECTRA = SMALL_HCODEC | {
    "sample_rate_hz": 48000,
    "spectra": {
        "width": 8, "hidden": 8, "blocks": 1, "heads": 2, "layers": 1, "feed_forward": 8, "latent_dim": 8, "window_samples": 1920,
        "hop_samples": 960, "stride": 2,
    },
    "semantic": SMALL_HCODEC["semantic"] | {"strides": [2]},
    "upsampling": "repeat",
    "window_samples": 1920,
}  # fmt: skip

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "hcodec": ("hcodec", SMALL_HCODEC),
    "hcodec-adaptive": ("hcodec", SMALL_ADAPTIVE),
}
