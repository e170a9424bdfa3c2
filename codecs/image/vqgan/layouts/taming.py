"""taming-transformers' VQModel and GumbelVQ: the VQGANs of the ImageNet, OpenImages and Chameleon checkpoints.

CompVis/taming-transformers @ 3ba01b2416; the same classes in facebookresearch/chameleon @ e3b711ef63.
"""

from collections.abc import Mapping
from typing import Any

from ....layouts.configs import check_round_trip, legacy_vq, part, the_quantizer
from ....layouts.keymap import KeyMap, Row, pointwise
from ....layouts.layout import Layout
from ....layouts.vqgan_keys import taming_map
from ....quantizers.vq import VQConfig
from ..model import VQGANConfig
from .taming_config import open_taming, taming_ddconfig, taming_stacks


def _vqgan(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_taming(config, "taming-vqgan", "VQModel", "VQNoDiscModel")
    parts = taming_stacks(part(c, "ddconfig"))
    quantizer = legacy_vq(c.take("n_embed"), 0.25)
    embed_dim = c.take("embed_dim")
    c.done()
    return {**parts, "embed_dim": embed_dim, "quantizer": quantizer}


def _vqgan_back(own: VQGANConfig) -> dict[str, Any]:
    """The authors' arguments (`model.params` of their YAML) from our config fields."""
    size = the_quantizer(own.quantizer, VQConfig).codebook_size
    out = {"ddconfig": taming_ddconfig(own), "n_embed": size, "embed_dim": own.embed_dim}
    return check_round_trip(own, out, _vqgan)


def _gumbel(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_taming(config, "taming-gumbel", "GumbelVQ")
    parts = taming_stacks(part(c, "ddconfig"))
    embed_dim = c.take("embed_dim")
    if embed_dim != parts["z_channels"]:
        raise ValueError(f"taming-gumbel: embed_dim {embed_dim} and z_channels {parts['z_channels']} must be equal.")
    quantizer = {"kind": "gumbel", "codebook_size": c.take("n_embed"), "kl_weight": float(c.take("kl_weight", 1e-8))}
    c.done()
    return {**parts, "embed_dim": embed_dim, "quantizer": quantizer}


_GUMBEL: tuple[Row, ...] = (
    ("quantize.proj.*", "quantizer.scores.*"),
    ("quantize.embed.weight", "quantizer.embed"),
)


def _gumbel_keys(own: VQGANConfig) -> KeyMap:
    return KeyMap(*taming_map(more=_GUMBEL).steps, pointwise("quantizer.scores.weight", axes=2))


LAYOUTS = (
    Layout(
        system="taming-vqgan",
        upstream="CompVis/taming-transformers taming/models/vqgan.py VQModel",
        family="vqgan",
        config=_vqgan,
        keys=lambda own: taming_map(),
        authors_config=_vqgan_back,
    ),
    Layout(
        system="taming-gumbel",
        upstream="CompVis/taming-transformers taming/models/vqgan.py GumbelVQ",
        family="vqgan",
        config=_gumbel,
        keys=_gumbel_keys,
    ),
)
