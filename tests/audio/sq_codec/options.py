"""SQ-Codec: the keyword arguments of `ScalarModel`."""

from typing import Any

from layout_options import DROP, Sweep
from lively_audio import lively
from wrapped_states import other


def _published(state: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint of the trainer, with a discriminator."""
    return {"codec_model": state, "mpd": other(state), "optimizer_g": {"state": {}, "param_groups": []}, "iter": 190000}


SWEEPS = {
    "sq-codec": Sweep(
        tiny={
            "num_bands": 1, "sample_rate": 16000, "causal": True, "num_samples": 2, "downsample_factors": [2, 3],
            "downsample_kernel_sizes": [4, 6], "upsample_factors": [3, 2], "upsample_kernel_sizes": [6, 4], "latent_hidden_dim": 5,
            "default_kernel_size": 7, "delay_kernel_size": 5, "init_channel": 4, "res_kernel_size": 7,
        },
        options={
            "as it is": {},
            "nothing averaged": {"num_samples": 1},
            "nothing averaged, as nought": {"num_samples": 0},
            "four samples averaged": {"num_samples": 4},
            "not causal": {"causal": False},
            "not causal, longer kernels": {"causal": False, "upsample_kernel_sizes": [7, 6]},
            "11 values a channel": {"rounding_steps": 5},
            "19 values a channel": {"rounding_steps": 9},
            "three levels": {
                "downsample_factors": [2, 2, 3], "downsample_kernel_sizes": [4, 4, 6], "upsample_factors": [3, 2, 2],
                "upsample_kernel_sizes": [6, 4, 4],
            },
            "other rates down and up": {
                "downsample_factors": [2, 6], "downsample_kernel_sizes": [4, 12], "upsample_factors": [4, 3],
                "upsample_kernel_sizes": [8, 6],
            },
            "many channels of latents": {"latent_hidden_dim": 32},
            "other kernels": {"default_kernel_size": 5, "res_kernel_size": 3},
            "no look-ahead": {"delay_kernel_size": 1},
            "two bands": {"num_bands": 2},
            "wider": {"init_channel": 8},
        },
        refused={
            "a causal kernel that is not twice the stride": ({"upsample_kernel_sizes": [7, 4]}, "twice"),
            "an unknown key": ({"colour": 1}, "colour"),
            "no width": ({"init_channel": DROP}, "init_channel"),
        },
        enliven=lively,
        published=_published,
    ),
}  # fmt: skip
