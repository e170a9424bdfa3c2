"""`iter` in tiny form, for tests over all families."""

from tiny_parts import BASE_VQGAN, SMALL_STACK

_SWIN = {"width": 16, "stacks": 1, "depth": 2, "window": 2, "heads": 2}
_STACK = SMALL_STACK | {"attention_levels": [], "widths": [4, 8, 8]}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "iter": (
        "iter",
        {
            "base": BASE_VQGAN | {"encoder": _STACK | {"stem_width": 4}, "decoder": _STACK},
            "encoder": {"scale": 2, "stem_width": 8, "swin": _SWIN},
            "refinement": {"swin": _SWIN, "steps": 3},
        },
    ),
}
