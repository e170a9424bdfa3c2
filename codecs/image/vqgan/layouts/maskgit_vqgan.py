"""The MaskGIT-VQGAN as bytedance/1d-tokenizer @ 942a96fbdd publishes it."""

from collections.abc import Mapping
from typing import Any

from ....layouts.configs import legacy_vq, open_config
from ....layouts.keymap import KeyMap, Rename, Unwrap
from ....layouts.layout import Layout
from ....layouts.maskgit_keys import maskgit_rows, maskgit_stacks
from ....layouts.vqgan_keys import TABLE


def _maskgit(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "maskgit-vqgan")
    parts = maskgit_stacks(c)
    size, dim = c.take("num_embeddings", 1024), c.take("embedding_dim", 256)
    if dim != parts["z_channels"]:
        raise ValueError(f"maskgit-vqgan: embedding_dim {dim} and z_channels {parts['z_channels']} must be equal.")
    # the authors' cost factor weighs the codebook term
    quantizer = legacy_vq(size, float(c.take("commitment_cost", 0.25)))
    c.done()
    return {**parts, "embed_dim": 0, "quantizer": quantizer, "value_range": [0.0, 1.0]}


LAYOUTS = (
    Layout(
        system="maskgit-vqgan",
        upstream="bytedance/1d-tokenizer modeling/titok.py PretrainedTokenizer",
        family="vqgan",
        config=_maskgit,
        keys=lambda own: KeyMap(Unwrap("state_dict"), Rename([*maskgit_rows(), *TABLE])),
    ),
)
