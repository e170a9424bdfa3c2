"""`fish` in tiny form, for tests over all families."""

from tiny_parts import FACTORISED_4, SMALL_TRANSFORMER

_TRANSFORMER = SMALL_TRANSFORMER | {
    "gated": True, "activation": "silu", "norm": "rms", "final_norm": True, "rope_rounded": True,
}  # fmt: skip

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "fish": (
        "fish",
        {
            "strides": [2, 5],
            "encoder_width": 4,
            "decoder_width": 8,
            "latent_dim": 8,
            "encoder_transformers": [_TRANSFORMER, None],
            "frame_strides": [2],
            "before": _TRANSFORMER,
            "after": _TRANSFORMER | {"width": 4},
            "quantizer": {"kind": "residual_vq", "num_codebooks": 3, "codebook_size": [16, 8, 8], **FACTORISED_4},
        },
    ),
}
