"""`fdt`, `fdt_clip` in tiny form, for tests over all families."""

TOWER = {"image_size": 16, "patch_size": 4, "width": 8, "layers": 1, "heads": 2, "hidden": 16, "registers": 0, "layer_scale": None}
TOWER |= {"norm_in": True, "norm_out": "none", "patch_bias": False, "gelu": "quick"}
TEXT = {"vocab_size": 20, "length": 6, "width": 6, "layers": 1, "heads": 2}
CODES = {"width": 8, "text_width": 6, "code_dim": 8, "quantizer": {"kind": "sparsemax", "codebook_size": 16}}
#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "fdt": ("fdt", {"width": 8, "text_width": 0, "code_dim": 8, "quantizer": {"kind": "sparsemax", "codebook_size": 16}}),
    "fdt-clip": ("fdt_clip", {"tower": TOWER, "text": TEXT, "codes": CODES}),
}
