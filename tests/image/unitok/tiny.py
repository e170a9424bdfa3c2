"""`unitok`, `unitok_codes` in tiny form, for tests over all families."""

from tiny_parts import UNIT_VQ

SMALL_VITAMIN = {"stem_width": 4, "conv_widths": [4, 6], "conv_blocks": [1, 2], "width": 8, "layers": 1, "heads": 2}
SMALL_VITAMIN |= {"decoder_blocks": [2, 1]}
UNITOK_CODES = {"width": 8, "code_dim": 4, "quantizer": UNIT_VQ | {"kind": "grouped_vq", "groups": 2, "levels": 1}}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "unitok": ("unitok", {"image_size": 32, "tower": SMALL_VITAMIN, "codes": UNITOK_CODES, "embedding_dim": 6}),
    "unitok-queries": (
        "unitok",
        {"image_size": 32, "tower": SMALL_VITAMIN | {"queries": 3}, "codes": UNITOK_CODES | {"projection": "linear"}},
    ),
    "unitok-codes": ("unitok_codes", UNITOK_CODES),
}
