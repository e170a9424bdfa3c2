"""`instella` in tiny form, for tests over all families."""

from tiny_parts import SMALL_VIT

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "instella": (
        "instella",
        {"patch_size": 4, "num_latents": 5, "encoder": SMALL_VIT | {"layers": 2}, "decoder": SMALL_VIT | {"layers": 2}}
        | {"rope_axes": [2, 2, 4], "down_after": [0], "up_after": [0], "position_scale": 64, "feature_dim": 3}
        | {"feature_after": 0, "quantizer": {"kind": "bernoulli", "bits": 12}},
    ),
}
