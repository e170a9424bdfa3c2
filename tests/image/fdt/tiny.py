"""`fdt` in tiny form, for tests over all families."""

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "fdt": ("fdt", {"width": 8, "text_width": 0, "code_dim": 8, "quantizer": {"kind": "sparsemax", "codebook_size": 16}}),
}
