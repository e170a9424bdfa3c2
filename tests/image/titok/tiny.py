"""`titok` in tiny form, for tests over all families."""

from tiny_parts import GRADIENT_VQ, SMALL_VIT, UNIT_VQ

TITOK = {
    "image_size": 16,
    "encoder_patch_size": 4,
    "decoder_patch_size": 4,
    "encoder": SMALL_VIT,
    "decoder": SMALL_VIT,
    "num_latents": 6,
    "latent_dim": 4,
    "quantizer": UNIT_VQ,
}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "titok": ("titok", TITOK),
    "titok-legacy-prefix": (
        "titok",
        TITOK
        | {"latent_layout": "reshaped", "output": "codes", "teacher_codes": 16, "prefix": True}
        | {"teacher": {"decoder": {"widths": [4, 4, 8], "blocks": 1, "middle": ["residual"], "groups": 4}, "latent_dim": 4}},
    ),
    "titok-text": ("titok", TITOK | {"text": {"length": 3, "dim": 5}, "quantizer": GRADIENT_VQ}),
}
