"""`vqtoken` in tiny form, for tests over all families."""

_MODEL = {"img_size": 12, "patch_size": 4, "embed_dim": 8, "depth": 2, "num_heads": 2}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "vqtoken": (
        "vqtoken",
        {"model": "vit_tiny_patch16_224", "model_options": _MODEL, "published": False, "num_tokens": 6, "least_tokens": 2}
        | {"attention_heads": 2},
    ),
}
