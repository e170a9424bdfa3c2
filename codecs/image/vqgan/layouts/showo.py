"""Show-o's MAGVIT-v2 (showlab/Show-o @ 45a5a2de01): 13 sign bits, the first channel the highest, and blocks counted level by level.

The authors' class takes no arguments and its `config.json` holds none, so the defaults here are those of its three parts.
"""

from collections.abc import Mapping
from typing import Any

from ....layouts.configs import attention_levels, check_round_trip, decoder_attention_levels, open_config, part, the_quantizer
from ....layouts.diffusers_keys import HUB_KEYS
from ....layouts.fields import Fields
from ....layouts.keymap import Fuse, KeyMap, Rename, Row
from ....layouts.layout import Layout
from ....layouts.vqgan_keys import LEVELS, RESAMPLE, taming_middle
from ....quantizers.lfq import LFQConfig
from ..model import VQGANConfig

_SYSTEM = "showo-magvitv2"
_PUBLISHED = {"encoder": ([1, 2, 2, 4, 4], [4, 3, 4, 3, 4]), "decoder": ([1, 1, 2, 2, 4], [4, 4, 3, 4, 3])}


def _stack(c: Fields, side: str) -> tuple[dict[str, Any], int]:
    """Settings of encoder or decoder, and its `z_channels`."""
    mult, blocks = _PUBLISHED[side]
    width, mult, blocks = c.take("ch", 128), c.take("ch_mult", mult), c.take("num_res_blocks", blocks)
    resolution, wanted = c.take("resolution", 256), c.take("attn_resolutions", [5])
    c.require("in_ch", 3)
    c.require("out_ch", 3)
    c.require("double_z", False)
    z, dropout, levels = c.take("z_channels", 13), float(c.take("dropout", 0.0)), len(mult)
    c.done()
    if len(blocks) != levels:
        raise ValueError(f"{c.name}: num_res_blocks is {blocks}; the {levels} levels of ch_mult need one number each.")
    out = {"widths": [width * m for m in mult], "blocks": list(blocks), "dropout": dropout}
    if side == "encoder":
        return out | {"stem_width": width, "attention_levels": attention_levels(resolution, wanted, levels, range(levels - 1))}, z
    lowest = resolution // 2 ** (levels - 1)
    return out | {"attention_levels": decoder_attention_levels(lowest, wanted, levels, range(1, levels))}, z


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, _SYSTEM)
    c.drop(*HUB_KEYS)
    (encoder, z), (decoder, back) = (_stack(part(c, side, {}), side) for side in ("encoder", "decoder"))
    q = part(c, "quantize", {})
    bits = q.take("codebook_dim", 13)
    q.drop("num_codebook_entry", "beta", "entropy_multiplier", "commit_loss_multiplier")
    q.done()
    c.done()
    if not z == back == bits <= 18:
        raise ValueError(f"{_SYSTEM}: z_channels of both sides ({z}, {back}) and codebook_dim ({bits}) must be equal, and 18 at most.")
    quantizer = {"kind": "lfq", "bits": bits, "bit_order": "msb", "group_bits": bits}
    return {"encoder": encoder, "decoder": decoder, "z_channels": z, "embed_dim": z, "quantizer": quantizer}


def _back(own: VQGANConfig) -> dict[str, Any]:
    """The arguments of the authors' three parts with this network."""
    assert own.decoder is not None
    base, levels = own.encoder.stem_width, len(own.encoder.widths)
    side = {"ch": base, "resolution": 2**levels * 8, "z_channels": own.z_channels}
    parts = {}
    for name, stack in (("encoder", own.encoder), ("decoder", own.decoder)):
        counts = [stack.blocks_at(i) for i in range(len(stack.widths))]
        wanted = [2**levels * 8 // 2**i for i in stack.attention_levels] or [0]
        mult = [w // base for w in stack.widths]
        parts[name] = side | {"ch_mult": mult, "num_res_blocks": counts, "attn_resolutions": wanted, "dropout": stack.dropout}
    out = {"_class_name": "MAGVITv2", **parts, "quantize": {"codebook_dim": the_quantizer(own.quantizer, LFQConfig).bits}}
    return check_round_trip(own, out, _config)


#: The convolutions around the bits lie inside encoder and decoder; tables of codes are computed from the number of bits.
_BETWEEN: tuple[Row, ...] = (("encoder.quant_conv.*", "to_code.*"), ("decoder.post_quant_conv.*", "from_code.*"))
_COMPUTED = ("quantize.{embedding|power_vals}",)


def _keys(own: VQGANConfig) -> KeyMap:
    return KeyMap(Fuse(("q", "k", "v"), "qkv"), Rename([*_BETWEEN, *LEVELS, *RESAMPLE, *taming_middle()], also_drop=_COMPUTED))


LAYOUTS = (
    Layout(
        system=_SYSTEM,
        upstream="showlab/Show-o models/modeling_magvitv2.py MAGVITv2",
        family="vqgan",
        config=_config,
        keys=_keys,
        authors_config=_back,
        files=("config.json", "pytorch_model.safetensors"),
        class_name="MAGVITv2",
    ),
)
