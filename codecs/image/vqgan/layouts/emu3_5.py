"""Emu3.5's vision tokenizer (baaivision/Emu3.5 @ 8fcf1da48f): IBQ as a plain module, without the trainer's parts."""

from collections.abc import Mapping
from typing import Any

from ....layouts.configs import part
from ....layouts.layout import Layout
from ....layouts.vqgan_keys import taming_map
from .ibq_config import TABLE, ibq_quantizer
from .taming_config import open_taming, taming_stacks


def _emu35(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_taming(config, "emu3.5-ibq", "IBQ")
    parts = taming_stacks(part(c, "ddconfig"))
    quantizer, embed_dim = ibq_quantizer(c), c.take("embed_dim")
    c.done(swallowed=True)
    return {**parts, "embed_dim": embed_dim, "quantizer": quantizer}


LAYOUTS = (
    Layout(
        system="emu3.5-ibq",
        upstream="baaivision/Emu3.5 src/vision_tokenizer/ibq.py IBQ",
        family="vqgan",
        config=_emu35,
        keys=lambda own: taming_map(more=TABLE),
    ),
)
