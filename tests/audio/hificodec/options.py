"""HiFi-Codec: the JSON of a run. Two numbers in the authors' code are overridden: 512 and 32 would not be tiny."""

from typing import Any

from layout_options import DROP, Sweep
from lively_audio import lively


def _published(state: dict[str, Any]) -> dict[str, Any]:
    """Three state dicts side by side."""
    parts: dict[str, Any] = {"generator": {}, "encoder": {}, "quantizer": {}}
    for key, value in state.items():
        part, _, name = key.partition(".")
        parts[part][name] = value
    return parts


SWEEPS = {
    "hificodec": Sweep(
        tiny={
            "hard_coded_overrides": {"W512": 32, "W32": 8}, "resblock": "1", "num_gpus": 8, "batch_size": 64, "learning_rate": 0.0002,
            "adam_b1": 0.5, "adam_b2": 0.9, "lr_decay": 0.98, "seed": 1234, "upsample_rates": [5, 2], "upsample_kernel_sizes": [11, 4],
            "upsample_initial_channel": 16, "resblock_kernel_sizes": [3, 5], "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5]],
            "segment_size": 16000, "num_mels": 80, "num_freq": 1025, "n_fft": 1024, "hop_size": 200, "win_size": 800,
            "sampling_rate": 16000, "n_code_groups": 2, "n_codes": 16, "codebook_loss_lambda": 1.0, "commitment_loss_lambda": 0.25,
            "fmin": 0, "fmax": 8000, "fmax_for_loss": None, "num_workers": 12,
            "dist_config": {"dist_backend": "nccl", "dist_url": "tcp://localhost:54321", "world_size": 1},
        },
        options={
            "as it is": {},
            "single units": {"resblock": "2"},
            "a number names the single units too": {"resblock": 1},
            "single units of two dilations": {"resblock": "2", "resblock_dilation_sizes": [[1, 3], [1, 3]]},
            "one kernel": {"resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3, 5]]},
            "three kernels": {"resblock_kernel_sizes": [3, 7, 11], "resblock_dilation_sizes": [[1, 3, 5]] * 3},
            "dilations that differ": {"resblock_dilation_sizes": [[1, 2, 3], [1, 3, 9]]},
            "three levels": {
                "hard_coded_overrides": {"W512": 64}, "upsample_rates": [3, 2, 2], "upsample_kernel_sizes": [7, 4, 4],
            },
            "even and odd kernels": {"upsample_rates": [4, 3], "upsample_kernel_sizes": [8, 7]},
            "one group": {"n_code_groups": 1},
            "four groups": {"n_code_groups": 4},
            "a larger codebook": {"n_codes": 40},
            "a wide decoder": {"upsample_initial_channel": 32},
            "other weights of losses": {"codebook_loss_lambda": 2.0, "commitment_loss_lambda": 1.0},
            "another rate": {"sampling_rate": 24000},
        },
        refused={
            "rates that do not lead to the fixed width": ({"upsample_rates": [5, 2, 2]}, "not 32"),
            "no rates": ({"upsample_rates": DROP}, "upsample_rates"),
        },
        enliven=lively,
        published=_published,
    ),
}  # fmt: skip

