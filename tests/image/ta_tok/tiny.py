"""`ta_tok` in tiny form, for tests over all families."""

from tiny_parts import RVQ

_TOWER = {"class_token": False, "registers": 0, "layer_scale": None, "gelu": "tanh"}
_TINY = {
    "tower": _TOWER | {"image_size": 12, "patch_size": 4, "width": 8, "layers": 1, "heads": 2, "hidden": 16, "norm_out": "none"},
    "decoder": _TOWER
    | {"image_size": 2, "patch_size": 1, "in_channels": 6, "width": 8, "layers": 1, "heads": 2, "hidden": 16, "norm_out": "affine"}
    | {"fit": "bilinear"},
    "pools": [1],
}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "ta-tok": ("ta_tok", _TINY | {"quantizer": {"kind": "simvq", "codebook_size": 16, "bias": True, "normalize": True}}),
    "ta-tok-pooled": ("ta_tok", _TINY | {"tower": _TINY["tower"] | {"image_size": 24}, "pool": 3, "pools": [3], "quantizer": RVQ}),
}
