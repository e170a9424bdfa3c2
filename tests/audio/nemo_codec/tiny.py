"""`nemo_codec` in tiny form, for tests over all families."""

SMALL_NEMO = {"unit_kernels": [3, 5], "unit_dilations": [1, 2]}  # fine levels: untrained latents are small
SMALL_NEMO_CAUSAL = {
    "encoder": SMALL_NEMO | {"strides": [2, 5], "width": 4, "activation": "snake", "causal": True},
    "decoder": SMALL_NEMO | {"strides": [5, 2], "width": 16, "activation": "half_snake", "causal": True, "grouped": True},
    "output": "clamp",
    "quantizer": {"kind": "grouped_fsq", "num_groups": 2, "levels": [401, 400]},
}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "nemo": (
        "nemo_codec",
        {
            "encoder": SMALL_NEMO | {"strides": [2, 5], "width": 4},
            "decoder": SMALL_NEMO | {"strides": [5, 2], "width": 16},
            "quantizer": {"kind": "grouped_fsq", "num_groups": 2, "levels": [401, 400]},
        },
    ),
    "nemo-causal": ("nemo_codec", SMALL_NEMO_CAUSAL),
}
