"""`emu3` in tiny form, for tests over all families."""

from tiny_parts import SMALL_STACK

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "emu3": (
        "emu3",
        {"encoder": SMALL_STACK | {"stem_width": 4}, "decoder": SMALL_STACK | {"condition": "spatial"}, "time_blocks": 1}
        | {"latent_dim": 4, "quantizer": {"kind": "vq", "codebook_size": 16, "update": "gradient"}},
    ),
}
