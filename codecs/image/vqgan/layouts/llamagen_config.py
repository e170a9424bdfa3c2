"""The fields of LlamaGen's `ModelArgs`, which Janus took over, as config fields."""

from collections.abc import Mapping
from typing import Any

from ....layouts.configs import legacy_vq, open_config, part, training_only
from ....layouts.fields import Fields


def llamagen_config(config: Mapping[str, Any], system: str) -> dict[str, Any]:
    """Fields of `ModelArgs`. Two keys of ours, `encoder` and `decoder`, are for arguments that the class leaves at their defaults."""
    c = open_config(config, system)
    z, dropout = c.take("z_channels", 256), float(c.take("dropout_p", 0.0))
    parts = {"z_channels": z}
    for side in ("encoder", "decoder"):
        parts[side] = _side(c, side, dropout)
    unit = {"normalize": True, "returns": "normalized"} if c.take("codebook_l2_norm", True) else {}
    # here beta weighs the commitment, not the codebook term
    losses = {"commitment_weight": float(c.take("commit_loss_beta", 0.25)), "codebook_weight": 1.0}
    quantizer = legacy_vq(c.take("codebook_size", 16384), 1.0, **unit) | losses
    c.drop("codebook_show_usage")  # a buffer of recent ids, for display
    training_only(c, "entropy_loss_ratio", 0.0)
    embed_dim = c.take("codebook_embed_dim", 8)
    c.done()
    return {**parts, "embed_dim": embed_dim, "quantizer": quantizer}


def _side(c: Fields, side: str, dropout: float) -> dict[str, Any]:
    mult = c.take(f"{side}_ch_mult", [1, 1, 2, 2, 4])
    own = part(c, side, {})
    width, blocks = own.take("ch", 128), own.take("num_res_blocks", 2)
    with_conv = own.take("resamp_with_conv", True)
    own.require("norm_type", "group")
    own.require("in_channels" if side == "encoder" else "out_channels", 3)
    own.done()
    out = {"widths": [width * m for m in mult], "attention_levels": [len(mult) - 1], "dropout": dropout}
    if side == "encoder":
        return out | {"blocks": blocks, "stem_width": width, "resample": "conv" if with_conv else "average"}
    return out | {"blocks": blocks + 1, "resample": "nearest_conv" if with_conv else "nearest"}
