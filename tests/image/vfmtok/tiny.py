"""`vfmtok` in tiny form, for tests over all families."""

from tiny_parts import UNIT_VQ

_TOWER = {"image_size": 16, "patch_size": 4, "width": 16, "layers": 2, "heads": 2, "hidden": 32, "norm_out": "affine", "fit": "offset"}
_TINY = {
    "image_size": 16,
    "tower": _TOWER,
    "levels": [0, 1],
    "width": 16,
    "layers": 1,
    "encoder_heads": 2,
    "decoder_heads": 2,
    "encoder_hidden": 24,
    "decoder_hidden": 24,
    "points": 2,
    "num_tokens": 4,
    "table": 3,
    "latent_dim": 4,
    "quantizer": UNIT_VQ,
    "decoder": {"widths": [4, 8, 8], "blocks": 1, "groups": 4},
}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {"vfmtok": ("vfmtok", _TINY)}
