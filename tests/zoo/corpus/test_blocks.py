"""Blocks of steps, and attention inside them. Run: pytest tests/zoo/corpus/test_blocks.py"""

import itertools
from collections import Counter

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenzoo.zoo.corpus.attention import same_document, sequence_lengths
from tokenzoo.zoo.corpus.blocks import Blocks

quick = settings(max_examples=60, deadline=None)
lengths = st.lists(st.integers(1, 30), min_size=1, max_size=12).map(lambda x: np.array(x))


@quick
@given(lengths=lengths, size=st.integers(1, 20), seed=st.one_of(st.none(), st.integers(0, 5)), epoch=st.integers(0, 2))
def test_split_blocks_lose_and_double_nothing(lengths, size, seed, epoch):
    blocks = Blocks(lengths, size, seed, whole=False)
    pieces = [blocks.pieces(epoch * len(blocks) + i) for i in range(len(blocks))]
    sums = [sum(p.stop - p.start for p in block) for block in pieces]
    assert all(s == size for s in sums[:-1]) and 0 < sums[-1] <= size
    steps = Counter((p.document, s) for block in pieces for p in block for s in range(p.start, p.stop))
    assert steps == Counter((d, s) for d, n in enumerate(lengths) for s in range(n))
    order = [d for d, _ in itertools.groupby(p.document for block in pieces for p in block)]
    assert len(order) == len(lengths), "a document's pieces follow each other"


@quick
@given(lengths=lengths, size=st.integers(1, 20), seed=st.one_of(st.none(), st.integers(0, 5)), epoch=st.integers(0, 2))
def test_blocks_of_whole_documents_cut_none_that_fits(lengths, size, seed, epoch):
    blocks = Blocks(lengths, size, seed, whole=True)
    pieces = [blocks.pieces(epoch * len(blocks) + i) for i in range(len(blocks))]
    assert all(0 < sum(p.stop - p.start for p in block) <= size for block in pieces)
    steps = Counter((p.document, s) for block in pieces for p in block for s in range(p.start, p.stop))
    assert steps == Counter((d, s) for d, n in enumerate(lengths) for s in range(n))
    for p in (p for block in pieces for p in block):
        assert lengths[p.document] > size or (p.start, p.stop) == (0, lengths[p.document])


def test_attention_stays_inside_a_document_and_behind_the_step():
    mask = same_document(torch.tensor([[0, 0, 1, 1, -1]]))[0, 0].int().tolist()
    assert mask == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]]


@quick
@given(rows=st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=4), min_size=1, max_size=3), padded=st.booleans())
def test_lengths_of_sequences_allow_what_the_mask_allows(rows, padded):
    steps = max(map(sum, rows)) + int(padded)
    numbers = [np.repeat(np.arange(len(r)), r) for r in rows]
    ids = torch.tensor(np.stack([np.pad(n, (0, steps - len(n)), constant_values=-1) for n in numbers]))
    cu, longest = sequence_lengths(ids)
    assert cu.dtype == torch.int32 and cu[0] == 0 and cu[-1] == ids.numel() and longest == int(cu.diff().max())
    allowed = torch.zeros(ids.numel(), ids.numel(), dtype=torch.bool)
    for a, b in itertools.pairwise(cu.tolist()):
        allowed[a:b, a:b] = torch.ones(b - a, b - a).tril().bool()
    assert torch.equal(allowed, torch.block_diag(*same_document(ids)[:, 0]).bool())
