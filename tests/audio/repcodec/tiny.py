"""`repcodec` in tiny form, for tests over all families."""

from tiny_parts import FACTORISED_4, SMALL_W2V_BERT

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "repcodec": (
        "repcodec",
        {
            "semantic_model": SMALL_W2V_BERT | {"feature_projection_input_dim": 160},
            "features": 8,
            "width": 8,
            "hidden": 8,
            "layers": 1,
            "quantizer": {"kind": "residual_vq", "num_codebooks": 1, "codebook_size": 16, **FACTORISED_4},
        },
    ),
}
