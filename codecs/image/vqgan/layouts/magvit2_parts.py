"""Open-MAGVIT2's convolutional architecture, also in WeTok and BitDance: its config, its sign bits, its key table."""

import math
from collections.abc import Sequence
from typing import Any

from ....layouts.fields import Fields
from ....layouts.keymap import KeyMap, Row
from ....layouts.vqgan_keys import residual, taming_map

#: Arguments of the Lightning classes that are used in training only.
TRAINER = (
    "lossconfig ckpt_path ignore_keys image_key colorize_nlabels monitor learning_rate resume_lr warmup_epochs "
    "scheduler_type min_learning_rate use_ema stage lr_drop_epoch lr_drop_rate checkpoint use_shared_epoch sche_type "
    "wpe wp wp0 max_iter wp_iter lr_drop_iter"
).split()


def magvit2_stacks(c: Fields, *, noise: bool) -> dict[str, Any]:
    """Encoder, decoder and z_channels from `ddconfig`."""
    width, blocks, mult = c.take("ch"), c.take("num_res_blocks"), c.take("ch_mult", [1, 2, 2, 4])
    c.require("in_channels", 3)
    c.require("out_ch", 3)
    c.drop("resolution", "double_z")  # stored, but unused
    z = c.take("z_channels")
    c.done()
    common = {"widths": [width * m for m in mult], "blocks": blocks, "middle": ["residual"] * blocks, "bias": False}
    encoder = {**common, "stem_width": width, "resample": "conv_centred", "head_kernel": 1}
    decoder = {**common, "resample": "depth_to_space", "condition": "adaptive", "noise": noise}
    return {"encoder": encoder, "decoder": decoder, "z_channels": z, "embed_dim": 0}


def sign_bits(c: Fields, *, bits: int, per_code: int, groups: int | Sequence[int]) -> dict[str, Any]:
    """The quantizer's config: `bits` sign bits, `per_code` of them in each code of the entropy term, `groups` of them in each id."""
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


def bits_of(c: Fields, key: str = "n_embed") -> int:
    """Bits of a number of codes; ValueError if it is not a power of two."""
    size = c.take(key)
    if size < 2 or size & (size - 1):
        raise ValueError(f"{c.name}: {key} is {size}; it must be a power of two.")
    return int(math.log2(size))


def factors(c: Fields, given: Sequence[int], bits: int) -> list[int]:
    """Bits of each id if the authors split one id into several."""
    if sum(given) != bits:
        raise ValueError(f"{c.name}.factorized_bits is {list(given)}; its parts must add up to {bits} bits.")
    return list(given)


#: Rows of the convolutions that change the resolution.
RESAMPLE: tuple[Row, ...] = (
    ("encoder.down.{}.downsample.*", "encoder.levels.{}.resample.conv.*"),
    ("decoder.up.{}.upsample.conv1.*", "decoder.levels.{}.resample.conv.*"),
)
_ADAPTIVE: tuple[Row, ...] = (
    ("decoder.adaptive.{}.gamma.*", "decoder.levels.{}.adaptive.gain.*"),
    ("decoder.adaptive.{}.beta.*", "decoder.levels.{}.adaptive.shift.*"),
)
#: Masks and tables of codes, computed from the number of bits.
_COMPUTED = ("quantize.{pre_mask|post_mask|codebook|zero}", "quantize.mask**")


def magvit2_map(own: Any) -> KeyMap:
    """The key map of a checkpoint: wrapper prefixes are removed, EMA weights are preferred to raw ones."""
    return taming_map(middle=residual("mid_block.{}", "middle.{}"), resample=RESAMPLE, more=_ADAPTIVE, dropped=_COMPUTED)
