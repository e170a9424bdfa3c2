"""BitDance's autoencoder (shallowdream204/BitDance @ 4c5ea90161): Open-MAGVIT2's architecture, one sign bit a channel."""

from collections.abc import Mapping
from typing import Any

from ....layouts.configs import open_config, part
from ....layouts.layout import Layout
from .magvit2_parts import TRAINER, magvit2_map, magvit2_stacks


def _bitdance(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "bitdance-ae")
    c.drop(*TRAINER)
    parts = magvit2_stacks(part(c, "ddconfig"), noise=c.take("gan_decoder", False))
    c.done()
    return {**parts, "quantizer": {"kind": "sign", "bits": parts["z_channels"]}}


LAYOUTS = (
    Layout(
        system="bitdance-ae",
        upstream="shallowdream204/BitDance modeling/vision_encoder/autoencoder.py VQModel",
        family="vqgan",
        config=_bitdance,
        keys=magvit2_map,
    ),
)
