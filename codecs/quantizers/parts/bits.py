"""Shared by the binary quantizers: conversion between bits and ids, and the entropies of their soft assignment.

Letters: B batch, L positions, K codebooks (ids a position), b bits a position, g bits in a group, N valid positions.
A bit is channel > 0, its value +s or -s.

The soft assignment of all these papers, softmax over all codes c of 2 z.c / T, factorises over the bits:

    p(c | z) = prod_i p_i(c_i),    p_i(+s) = sigmoid(x_i),    x_i = 4 s z_i / T  (the log-odds)

Everything here follows from it, exactly and without a codebook:

- the entropy of one position is the sum of b binary entropies, O(b);
- the mean over positions of the distribution over the 2^g codes of a group is, with the group cut into two halves,
  A^T B / N with A, B `[N, 2^(g/2)]`: one product of small matrices, where the plain form holds `[N, 2^g]`
  (17 GB for N = 16384 and g = 18; here 67 MB, and 17 MB a chunk).
"""

import functools
import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ...config import ConfigError

BitOrder = Literal["msb", "lsb"]

#: No id has more bits, so that an embedding table or a softmax over its vocabulary is possible.
MAX_GROUP_BITS = 18
#: The largest group whose mean distribution is formed: 2^20 floats.
MAX_ENTROPY_BITS = 20
#: Positions that are expanded to codes at a time.
ENTROPY_CHUNK = 4096


def group_bits(bits: int, size: int | tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the number of bits of each id.

    Args:
        bits: b, 1 to 256.
        size: bits an id, at most 18 (the last id takes the rest); None: the largest divisor of `bits` in 9..18,
            otherwise equal parts with a shorter last one. 18 -> 18, 32 -> 2 x 16, 36 -> 2 x 18, 128 -> 8 x 16,
            256 -> 16 x 16. Or the bits of each id, which add up to `bits` (Open-MAGVIT2's generators: 6 and 12).
    """
    if not 1 <= bits <= 256:
        raise ConfigError(f"bits is {bits}; allowed: 1 to 256.")
    if isinstance(size, tuple):
        if sum(size) != bits or not all(1 <= n <= MAX_GROUP_BITS for n in size):
            raise ConfigError(f"group_bits is {size}; its parts hold 1 to {MAX_GROUP_BITS} bits and add up to bits ({bits}).")
        return size
    if size is None:
        divisors = [d for d in range(MAX_GROUP_BITS, 8, -1) if bits % d == 0]
        size = divisors[0] if divisors else math.ceil(bits / math.ceil(bits / MAX_GROUP_BITS))
    if not 1 <= size <= MAX_GROUP_BITS:
        raise ConfigError(f"group_bits is {size}; an id holds 1 to {MAX_GROUP_BITS} bits.")
    return tuple(min(size, bits - start) for start in range(0, bits, size))


def bit_weights(groups: tuple[int, ...], order: BitOrder) -> Tensor:
    """Return the weights int64 `[b]`, powers of two, that the bits of the channels have in their ids.

    `msb`: the first channel of a group is the highest bit (BSQ-ViT, FocalCodec, Infinity, vector-quantize-pytorch).
    `lsb`: it is the lowest (Open-MAGVIT2, WeTok, BitDance).
    """
    powers = [range(g - 1, -1, -1) if order == "msb" else range(g) for g in groups]
    return torch.tensor([1 << p for group in powers for p in group], dtype=torch.int64)


def pack_bits(bits: Tensor, weights: Tensor, groups: tuple[int, ...]) -> Tensor:
    """Bits bool `[B, b, L]` to ids int64 `[B, K, L]`."""
    # A float product is several times faster than one of integers, and exact: sums of powers of two below 2^18 are.
    flags, rows = bits.to(torch.float32), weights.to(torch.float32)
    if len(set(groups)) == 1:
        shape = (len(groups), groups[0])
        return torch.matmul(rows.view(shape).unsqueeze(1), flags.unflatten(1, shape)).squeeze(2).long()
    parts = zip(rows.split(groups), flags.split(groups, dim=1), strict=True)
    return torch.stack([torch.matmul(w, part) for w, part in parts], dim=1).long()


def unpack_bits(ids: Tensor, weights: Tensor, groups: tuple[int, ...]) -> Tensor:
    """Ids `[B, K, L]` to bits bool `[B, b, L]`."""
    rows = weights.int().unsqueeze(-1).split(groups)  # 32 bits hold any id, in half the memory
    return torch.cat([ids[:, k : k + 1].int().bitwise_and(w) != 0 for k, w in enumerate(rows)], dim=1)


def bit_entropy(logits: Tensor) -> Tensor:
    """Entropy in nats of bits with these log-odds, elementwise; exact and with finite gradients for any of them."""
    a = logits.abs()
    # p = sigmoid(-a) is the rarer outcome: -log p = a + s and -log(1 - p) = s with s = log(1 + e^-a)
    return F.softplus(-a) + a * torch.sigmoid(-a)


def mean_code_entropy(logits: Tensor, group: int) -> Tensor:
    """Entropy in nats of the mean distribution of N positions, summed over groups of channels, a scalar.

    Args:
        logits: `[N, b]`, log-odds of each bit.
        group: channels in a group (the last takes the rest). b: exact. 1: every bit by itself. In between the sum is
            an upper bound that grows tighter with the group (BSQ, arXiv 2406.07548, section 3.3).
    """
    if logits.shape[0] == 0:
        return logits.sum()
    if group == 1:
        return _entr(torch.sigmoid(logits).mean(0)).sum() + _entr(torch.sigmoid(-logits).mean(0)).sum()
    return torch.stack([_MeanCodeEntropy.apply(part) for part in logits.split(group, dim=1)]).sum()


def mean_codes(logits: Tensor) -> Tensor:
    """Mean distribution over the codes of one group, `[2^(g - g//2), 2^(g//2)]`, first channel slowest.

    Args:
        logits: `[N, g]`, log-odds of each bit.
    """
    half = _half(logits)
    parts = logits.split(ENTROPY_CHUNK)
    return functools.reduce(torch.add, (_codes(x[:, :half]).T @ _codes(x[:, half:]) for x in parts)) / logits.shape[0]


class _MeanCodeEntropy(torch.autograd.Function):
    """Entropy of `mean_codes`; the backward pass computes the probabilities of all codes again instead of keeping them."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        mean = mean_codes(logits)
        ctx.save_for_backward(logits, mean)
        return _entr(mean).sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        logits, mean = ctx.saved_tensors
        half = _half(logits)
        slope = grad * -(mean.clamp_min(_TINY).log() + 1) / logits.shape[0]  # d loss / d (sum over positions of p)
        out = []
        for x in logits.split(ENTROPY_CHUNK):
            a, b = _codes(x[:, :half]), _codes(x[:, half:])
            left, right = _codes_backward(x[:, :half], a, b @ slope.T), _codes_backward(x[:, half:], b, a @ slope)
            out.append(torch.cat([left, right], dim=1))
        return torch.cat(out)


#: Below this a probability counts as 0: p log p is then under 1e-28.
_TINY = 1e-30


def _entr(p: Tensor) -> Tensor:
    return -p * p.clamp_min(_TINY).log()


def _half(logits: Tensor) -> int:
    return (logits.shape[1] + 1) // 2


def _codes(logits: Tensor) -> Tensor:
    """Log-odds `[N, g]` to the probability of every code `[N, 2^g]`, first channel slowest."""
    one, zero = _flush(torch.sigmoid(logits)), _flush(torch.sigmoid(-logits))
    out = torch.ones_like(logits[:, :1])
    for i in range(logits.shape[1]):
        pair = torch.stack([out * zero[:, i : i + 1], out * one[:, i : i + 1]], dim=2)  # [N, 2^i, 2]
        out = _flush(pair.flatten(1))
    return out


def _flush(p: Tensor) -> Tensor:
    """Probabilities under 1e-18 become 0, so that no product of two is a subnormal number: those are 6 times slower on a CPU."""
    return F.threshold(p, 1e-18, 0.0)


def _codes_backward(logits: Tensor, codes: Tensor, grad: Tensor) -> Tensor:
    """Gradient `[N, g]` of log-odds from that of `_codes(logits)`: dp(c)/dx_i = p(c) (c_i - p_i), c_i in {0, 1}."""
    weighted = codes * grad  # [N, 2^g]
    g = logits.shape[1]
    index, places = torch.arange(codes.shape[1], device=codes.device), torch.arange(g - 1, -1, -1, device=codes.device)
    bit = (index[:, None] >> places).bitwise_and(1).to(codes.dtype)  # [2^g, g]; g is 0 in the second half of one channel
    return weighted @ bit - torch.sigmoid(logits) * weighted.sum(1, keepdim=True)
