"""Batching: items that can be encoded together share a batch, and each gets the ids that it has alone.

Pictures share a batch where they have one size. Clips share one where their lengths are near each other and the family
can mix lengths exactly (`codecs/audio/ragged.py`), else where they are equal. Which items share a batch depends only on
their order in the unit, never on timing: the same unit gives the same bytes in every run.
"""

import math
from collections.abc import Iterator

import torch

from ...codecs.audio.base import AudioTokenizer
from ...codecs.audio.ragged import encode_ragged, longest_mixed
from ...codecs.media import Prepared
from ...codecs.options import EncodeOptions
from ...codecs.tokenizer import Tokenizer
from .intake import Failure, Item, reason
from .records import Record

#: Lengths that share a batch differ by no more than this factor.
LADDER = 1.2
#: Most batches' worth of media that wait for their batch to fill; beyond it the fullest batch runs as it is.
WAITING = 4

Waiting = list[tuple[Item, Prepared]]


class Batches:
    """Buckets of items that may share a batch.

    Args:
        tokenizer: that encodes the batches.
        elements: pixels or samples in a batch, padding included; a larger item is a separate batch.
    """

    def __init__(self, tokenizer: Tokenizer, elements: int) -> None:
        self.tokenizer, self.elements = tokenizer, elements
        self.longest_mixed = longest_mixed(tokenizer) if isinstance(tokenizer, AudioTokenizer) else 0
        self.buckets: dict[tuple[int, ...], Waiting] = {}
        self.held = 0

    def add(self, item: Item, prepared: Prepared) -> Iterator[Waiting]:
        """Add one item; yields the batches that it fills."""
        key, cost = self._bucket(prepared)
        bucket = self.buckets.setdefault(key, [])
        bucket.append((item, prepared))
        self.held += prepared.x.numel()
        if (len(bucket) + 1) * cost > self.elements:
            yield self._pop(key)
        elif self.held > WAITING * self.elements:
            # max() takes the first of equals, and dictionaries keep the order of insertion
            yield self._pop(max(self.buckets, key=lambda k: sum(p.x.numel() for _, p in self.buckets[k])))

    def rest(self) -> Iterator[Waiting]:
        """All batches that are left, in the order in which they were started."""
        while self.buckets:
            yield self._pop(next(iter(self.buckets)))

    def _pop(self, key: tuple[int, ...]) -> Waiting:
        batch = self.buckets.pop(key)
        self.held -= sum(p.x.numel() for _, p in batch)
        return batch

    def _bucket(self, prepared: Prepared) -> tuple[tuple[int, ...], int]:
        """Key of the bucket, and elements that an item takes up in it."""
        shape, tokenizer = prepared.x.shape, self.tokenizer
        if isinstance(tokenizer, AudioTokenizer):
            frames = tokenizer.num_frames(shape[-1])
            if frames <= self.longest_mixed:
                rung = max(0, math.ceil(math.log(frames, LADDER) - 1e-9))
                return (rung,), round(LADDER**rung) * tokenizer.spec.hop_samples * shape[0]
        return tuple(shape), prepared.x.numel() // (1 if isinstance(tokenizer, AudioTokenizer) else shape[0])


def encode(tokenizer: Tokenizer, batch: Waiting, options: EncodeOptions | None = None) -> list[Record | tuple[Item, Failure]]:
    """Encode one batch. If it fails, its items are encoded one by one, so that one bad item spoils no other."""
    try:
        return _encode(tokenizer, batch, options)
    except torch.AcceleratorError:
        raise  # the device failed; no item is the cause
    except Exception as error:
        if len(batch) == 1:
            return [(batch[0][0], Failure(reason(error)))]
    return [result for one in batch for result in encode(tokenizer, [one], options)]


def _encode(tokenizer: Tokenizer, batch: Waiting, options: EncodeOptions | None) -> list[Record | tuple[Item, Failure]]:
    prepared = [p for _, p in batch]
    if isinstance(tokenizer, AudioTokenizer) and len({p.x.shape for p in prepared}) > 1:
        whole = encode_ragged(tokenizer, prepared, options)
    else:
        whole = tokenizer.encode_prepared(prepared, options)
    tokens = whole.to("cpu")  # at once, not item by item
    return [Record(i.index, i.key, t, i.metadata) for (i, _), t in zip(batch, tokens, strict=True)]
