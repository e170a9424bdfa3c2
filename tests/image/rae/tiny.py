"""`rae` in tiny form, for tests over all families."""

from tiny_parts import SMALL_VIT

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "rae": (
        "rae",
        {
            "image_size": 12,
            "encoder": {"image_size": 20, "patch_size": 4, "width": 8, "layers": 1, "heads": 2, "hidden": 16, "registers": 1},
            "encoder_size": 16,
            "train_encoder": True,
            "decoder": SMALL_VIT,
            "decoder_hidden": 24,
            "decoder_patch_size": 3,
            "quantizer": {"kind": "dimension_wise", "levels": 8, "low": -3.0, "high": 3.0},
        },
    ),
}
