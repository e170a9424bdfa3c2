"""`convnet` in tiny form, for tests over all families."""

from tiny_parts import RVQ

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "convnet": (
        "convnet",
        {"patch_size": 2, "widths": [8, 8], "encoder_blocks": [1, 1], "decoder_blocks": [1, 1], "latent_dim": 6} | {"quantizer": RVQ},
    ),
    "convnet-groupnorm-fsq": (
        "convnet",
        {"patch_size": 1, "widths": [8, 8], "encoder_blocks": [0, 1], "decoder_blocks": [1, 1], "latent_dim": 6}
        | {"norm": "group", "quantizer": {"kind": "fsq", "levels": [5, 4, 3]}},
    ),
}
