"""`cosmos_dv` in tiny form, for tests over all families."""

_NETWORKS = {
    "widths": [8, 8], "stem_width": 4, "blocks": 1, "attention_levels": [0], "latent_dim": 8, "patch_size": 2,
    "space_factor": 4, "time_factor": 2,
}  # fmt: skip

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "cosmos-dv": (
        "cosmos_dv",
        {"networks": _NETWORKS, "code_dim": 4, "quantizer": {"kind": "fsq", "levels": [5, 5, 4, 4]}},
    ),
}
