"""IBQ (TencentARC/SEED-Voken @ b9a17eac8e): taming's layout, one large table with lookup by dot product; EMA weights are preferred."""

from collections.abc import Mapping
from typing import Any

from ....layouts.configs import part
from ....layouts.layout import Layout
from ....layouts.vqgan_keys import taming_map
from .ibq_config import TABLE, ibq_quantizer
from .taming_config import open_taming, taming_stacks


def _ibq(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_taming(config, "ibq", "IBQ")
    parts = taming_stacks(part(c, "ddconfig"))
    quantizer, embed_dim = ibq_quantizer(c), c.take("embed_dim")
    c.done()
    return {**parts, "embed_dim": embed_dim, "quantizer": quantizer}


LAYOUTS = (
    Layout(
        system="ibq",
        upstream="TencentARC/SEED-Voken src/IBQ/models/ibqgan.py IBQ",
        family="vqgan",
        config=_ibq,
        keys=lambda own: taming_map(more=TABLE),
    ),
)
