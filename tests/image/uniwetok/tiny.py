"""`uniwetok` in tiny form, for tests over all families."""

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "uniwetok": (
        "uniwetok",
        {"widths": [32, 32], "blocks": 1, "attention": {"blocks": 1, "heads": 4, "registers": 2}, "latent_dim": 20}
        | {"quantizer": {"kind": "sign", "bits": 20}},
    ),
}
