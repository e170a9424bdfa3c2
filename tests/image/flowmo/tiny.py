"""`flowmo` in tiny form, for tests over all families."""

from tiny_parts import RVQ

_STACK = {"width": 16, "layers": 2, "heads": 2, "hidden": 16, "axes": [2, 2, 4], "zero_init": False}
_TINY = {
    "image_size": 16, "patch_size": 4, "num_tokens": 6, "token_dim": 6, "group_bits": 3, "steps": 2, "encoder": _STACK,
    "decoder": _STACK | {"layers": 1},
}  # fmt: skip

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "flowmo": (
        "flowmo",
        _TINY | {"quantizer": {"kind": "lfq", "bits": 6, "group_bits": 3, "entropy": "grouped", "entropy_group_bits": 3}},
    ),
    "flowmo-rvq": ("flowmo", _TINY | {"null_probability": 0.0, "guidance": 1.0, "quantizer": RVQ}),
}
