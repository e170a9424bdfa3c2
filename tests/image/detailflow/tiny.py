"""`detailflow` in tiny form, for tests over all families."""

from tiny_parts import UNIT_VQ

_PART = {"width": 16, "layers": 1, "heads": 2, "hidden": 24, "table": 3}
_TINY = {
    "image_size": 16,
    "patch_size": 4,
    "encoder": _PART | {"causal": True},
    "decoder": _PART,
    "num_tokens": 8,
    "group_size": 2,
    "first_tokens": 2,
    "latent_dim": 4,
    "quantizer": UNIT_VQ,
}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "detailflow": ("detailflow", _TINY),
    "detailflow-causal": ("detailflow", _TINY | {"decoder": _PART | {"causal": True}, "first_tokens": 4}),
}
