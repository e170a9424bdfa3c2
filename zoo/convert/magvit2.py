"""Open-MAGVIT2 (SEED-Voken), WeTok and BitDance: one convolutional plan, sign bits in groups.

TencentARC/SEED-Voken @ b9a17eac8e; zhuangshaobin/WeTok @ caa2ad7e70; shallowdream204/BitDance @ 4c5ea90161.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from .authors import open_config, part, unwrap, use_ema
from .base import Converter
from .fields import Fields
from .taming_keys import residual, taming_weights

#: Arguments of the Lightning classes that only training reads.
_TRAINER = (
    "lossconfig ckpt_path ignore_keys image_key colorize_nlabels monitor learning_rate resume_lr warmup_epochs "
    "scheduler_type min_learning_rate use_ema stage lr_drop_epoch lr_drop_rate checkpoint use_shared_epoch sche_type "
    "wpe wp wp0 max_iter wp_iter lr_drop_iter"
).split()


def stacks(c: Fields, *, noise: bool) -> dict[str, Any]:
    """Encoder, decoder and z_channels from `ddconfig`."""
    width, blocks, mult = c.take("ch"), c.take("num_res_blocks"), c.take("ch_mult", [1, 2, 2, 4])
    c.require("in_channels", 3)
    c.require("out_ch", 3)
    c.drop("resolution", "double_z")  # stored, never read
    z = c.take("z_channels")
    c.done()
    common = {"widths": [width * m for m in mult], "blocks": blocks, "middle": ["residual"] * blocks, "bias": False}
    encoder = {**common, "stem_width": width, "resample": "conv_centred", "head_kernel": 1}
    decoder = {**common, "resample": "depth_to_space", "condition": "adaptive", "noise": noise}
    return {"encoder": encoder, "decoder": decoder, "z_channels": z, "embed_dim": 0}


def _quantizer(c: Fields, *, bits: int, per_code: int, groups: int | Sequence[int]) -> dict[str, Any]:
    entropy = {"entropy": "exact"} if per_code == bits else {"entropy": "grouped", "entropy_group_bits": per_code}
    sample = float(c.take("sample_minimization_weight", 1.0))
    batch = float(c.take("batch_maximization_weight", 1.0))
    return {
        "kind": "lfq",
        "bits": bits,
        "bit_order": "lsb",
        "group_bits": groups if isinstance(groups, int) else list(groups),
        **(entropy if per_code <= 20 else {"entropy": "analytic"}),
        "entropy_weight": sample,
        "diversity_gamma": batch / sample if sample else 0.0,
    }


def _bits_of(size: int, system: str) -> int:
    if size < 2 or size & (size - 1):
        raise ValueError(f"{system}: n_embed is {size}; it must be a power of two.")
    return int(math.log2(size))


def _magvit2(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "open-magvit2")
    c.drop(*_TRAINER)
    parts = stacks(part(c, "ddconfig"), noise=False)
    bits = _bits_of(c.take("n_embed"), c.name)
    c.require("embed_dim", bits)  # the class has no projections
    factors, split = c.take("factorized_bits", [9, 9]), c.take("token_factorization", False)
    groups = _factors(c, factors, bits) if split else _ids(bits)
    quantizer = _quantizer(c, bits=bits, per_code=bits, groups=groups)
    c.done()
    return {**parts, "quantizer": quantizer}


def _factors(c: Fields, factors: Sequence[int], bits: int) -> list[int]:
    if sum(factors) != bits:
        raise ValueError(f"{c.name}.factorized_bits is {list(factors)}; its parts must add up to {bits} bits.")
    return list(factors)


def _ids(bits: int) -> int:
    """Bits an id: one id where it is small enough for an embedding table."""
    return bits if bits <= 18 else next(n for n in range(18, 0, -1) if bits % n == 0)


def _wetok(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "wetok")
    c.drop(*_TRAINER)
    parts = stacks(part(c, "ddconfig"), noise=c.take("gan_decoder", False))
    per_code, codebooks = _bits_of(c.take("n_embed"), c.name), c.take("num_codebooks", 1)
    bits = per_code * codebooks
    c.require("embed_dim", bits)
    factors, split = c.take("factorized_bits", [9, 9]), c.take("token_factorization", False)
    grouped = c.take("use_GFQ", False)  # both of its quantizers give the same bits and ids
    if split and not grouped and (codebooks != 1 or len(factors) != 2):
        raise ValueError("wetok: token_factorization without use_GFQ is supported for one codebook in two parts.")
    groups = _factors(c, factors, bits) if split else per_code
    quantizer = _quantizer(c, bits=bits, per_code=per_code, groups=groups)
    c.done()
    return {**parts, "quantizer": quantizer}


def _bitdance(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, "bitdance-ae")
    c.drop(*_TRAINER)
    parts = stacks(part(c, "ddconfig"), noise=c.take("gan_decoder", False))
    c.done()
    return {**parts, "quantizer": {"kind": "sign", "bits": parts["z_channels"]}}


_ADAPTIVE = (
    (r"decoder\.adaptive\.(\d+)\.gamma\.(weight|bias)", r"decoder.levels.\1.adaptive.gain.\2"),
    (r"decoder\.adaptive\.(\d+)\.beta\.(weight|bias)", r"decoder.levels.\1.adaptive.shift.\2"),
)
_MIDDLE = tuple(pair for i in range(16) for pair in residual(rf"mid_block\.{i}", f"middle.{i}"))


def _weights(state: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    state = use_ema(unwrap(state, "state_dict"))
    # masks and tables of codes are computed from the number of bits
    return taming_weights(
        state, middle=_MIDDLE, more=_ADAPTIVE, dropped=(r"quantize\.(mask.*|pre_mask|post_mask|codebook|zero)",)
    )


CONVERTERS: tuple[Converter, ...] = (
    Converter(
        system="open-magvit2",
        upstream="TencentARC/SEED-Voken src/Open_MAGVIT2/models/lfqgan.py VQModel",
        family="vqgan",
        config=_magvit2,
        weights=_weights,
    ),
    Converter(
        system="wetok",
        upstream="zhuangshaobin/WeTok src/WeTok/models/lfqgan.py VQModel",
        family="vqgan",
        config=_wetok,
        weights=_weights,
    ),
    Converter(
        system="bitdance-ae",
        upstream="shallowdream204/BitDance modeling/vision_encoder/autoencoder.py VQModel",
        family="vqgan",
        config=_bitdance,
        weights=_weights,
    ),
)
