"""`comit` in tiny form, for tests over all families."""

from tiny_parts import SMALL_VAE

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "comit": (
        "comit",
        {
            "image_size": [16, 16],
            "vae": SMALL_VAE | {"layers_per_block": 1},
            "vae_scale": 0.8,
            "network": {"width": 16, "layers": 2, "heads": 2, "time_frequencies": 8, "zero_init": False},
            "num_tokens": 6,
            "latent_dim": 3,
            "quantizer": {"kind": "fsq", "levels": [63, 63, 15]},
            "crop_size": 8,
            "crop_grid": 2,
            "null_probability": 0.3,
            "feature_layer": 0,
        },
    ),
}
