"""Fill batches with media that may go through the network together, and give each item the ids that it has alone.

Pictures share a batch where they have one size. Clips share one where their lengths are near each other and the family
can mix lengths exactly (`codecs/audio/ragged.py`), else where they are equal. Which items meet in a batch depends on
their order in the unit alone, never on time: the same unit gives the same bytes in every run.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from ...codecs.audio.base import AudioTokenizer
from ...codecs.audio.ragged import can_mix, encode_ragged
from ...codecs.media import Prepared
from ...codecs.tokenizer import Tokenizer
from ...codecs.tokens import Tokens
from .intake import Failure, Item, reason
from .records import Record

#: Lengths that share a batch differ by no more than this factor.
LADDER = 1.2
#: Media that wait for company are at most so many batches; then the fullest batch runs as it is.
WAITING = 4

Waiting = list[tuple[Item, Prepared]]


class Batches:
    """Buckets of items that may share a batch.

    Args:
        tokenizer: what they are for.
        elements: pixels or samples in a batch, filling included; an item larger than that is a batch of its own.
    """

    def __init__(self, tokenizer: Tokenizer, elements: int) -> None:
        self.tokenizer, self.elements = tokenizer, elements
        self.buckets: dict[tuple[int, ...], Waiting] = {}
        self.held = 0

    def add(self, item: Item, prepared: Prepared) -> Iterator[Waiting]:
        """Put one item in; yields the batches that are full now."""
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
        """All batches that are left, in the order in which they were begun."""
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
            if can_mix(tokenizer, frames):
                rung = max(0, math.ceil(math.log(frames, LADDER) - 1e-9))
                return (rung,), round(LADDER**rung) * tokenizer.spec.hop_samples * shape[0]
        return tuple(shape), prepared.x.numel() // (1 if isinstance(tokenizer, AudioTokenizer) else shape[0])


def encode(tokenizer: Tokenizer, batch: Waiting, codebooks: int | None) -> list[Record | tuple[Item, Failure]]:
    """Encode one batch. If it fails, its items are encoded one by one, so that one bad item spoils no other."""
    try:
        return _encode(tokenizer, batch, codebooks)
    except torch.AcceleratorError:
        raise  # the device is lost, and no item is at fault
    except Exception as error:
        if len(batch) == 1:
            return [(batch[0][0], Failure(reason(error)))]
    return [result for one in batch for result in encode(tokenizer, [one], codebooks)]


def _encode(tokenizer: Tokenizer, batch: Waiting, codebooks: int | None) -> list[Record | tuple[Item, Failure]]:
    prepared = [p for _, p in batch]
    if isinstance(tokenizer, AudioTokenizer) and len({p.x.shape for p in prepared}) > 1:
        whole = _ragged(tokenizer, prepared, codebooks)
    else:
        options: dict[str, Any] = {} if codebooks is None else {"num_codebooks": codebooks}
        tokens = tokenizer.encode(prepared, **options)
        whole = [t.to("cpu") for t in tokens]
    return [Record(i.index, i.key, as_original(t, p), i.metadata) for (i, p), t in zip(batch, whole, strict=True)]


def _ragged(tokenizer: AudioTokenizer, prepared: Sequence[Prepared], codebooks: int | None) -> list[Tokens]:
    spec, out = tokenizer.spec, []
    for ids, scale in encode_ragged(tokenizer, [p.x for p in prepared], codebooks):
        k = ids.shape[1]
        out.append(
            Tokens(
                ids=ids.cpu(),
                vocab_sizes=spec.vocab_sizes[:k],
                scale=None if scale is None else scale.float().cpu(),
                strides=spec.strides[:k],
                names=spec.names[:k],
            )
        )
    return out


def as_original(tokens: Tokens, prepared: Prepared) -> Tokens:
    """Tokens of one prepared item as tokens of the original, with its size and rate."""
    return dataclasses.replace(tokens, sizes=torch.tensor([list(prepared.size)]), sample_rate_hz=prepared.sample_rate_hz)
