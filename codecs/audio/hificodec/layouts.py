"""HiFi-Codec: the JSON of a run; a checkpoint with the state dicts of encoder, quantizer and generator."""

from collections.abc import Mapping
from typing import Any

from ...layouts.fields import FOLDER_KEYS, Fields
from ...layouts.keymap import KeyMap, Rename, Row, Then, WeightNorm, flat
from ...layouts.layout import Layout
from .model import HiFiCodecConfig

#: Residual levels of the quantizer, fixed in the authors' class.
LEVELS = 2

#: Keys of the published JSON that only the trainer reads.
_TRAINING = (
    "num_gpus", "batch_size", "learning_rate", "adam_b1", "adam_b2", "lr_decay", "seed", "segment_size", "num_mels",
    "num_freq", "n_fft", "hop_size", "win_size", "fmin", "fmax", "fmax_for_loss", "num_workers", "dist_config",
)  # fmt: skip


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Our config fields from the authors' JSON. Our key `hard_coded_overrides` replaces the numbers 512 and 32 of the authors' code."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, *_TRAINING)
    fixed = Fields(f.take("hard_coded_overrides", {}), "hard_coded_overrides")
    dim, width = fixed.take("W512", 512), fixed.take("W32", 32)
    fixed.done()
    rates, kernels = f.take("upsample_rates"), f.take("upsample_kernel_sizes")
    if width * 2 ** len(rates) != dim:
        raise ValueError(f"{len(rates)} upsample_rates give {width * 2 ** len(rates)} channels, not {dim}.")
    double = f.take("resblock") == "1"  # as in the authors' code, the number 1 means the other kind
    dilations = [list(d)[: 3 if double else 2] for d in f.take("resblock_dilation_sizes")]  # the blocks read only these
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
            # Differs: the authors take the mean over the levels; here it is the sum
            "commitment_weight": f.take("commitment_loss_lambda", 0.25) / LEVELS,
            "codebook_weight": f.take("codebook_loss_lambda", 1.0) / LEVELS,
        },
    }
    f.done(swallowed=True)  # an attribute dictionary: unused keys are not read
    return out


def _side(theirs: str, ours: str) -> list[Row]:
    parts = (("conv_pre", "stem"), ("conv_post", "head"), ("ups.{}", "levels.{}.conv"))
    return [(f"{theirs}.{a}.{{weight|bias}}", f"{ours}.{b}.{{weight|bias}}") for a, b in parts]


_QUANTIZER: tuple[Row, ...] = (
    ("quantizer.quantizer_modules.{}.embedding.weight", "quantizer.stacks.{}.levels.0.codebook.embed"),
    ("quantizer.quantizer_modules2.{}.embedding.weight", "quantizer.stacks.{}.levels.1.codebook.embed"),
)


def _keys(own: HiFiCodecConfig) -> KeyMap:
    levels, units = len(own.strides), len(own.unit_kernels)
    convs = (("convs1", "dilated"), ("convs2", "plain")) if own.unit == "double" else (("convs", "dilated"),)
    rows = [*_side("encoder", "encoder"), *_side("generator", "decoder"), *_QUANTIZER]
    for i in range(levels * units):  # the authors number the units through all levels
        level, unit = divmod(i, units)
        rows.append((f"encoder.normalize.{i}.*", f"encoder.levels.{level}.norms.{unit}.*"))
        for theirs, ours in (("encoder", "encoder"), ("generator", "decoder")):
            at = f"{ours}.levels.{level}.units.{unit}"
            rows += [(f"{theirs}.resblocks.{i}.{a}.{{}}.*", f"{at}.{b}.{{}}.*") for a, b in convs]
    return KeyMap(Then(flat, dict), WeightNorm(but=("encoder.conv_post.weight",)), Rename(rows))


LAYOUTS = (
    Layout(
        system="hificodec",
        upstream="yangdongchao/AcademiCodec academicodec/models/hificodec/vqvae.py VQVAE",
        family="hificodec",
        config=_config,
        keys=_keys,
    ),
)
