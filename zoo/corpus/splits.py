"""Parts of a corpus for training, validation and testing, chosen by a checksum of each document's key.

A document is in the same part whatever else the corpus holds, and whichever tokenizer made it: two corpora of the same media
share their test set. Parts have their share of the documents up to chance.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping

import numpy as np

#: Parts and their shares, where no others are given.
SHARES = {"train": 0.98, "valid": 0.01, "test": 0.01}


def places(keys: Iterable[object]) -> np.ndarray:
    """A number in [0, 1) for each key, float64 `[N]`, evenly spread: equal keys get equal ones."""
    digests = (hashlib.blake2b(str(k).encode("utf-8", "surrogateescape"), digest_size=8).digest() for k in keys)
    whole = np.frombuffer(b"".join(digests), ">u8")
    return (whole >> np.uint64(11)).astype(np.float64) / 2**53


def documents_of(split: str, keys: Iterable[object], shares: Mapping[str, float] | None = None) -> np.ndarray:
    """Numbers of the documents of one part, int64, rising.

    Args:
        split: name of the part.
        keys: of all documents.
        shares: each part's share of the documents; in sum at most 1, what is left is in no part. None: `SHARES`.

    Raises:
        ValueError: shares that are no shares, or a part that is not among them.
    """
    shares = SHARES if shares is None else shares
    numbers = list(shares.values())
    if not numbers or any(not isinstance(s, int | float) or not 0 < s <= 1 for s in numbers) or math.fsum(numbers) > 1 + 1e-9:
        raise ValueError(f"splits is {dict(shares)}; give each part a share above 0, in sum at most 1, such as {SHARES}.")
    if split not in shares:
        raise ValueError(f"there is no part {split!r}; these are: {', '.join(map(str, shares))}.")
    names = list(shares)
    first = math.fsum(numbers[: names.index(split)])
    at = places(keys)
    return ((at >= first) & (at < first + shares[split])).nonzero()[0]
