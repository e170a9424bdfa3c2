"""WeTok (zhuangshaobin/WeTok @ caa2ad7e70): Open-MAGVIT2's architecture, sign bits in groups, a decoder that may take noise."""

from collections.abc import Mapping
from typing import Any

from ....layouts.configs import open_config, part
from ....layouts.layout import Layout
from .magvit2_parts import TRAINER, bits_of, factors, magvit2_map, magvit2_stacks, sign_bits


def _wetok(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "wetok")
    c.drop(*TRAINER)
    parts = magvit2_stacks(part(c, "ddconfig"), noise=c.take("gan_decoder", False))
    per_code, codebooks = bits_of(c), c.take("num_codebooks", 1)
    bits = per_code * codebooks
    c.require("embed_dim", bits)
    given, split = c.take("factorized_bits", [9, 9]), c.take("token_factorization", False)
    grouped = c.take("use_GFQ", False)  # both of its quantizers give the same bits and ids
    if split and not grouped and (codebooks != 1 or len(given) != 2):
        raise ValueError("wetok: token_factorization without use_GFQ is supported for one codebook in two parts.")
    groups = factors(c, given, bits) if split else per_code
    quantizer = sign_bits(c, bits=bits, per_code=per_code, groups=groups)
    c.done()
    return {**parts, "quantizer": quantizer}


LAYOUTS = (
    Layout(
        system="wetok",
        upstream="zhuangshaobin/WeTok src/WeTok/models/lfqgan.py VQModel",
        family="vqgan",
        config=_wetok,
        keys=magvit2_map,
    ),
)
