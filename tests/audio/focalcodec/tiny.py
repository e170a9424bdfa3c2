"""`focalcodec` in tiny form, for tests over all families."""

SMALL_WAVLM = {"conv_widths": [4, 4], "conv_kernels": [4, 3], "conv_strides": [4, 2], "layers": 1, "width": 8}
SMALL_WAVLM |= {"feed_forward": 8, "heads": 2, "buckets": 8, "max_distance": 20}
SMALL_WAVLM |= {"position_kernel": 4, "position_groups": 2}
SMALL_FOCAL = {
    "encoder": SMALL_WAVLM,
    "widths": [8, 6],
    "factors": [1, 1],
    "compressor": {"kernel_size": 4, "kernel_step": 2},
    "decompressor": {"kernel_size": 4, "kernel_step": 2, "average": True},
    "window": 5,
    "decompressor_window": 5,
    "last_window": 4,
    "quantizer": {"kind": "bsq", "bits": 12, "normalize": False},
    "latent_dim": 12,
    "decoder": {"width": 8, "blocks": 1, "hidden": 12, "window_samples": 20, "hop_samples": 8},
}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "focalcodec": ("focalcodec", {**SMALL_FOCAL, "factors": [2, 1]}),
    "focalcodec-causal": (
        "focalcodec",
        {
            **SMALL_FOCAL,
            "encoder": SMALL_WAVLM | {"causal": True, "window": 9, "chunk_frames": 3},
            "compressor": {"kernel_size": 3, "levels": 1, "causal": True, "layer_scale": 0.5},
            "decompressor": {"kernel_size": 3, "levels": 1, "causal": True, "norm_after": True},
            "refine_frames": 3,
            "decoder": SMALL_FOCAL["decoder"] | {"head": "wavenext", "hop_samples": 12, "causal": True},
        },
    ),
}
