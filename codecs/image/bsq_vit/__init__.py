"""BSQ-ViT: a plain ViT on each side of binary spherical codes, one position for each patch."""
