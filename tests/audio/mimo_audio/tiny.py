"""`mimo_audio` in tiny form, for tests over all families."""

_STACK = {"width": 8, "heads": 2, "hidden": 8, "layers": 2}

SMALL_MIMO = {
    "bands": 6, "fft_samples": 40, "window_samples": 40, "hop_samples": 10, "encoder": _STACK, "skip": 1,
    "decoder": _STACK | {"reach": [-1, 0]}, "vocoder": _STACK | {"reach": [4, 2]}, "piece_frames": 60,
    "quantizer": {"kind": "residual_vq", "num_codebooks": 3, "codebook_size": [16, 16, 8], "kmeans_init": False},
}  # fmt: skip

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {"mimo-audio": ("mimo_audio", SMALL_MIMO)}
