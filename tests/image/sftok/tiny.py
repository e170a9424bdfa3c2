"""`sftok` in tiny form, for tests over all families."""

from tiny_parts import SMALL_VIT, UNIT_VQ

_TINY = {
    "image_size": 16,
    "encoder_patch_size": 4,
    "decoder_patch_size": 4,
    "encoder": SMALL_VIT,
    "decoder": SMALL_VIT,
    "num_latents": 6,
    "latent_dim": 4,
    "teacher_codes": 16,
    "teacher": {"decoder": {"widths": [4, 4, 8], "blocks": 1, "middle": ["residual"], "groups": 4}, "latent_dim": 4},
    "steps": 3,
}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "sftok": ("sftok", _TINY | {"quantizer": {"kind": "optvq", "codebook_size": 16}}),
    "sftok-vq": ("sftok", _TINY | {"quantizer": UNIT_VQ, "soften": True, "steps": 1}),
}
