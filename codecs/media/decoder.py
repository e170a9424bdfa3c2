"""The common interface of sound decoders: facts about the file, and blocks of samples. Letters: C channels, T samples."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Decoder:
    """A sound file that is open.

    Attributes:
        rate_hz: sampling rate.
        channels: C.
        frames: T; None: known only after reading to the end.
        blocks: `blocks(start, stop)` yields the samples `start .. stop - 1` as float32 `[t, C]`; `stop` None: to the end.
        end_is_claimed: `frames` is from the header; only decoding to the end verifies it.
    """

    rate_hz: int
    channels: int
    frames: int | None
    blocks: Callable[[int, int | None], Iterator[np.ndarray]]
    end_is_claimed: bool = False


def part_of(blocks: Iterator[np.ndarray], start: int, stop: int | None) -> Iterator[np.ndarray]:
    """Cut blocks `[t, C]` that begin at sample 0 to the samples `start .. stop - 1`; `stop` None: to the end."""
    at = 0
    for block in blocks:
        piece = block[max(0, start - at) : None if stop is None else max(0, stop - at)]
        at += len(block)
        if len(piece):
            yield piece
        if stop is not None and at >= stop:
            return
