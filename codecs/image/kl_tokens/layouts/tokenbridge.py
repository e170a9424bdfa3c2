"""TokenBridge: MAR's KL-16 autoencoder and the quantizer over it (YuqingWang1029/TokenBridge @ 3ede281825)."""

from collections.abc import Mapping
from typing import Any

from ....layouts.configs import attention_levels, decoder_attention_levels, open_config, part
from ....layouts.keymap import KeyMap, Rename
from ....layouts.layout import Layout
from ....layouts.ranges import range_of_config
from ....layouts.vqgan_keys import taming_map
from ....quantizers.dimension_wise import DimensionWiseConfig
from ..model import KLTokensConfig


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "tokenbridge")
    c.drop("ckpt_path")
    dim, mult = c.take("embed_dim", 16), c.take("ch_mult", [1, 1, 2, 2, 4])
    out: dict[str, Any] = {"latent_dim": dim, "variational": c.take("use_variational", True)}
    for side in ("encoder", "decoder"):
        own = part(c, side, {})  # the published class passes ch_mult and z_channels alone
        own_mult, width, blocks = own.take("ch_mult", mult), own.take("ch", 128), own.take("num_res_blocks", 2)
        wanted = own.take("attn_resolutions", [16] if side == "encoder" else [])
        size, levels, conv = own.take("resolution", 256), len(own_mult), own.take("resamp_with_conv", True)
        own.require("z_channels", dim)
        own.require("in_channels", 3)
        own.require("out_ch", 3)
        own.require("double_z", True)
        own.require("give_pre_end", False)
        out[side] = {"widths": [width * m for m in own_mult], "dropout": float(own.take("dropout", 0.0))}
        own.done()
        if side == "encoder":
            found = attention_levels(size, wanted, levels, range(levels - 1))
            more = {"stem_width": width, "blocks": blocks, "resample": "conv" if conv else "average"}
        else:
            found = decoder_attention_levels(size // 2 ** (levels - 1), wanted, levels, range(1, levels))
            more = {"blocks": blocks + 1, "resample": "nearest_conv" if conv else "nearest"}
        out[side] |= {**more, "attention_levels": found}
    q = part(c, "quantizer", {})
    bits = q.take("bits", 6)
    if bits < 1:
        raise ValueError(f"tokenbridge.quantizer.bits is {bits}; without a quantizer there are no tokens.")
    out["quantizer"] = {
        "kind": "dimension_wise",
        "levels": 2**bits,
        "low": float(q.take("min_range", -5.0)),
        "high": float(q.take("max_range", 5.0)),
        "sigmas": float(q.take("std_range", 3.0)),
    }
    q.done()
    out["latent_scale"] = float(c.take("latent_scale", 0.2325))
    c.done()
    return out


def _keys(own: KLTokensConfig) -> KeyMap:
    assert isinstance(own.quantizer, DimensionWiseConfig)
    names = Rename([("to_code.*", "to_posterior.*"), ("from_code.*", "from_latent.*")], keep_unknown=True)
    return KeyMap(*taming_map(unwrap=("model", "state_dict"), more=()).steps, names, range_of_config(own.quantizer, own.latent_dim))


LAYOUTS = (
    Layout(
        system="tokenbridge",
        upstream="YuqingWang1029/TokenBridge models/vae.py AutoencoderKL, reconstruction.py post_training_quantize",
        family="kl_tokens",
        config=_config,
        keys=_keys,
    ),
)
