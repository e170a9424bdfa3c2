"""`qwen3_tts` in tiny form, for tests over all families."""

from tiny_parts import SMALL_SEANET, SMALL_TRANSFORMER, SPLIT_RVQ

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "qwen3_tts": (
        "qwen3_tts",
        {
            "sample_rate_hz": 16000,
            "output_rate_hz": 16000,
            "num_codebooks": 3,
            "seanet": SMALL_SEANET,
            "encoder_transformer": SMALL_TRANSFORMER,
            "quantizer": SPLIT_RVQ,
            "code_dim": 8,
            "codebook_size": 16,
            "latent_dim": 6,
            "decoder_transformer": SMALL_TRANSFORMER | {"norm": "rms", "gated": True, "final_norm": True},
            "frame_strides": [2],
            "width": 8,
            "strides": [5, 2],
        },
    ),
}
