"""HiFi-Codec: the JSON of a run; encoder, quantizer and generator in one state dict (the checkpoint holds three)."""

from collections.abc import Mapping
from typing import Any

from .base import Converter, flat, fold_weight_norm, rename
from .fields import FOLDER_KEYS, Fields

#: Residual levels of the quantizer, fixed in the authors' class.
LEVELS = 2

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
    out = {
        "sample_rate_hz": f.take("sampling_rate"),
        "strides": list(reversed(rates)),
        "stride_kernels": list(reversed(kernels)),
        "encoder_width": width,
        "decoder_width": f.take("upsample_initial_channel"),
        "unit_kernels": f.take("resblock_kernel_sizes"),
        "unit_dilations": dilations,
        "unit": "double" if double else "single",
        "quantizer": {
            "kind": "grouped_vq",
            "groups": f.take("n_code_groups"),
            "levels": LEVELS,
            "codebook_size": f.take("n_codes"),
            "update": "gradient",
            "kmeans_init": False,
            "replace_below": 0.0,
            # the authors take the mean over the levels, we the sum
            "commitment_weight": f.take("commitment_loss_lambda", 0.25) / LEVELS,
            "codebook_weight": f.take("codebook_loss_lambda", 1.0) / LEVELS,
        },
    }
    f.done()
    return out


_UNIT = (("convs1", "dilated"), ("convs2", "plain"), ("convs", "dilated"))  # the last: the single kind


def _table(own: Mapping[str, Any]) -> list[tuple[str, str]]:
    levels, units = len(own["strides"]), len(own["unit_kernels"])
    table = [
        (r"encoder\.conv_pre\.(weight|bias)", r"encoder.stem.\1"),
        (r"encoder\.conv_post\.(weight|bias)", r"encoder.head.\1"),
        (r"encoder\.ups\.(\d+)\.(weight|bias)", r"encoder.levels.\1.conv.\2"),
        (r"generator\.conv_pre\.(weight|bias)", r"decoder.stem.\1"),
        (r"generator\.conv_post\.(weight|bias)", r"decoder.head.\1"),
        (r"generator\.ups\.(\d+)\.(weight|bias)", r"decoder.levels.\1.conv.\2"),
        (r"quantizer\.quantizer_modules\.(\d+)\.embedding\.weight", r"quantizer.stacks.\1.levels.0.codebook.embed"),
        (r"quantizer\.quantizer_modules2\.(\d+)\.embedding\.weight", r"quantizer.stacks.\1.levels.1.codebook.embed"),
    ]
    for side, ours in (("encoder", "encoder"), ("generator", "decoder")):
        for i in range(levels * units):  # the authors number the units through all levels
            at = f"{ours}.levels.{i // units}"
            for a, b in _UNIT:
                key = rf"{side}\.resblocks\.{i}\.{a}\.(\d+)\.(weight|bias)"
                table.append((key, rf"{at}.units.{i % units}.{b}.\1.\2"))
            if side == "encoder":
                table.append((rf"encoder\.normalize\.{i}\.(weight|bias)", rf"{at}.norms.{i % units}.\1"))
    return table


CONVERTERS = (
    Converter(
        system="hificodec",
        upstream="yangdongchao/AcademiCodec VQVAE",
        family="hificodec",
        config=_config,
        weights=lambda state, config: rename(fold_weight_norm(flat(state)), _table(_config(config))),
    ),
)
