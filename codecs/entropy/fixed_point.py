"""Frequencies out of logarithms in whole numbers alone, so that every machine gets the same ones.

Letters: m distributions, V ids.
"""

import math

import numpy as np

#: Steps of one bit in logarithms: a logarithm of `n` stands for 2^(n / UNIT).
UNIT = 256
#: Bits of precision of the range coder: the frequencies of one distribution sum to 2^PRECISION.
PRECISION = 24
#: Share of every distribution that is spread evenly over all ids, as 1 / ESCAPE.
ESCAPE = 64
#: An id takes at least this many bits, whatever the logarithms: its probability is at most about 64 / 65 + 1 / 2V.
LEAST_BITS = 0.01

#: Bits of the largest entry of the table of powers; lower ones than its last are 0.
_TOP = 20


def _powers() -> np.ndarray:
    """`2^(_TOP - d / UNIT)` rounded down, for d = 0, 1, .., by integer roots: a power of floats may differ between machines."""
    scale = 1 << 96
    root = 2 * scale
    for _ in range(UNIT.bit_length() - 1):
        root = math.isqrt(root * scale)  # 2^(1 / 2), 2^(1 / 4), .., 2^(1 / UNIT)
    out, value = [], scale << _TOP
    while value >= scale:
        out.append(value // scale)
        value = value * scale // root
    return np.array([*out, 0], np.int64)


_POWERS = _powers()


def frequencies(logarithms: np.ndarray) -> np.ndarray:
    """Frequencies of ids, as the range coder takes them.

    Args:
        logarithms: integers `[m, V]`, V from 2 to 2^16, in UNIT steps a bit; only differences within a row count.

    Returns:
        float32 `[m, V]` of whole numbers from 0, in sum `2^PRECISION - V`. The coder (`Categorical(perfect=False)` of constriction)
        adds 1 to each; with this sum it multiplies them by exactly 1 before, so its table is that of these whole numbers.
    """
    vocab_size = logarithms.shape[1]
    below = logarithms.max(axis=1, keepdims=True) - logarithms
    weights = _POWERS[np.minimum(below, len(_POWERS) - 1)]
    weights += weights.sum(axis=1, keepdims=True) // (ESCAPE * vocab_size) + 1
    whole = (1 << PRECISION) - vocab_size
    out = weights * whole // weights.sum(axis=1, keepdims=True)
    rows = np.arange(len(out))
    out[rows, out.argmax(axis=1)] += whole - out.sum(axis=1)
    return out.astype(np.float32)
