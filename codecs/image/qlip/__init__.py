"""QLIP: a rotary ViT on each side of binary spherical codes, trained beside texts."""
