"""`flextok` in tiny form, for tests over all families."""

from tiny_parts import SMALL_VAE

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "flextok": (
        "flextok",
        {
            "image_size": [16, 16],
            "vae": SMALL_VAE | {"layers_per_block": 1},
            "encoder": {"width": 16, "layers": 1, "head_width": 8},
            "decoder": {"width": 16, "layers": 1, "head_width": 8},
            "num_registers": 6,
            "quantizer": {"kind": "fsq", "levels": [63, 63, 15]},
            "latent_dim": 3,
            "condition": {"null_probability": 0.3, "drop_sampling": "uniform"},
            "time_frequencies": 8,
            "zero_init": False,
        },
    ),
}
