"""`qlip` in tiny form, for tests over all families."""

_PART = {"width": 16, "layers": 1, "heads": 2, "hidden": 24}
_TINY = {
    "image_size": 16,
    "patch_size": 4,
    "encoder": _PART,
    "decoder": _PART,
    "latent_dim": 20,
    "quantizer": {"kind": "bsq", "bits": 20, "normalize": False, "entropy": "analytic"},
    "head_width": 8,
}
_PLAIN = _PART | {"gated": False, "inner_norm": False, "rotary": False, "qkv_bias": [True, True, True]}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "qlip": ("qlip", _TINY),
    "qlip-plain": ("qlip", _TINY | {"encoder": _PLAIN, "decoder": _PLAIN | {"width": 24}}),
}
