"""diffusers' AutoencoderKL, which has no tokens of its own."""

from image.vqgan.options_diffusers_vq import REFUSED, SIZES, STACKS
from image_cases import enliven
from layout_options import DROP, Sweep

SWEEPS = {
    "diffusers-autoencoderkl": Sweep(
        tiny=SIZES
        | {
            "_class_name": "AutoencoderKL", "_diffusers_version": "0.30.0", "latent_channels": 4, "scaling_factor": 0.5,
            "shift_factor": None, "latents_mean": None, "latents_std": None, "force_upcast": True, "use_quant_conv": True,
            "use_post_quant_conv": True,
        },
        options=STACKS
        | {
            "no maps around the latent": {"use_quant_conv": False, "use_post_quant_conv": False},
            "one map": {"use_quant_conv": False},
            "maps by default": {"use_quant_conv": DROP, "use_post_quant_conv": DROP},
            "a shift": {"shift_factor": 0.3},
            "default scale": {"scaling_factor": DROP},
            "another latent": {"latent_channels": 3},
            "default latent": {"latent_channels": DROP},
        },
        refused=REFUSED | {"means of a video model": ({"latents_mean": [0.0]}, "latents_mean")},
        enliven=enliven,
    )
}  # fmt: skip
