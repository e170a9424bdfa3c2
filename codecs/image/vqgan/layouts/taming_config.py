"""taming's `ddconfig` and the arguments of its Lightning classes, which IBQ and Emu3.5 took over, as config fields."""

from collections.abc import Mapping
from typing import Any

from ....layouts.configs import attention_levels, decoder_attention_levels, open_config
from ....layouts.fields import Fields

#: Arguments of the Lightning classes that are used in training only.
TRAINER = (
    "lossconfig ckpt_path ignore_keys image_key colorize_nlabels monitor batch_resize_range scheduler_config "
    "lr_g_factor learning_rate resume_lr warmup_epochs scheduler_type min_learning_rate gradient_clip_val "
    "lr_drop_epoch lr_drop_rate use_ema stage sane_index_shape temperature_scheduler_config use_shared_epoch "
    "sche_type wpe wp wp0 max_iter wp_iter lr_drop_iter checkpoint"
).split()


def taming_stacks(c: Fields) -> dict[str, Any]:
    """Encoder, decoder and z_channels from a `ddconfig`; keys that the authors' encoder accepts and ignores give a warning."""
    width, blocks, dropout = c.take("ch"), c.take("num_res_blocks"), c.take("dropout", 0.0)
    mult, resolution, wanted = c.take("ch_mult", [1, 2, 4, 8]), c.take("resolution"), c.take("attn_resolutions")
    with_conv = c.take("resamp_with_conv", True)
    c.require("in_channels", 3)
    c.require("out_ch", 3)
    c.require("give_pre_end", False)
    c.require("double_z", False)  # taming's own default is True, which its VQ models cannot take
    z = c.take("z_channels")
    c.done(swallowed=True)
    levels = len(mult)
    common = {"widths": [width * m for m in mult], "dropout": float(dropout)}
    encoder = {
        **common,
        "stem_width": width,
        "blocks": blocks,
        "resample": "conv" if with_conv else "average",
        "attention_levels": attention_levels(resolution, wanted, levels, range(levels - 1)),
    }
    decoder = {
        **common,
        "blocks": blocks + 1,
        "resample": "nearest_conv" if with_conv else "nearest",
        "attention_levels": decoder_attention_levels(resolution // 2 ** (levels - 1), wanted, levels, range(1, levels)),
    }
    return {"encoder": encoder, "decoder": decoder, "z_channels": z}


def open_taming(config: Mapping[str, Any], system: str, *classes: str) -> Fields:
    """The arguments of one of the Lightning classes `classes`, without those used in training only."""
    source = config.get("source")
    name = source.get("class", classes[0]) if isinstance(source, Mapping) else classes[0]
    if name not in classes:
        raise ValueError(f"{system}: the class {name!r} is not supported; {' or '.join(classes)} is.")
    c = open_config(config, system)
    if c.take("remap", None) is not None:
        raise ValueError(f"{system}: remap tables of indices are not supported; load without one.")
    c.drop("unknown_index", *TRAINER)
    return c


def taming_ddconfig(own: Any) -> dict[str, Any]:
    """The `ddconfig` of our config, inverse of `taming_stacks`; the caller checks that it reads back equal."""
    e = own.encoder
    resolution = 2 ** len(e.widths) * 8  # without effect where no level has attention
    return {
        "double_z": False,
        "z_channels": own.z_channels,
        "resolution": resolution,
        "in_channels": 3,
        "out_ch": 3,
        "ch": e.stem_width,
        "ch_mult": [w // e.stem_width for w in e.widths],
        "num_res_blocks": e.blocks,
        "attn_resolutions": [resolution // 2**i for i in e.attention_levels],
        "dropout": e.dropout,
        "resamp_with_conv": e.resample == "conv",
    }
