"""`dualvitok` in tiny form, for tests over all families."""

from tiny_parts import SMALL_STACK

SMALL_ROTARY = {"width": 16, "layers": 1, "heads": 2}
#: A tower of 8 pixels a feature beside a VQGAN of stride 2.
DUALVITOK = {
    "tower": SMALL_ROTARY | {"patch_size": 4, "feature_dim": 6},
    "semantic_encoder": SMALL_ROTARY,
    "semantic_dim": 4,
    "semantic_decoder": SMALL_ROTARY,
    "feature_dim": 6,
    "sizes": [[16, 16, 8, 16]],
    "encoder": SMALL_STACK | {"stem_width": 4, "resample": "residual", "head_shortcut": True},
    "encoder_channels": 4,
    "pixel_dim": 4,
    "decoder": SMALL_STACK | {"condition": "spatial", "resample": "residual", "stem_shortcut": True},
    "semantic_quantizer": {"kind": "simvq", "codebook_size": 16},
    "pixel_quantizer": {"kind": "simvq", "codebook_size": 64},
}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "dualvitok": ("dualvitok", DUALVITOK),
    "dualvitok-pixel": (
        "dualvitok",
        DUALVITOK | {"merge": "pixel", "decoder_channels": 4, "target": "identity", "train_tower": True, "semantic_head": "mlp"},
    ),
}
