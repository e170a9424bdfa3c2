"""HiFi-Codec: the JSON of a run; encoder, quantizer and generator in one state dict (the checkpoint holds three)."""

from collections.abc import Mapping
from typing import Any

from .fields import FOLDER_KEYS, Fields

#: What the published JSON holds for the trainer.
_TRAINING = (
    "num_gpus", "batch_size", "learning_rate", "adam_b1", "adam_b2", "lr_decay", "seed", "segment_size", "num_mels",
    "num_freq", "n_fft", "hop_size", "win_size", "fmin", "fmax", "fmax_for_loss", "num_workers", "dist_config",
)  # fmt: skip


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, *_TRAINING)
    fixed = Fields(f.take("hard_coded_overrides", {}), "hard_coded_overrides")
    dim, width = fixed.take("W512", 512), fixed.take("W32", 32)
    fixed.done()
    rates, kernels = f.take("upsample_rates"), f.take("upsample_kernel_sizes")
    if width * 2 ** len(rates) != dim:
        raise ValueError(f"{len(rates)} upsample_rates give {width * 2 ** len(rates)} channels, not {dim}.")
    double = str(f.take("resblock")) == "1"
    dilations = [list(d)[: 3 if double else 2] for d in f.take("resblock_dilation_sizes")]  # the blocks read no more
    groups, size = f.take("n_code_groups"), f.take("n_codes")
    out = {
        "sample_rate_hz": f.take("sampling_rate"),
        "strides": list(reversed(rates)),
        "stride_kernels": list(reversed(kernels)),
        "encoder_width": width,
        "decoder_width": f.take("upsample_initial_channel"),
        "unit_kernels": f.take("resblock_kernel_sizes"),
        "unit_dilations": dilations,
        "unit": "double" if double else "single",
        "quantizer": _quantizer(groups, size, f.take("commitment_loss_lambda", 0.25), f.take("codebook_loss_lambda", 1.0)),
    }
    f.done()
    return out
