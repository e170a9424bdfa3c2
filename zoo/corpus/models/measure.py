"""Bits a token of a generator on held-out sequences, beside those of a model without context."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..check import entropy
from ..dataset import TokenDataset
from .base import Generator


@torch.no_grad()
def measure(
    model: Generator, train: TokenDataset, valid: TokenDataset, *, samples: int, batch_size: int, seed: int = 0
) -> dict[str, Any]:
    """Bits a media token on held-out sequences, and the unigram entropy of the same tokens.

    Args:
        model: any kind.
        train: what it was trained on, for the unigram frequencies.
        valid: held-out sequences, packed in the same way.
        samples: how many are measured; where they are blocks or whole documents, at most all.
        batch_size: sequences at once.
        seed: of masks.

    Returns:
        bits, bits_by_codebook: nats of all ids over their number and log 2; bits_mean: what kind of figure this is; unigram_bits,
        unigram_bits_by_codebook: entropy of the held-out tokens' own frequencies in each codebook, a lower bound for any
        context-free model; unigram_train_bits: with frequencies counted on the training shards; valid_tokens: how many were
        measured; and what the kind adds (`without_context`).
    """
    packing, name = valid.packing, valid.packing.config.tokenizer
    books, generator = len(packing.vocab_sizes), torch.Generator().manual_seed(seed)
    found: list[list[Tensor]] = [[] for _ in range(books)]
    nats = np.zeros(books)
    stop = samples if valid.transform is not None else min(samples, len(valid))  # windows differ in every epoch
    for batch in valid.loader(batch_size, stop=stop):
        loss, target = model.losses(batch, generator)
        own, book = packing.vocabulary.from_ids(name, target)
        for k in range(books):
            found[k].append(own[book == k])
            nats[k] += float(loss[book == k].sum())
    table = frequencies(train, books)
    ids = [torch.cat(f) for f in found]
    counts = [torch.bincount(i, minlength=len(t)).numpy() for i, t in zip(ids, table, strict=True)]
    number = np.array([n.sum() for n in counts])
    cross = [-(n * np.log2(t / t.sum())).sum() for n, t in zip(counts, table, strict=True)]
    return {
        "bits": float(nats.sum() / number.sum() / math.log(2)),
        "bits_by_codebook": [float(b) for b in nats / number / math.log(2)],
        "bits_mean": model.meaning,
        "unigram_bits": float(sum(entropy(n) * n.sum() for n in counts) / number.sum()),
        "unigram_bits_by_codebook": [entropy(n) for n in counts],
        "unigram_train_bits": float(sum(cross) / number.sum()),
        "valid_tokens": int(number.sum()),
        **model.without_context(ids),
    }


def frequencies(data: TokenDataset, books: int) -> list[np.ndarray]:
    """Counts of each id of each codebook, plus one (Laplace smoothing)."""
    out = [np.ones(v) for v in data.layout.vocab_sizes[:books]]
    for i in range(data.documents):
        ids = data.tokens(i).ids[0].numpy()
        for k in range(books):
            out[k] += np.bincount(ids[k], minlength=len(out[k]))
    return out
