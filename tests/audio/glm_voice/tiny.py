"""`glm_voice` in tiny form, for tests over all families."""

SMALL_GLM = {
    "bands": 8, "width": 16, "heads": 2, "hidden": 16, "layers": 2, "pool": 2, "pool_after": 1, "table": 24, "block": 8,
    "piece_samples": 7680, "quantizer": {"kind": "vq", "codebook_size": 16},
}  # fmt: skip

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "glm-voice": ("glm_voice", SMALL_GLM),
    "glm-voice-full": ("glm_voice", SMALL_GLM | {"attention": "full", "causal_stem": False, "pooling": "max", "pool_after": 2}),
}
