"""`xy` in tiny form, for tests over all families."""

_STACK = {"width": 8, "heads": 2, "hidden": 8, "layers": 1, "table": 128}

SMALL_XY = {
    "bands": 8, "window_samples": 20480, "kept_samples": 10240, "semantic": _STACK, "acoustic": _STACK, "adapter": _STACK,
    "adapter_dim": 6, "before": _STACK, "down_dim": 4, "pool": 2, "after": _STACK, "up": 2, "decoder": _STACK, "decoder_bands": 8,
    "vocos_width": 8, "vocos_hidden": 8, "vocos_layers": 1,
    "quantizer": {"kind": "residual_vq", "num_codebooks": 3, "codebook_size": 16, "stack_dim": 6, "kmeans_init": False},
}  # fmt: skip

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {"xy": ("xy", SMALL_XY)}
