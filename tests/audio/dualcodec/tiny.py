"""`dualcodec` in tiny form, for tests over all families."""

from tiny_parts import FACTORISED_4, SMALL_W2V_BERT

SMALL_DUALCODEC = {
    "strides": [16, 30],
    "encoder_width": 2,
    "decoder_width": 16,
    "semantic_model": SMALL_W2V_BERT,
    "semantic_pool": 1,
    "semantic_in": 8,
    "semantic_width": 6,
    "semantic_hidden": 8,
    "semantic_blocks": 1,
    "semantic_quantizer": FACTORISED_4 | {"kind": "vq", "codebook_size": 32},
    "quantizer": FACTORISED_4 | {"kind": "residual_vq", "num_codebooks": 2, "codebook_size": 16},
}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "dualcodec": ("dualcodec", SMALL_DUALCODEC),
}
