"""SBER-MoVQGAN (ai-forever/MoVQGAN @ f3976d8752): taming's encoder, a decoder whose norms take gain and shift from the code.

A training's averages (`ema_*`) are left out, since the authors' own loader takes the weights beside them; the published files hold one
set of weights.
"""

from collections.abc import Mapping
from typing import Any

from ....layouts import movq_keys
from ....layouts.configs import check_round_trip, legacy_vq, part, the_quantizer
from ....layouts.keymap import Fuse, KeyMap, Rename, Unwrap
from ....layouts.layout import Layout
from ....layouts.vqgan_keys import LIGHTNING, OUTER, TABLE
from ....quantizers.vq import VQConfig
from ..model import VQGANConfig
from .taming_config import open_taming, taming_ddconfig, taming_stacks

_SYSTEM = "movqgan"


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_taming(config, _SYSTEM, "MOVQ")
    c.drop("ema_decay")
    parts = taming_stacks(part(c, "ddconfig"))
    parts["decoder"] |= {"condition": "spatial"}
    quantizer = legacy_vq(c.take("n_embed"), 0.25)
    embed_dim = c.take("embed_dim")
    c.done()
    return {**parts, "embed_dim": embed_dim, "quantizer": quantizer}


def _back(own: VQGANConfig) -> dict[str, Any]:
    """The arguments of the authors' class (`model.params` of their YAML) with this network."""
    size = the_quantizer(own.quantizer, VQConfig).codebook_size
    out = {"ddconfig": taming_ddconfig(own), "n_embed": size, "embed_dim": own.embed_dim}
    return check_round_trip(own, out, _config)


_AVERAGES = "ema_{encoder|decoder|quantize|quant_conv|post_quant_conv}.**"


def _keys(own: VQGANConfig) -> KeyMap:
    rows = [*movq_keys.stacks(), *OUTER[-2:], *TABLE]
    return KeyMap(Unwrap("state_dict"), Fuse(("q", "k", "v"), "qkv"), Rename(rows, also_drop=(_AVERAGES, *LIGHTNING)))


LAYOUTS = (
    Layout(
        system=_SYSTEM,
        upstream="ai-forever/MoVQGAN movqgan/models/vqgan.py MOVQ",
        family="vqgan",
        config=_config,
        keys=_keys,
        authors_config=_back,
    ),
)
