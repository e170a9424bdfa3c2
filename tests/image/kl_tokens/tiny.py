"""`kl_tokens` in tiny form, for tests over all families."""

from tiny_parts import SMALL_STACK

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "kl_tokens": (
        "kl_tokens",
        {"encoder": SMALL_STACK | {"stem_width": 4}, "decoder": SMALL_STACK, "latent_dim": 3}
        | {"quantizer": {"kind": "dimension_wise", "levels": 8, "low": -0.3, "high": 0.3}},
    ),
}
