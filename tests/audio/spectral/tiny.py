"""`spectral` in tiny form, for tests over all families."""

from tiny_parts import RVQ

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "spectral": (
        "spectral",
        {"width": 8, "encoder_blocks": 1, "decoder_blocks": 1, "hop_samples": 20, "window_samples": 40, "latent_dim": 6}
        | {"quantizer": RVQ},
    ),
    "spectral-causal": (
        "spectral",
        {"width": 8, "encoder_blocks": 1, "decoder_blocks": 1, "hop_samples": 20, "window_samples": 40, "latent_dim": 6}
        | {"quantizer": RVQ, "causal": True},
    ),
    "spectral-rms": (
        "spectral",
        {"width": 8, "encoder_blocks": 1, "decoder_blocks": 1, "hop_samples": 20, "window_samples": 80, "latent_dim": 6}
        | {"quantizer": RVQ, "normalize": "rms"},
    ),
}
