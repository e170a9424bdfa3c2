"""Open-MAGVIT2 (TencentARC/SEED-Voken @ b9a17eac8e): sign bits, as one id or two factors; EMA weights are preferred to raw ones."""

from collections.abc import Mapping
from typing import Any

from ....layouts.configs import open_config, part
from ....layouts.layout import Layout
from .magvit2_parts import TRAINER, bits_of, factors, magvit2_map, magvit2_stacks, sign_bits


def _magvit2(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "open-magvit2")
    c.drop(*TRAINER)
    parts = magvit2_stacks(part(c, "ddconfig"), noise=False)
    bits = bits_of(c)
    c.require("embed_dim", bits)  # the class has no projections
    given, split = c.take("factorized_bits", [9, 9]), c.take("token_factorization", False)
    groups = factors(c, given, bits) if split else _ids(bits)
    quantizer = sign_bits(c, bits=bits, per_code=bits, groups=groups)
    c.done()
    return {**parts, "quantizer": quantizer}


def _ids(bits: int) -> int:
    """Bits of each id: one id if its codes are few enough for an embedding table."""
    return bits if bits <= 18 else next(n for n in range(18, 0, -1) if bits % n == 0)


LAYOUTS = (
    Layout(
        system="open-magvit2",
        upstream="TencentARC/SEED-Voken src/Open_MAGVIT2/models/lfqgan.py VQModel",
        family="vqgan",
        config=_magvit2,
        keys=magvit2_map,
    ),
)
