"""Run lengths against `itertools.groupby`, and back. Run: pytest tests/codecs/test_run_lengths.py"""

import itertools

import pytest
import tokenzoo
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenzoo.codecs.run_lengths import collapse, expand
from tokenzoo.codecs.tokens import TokenError, Tokens
from tokenzoo.zoo.corpus.packing import InterleavedConfig
from tokenzoo.zoo.corpus.vocabulary import Books, Vocabulary


def batch(rows: list[list[tuple[int, int]]], **fields) -> Tokens:
    """Tokens of two codebooks, 3 and 2 ids, from the pairs of ids of each item."""
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.zeros(len(rows), 2, int(lengths.max()), dtype=torch.int64)
    for item, row in zip(ids, rows, strict=True):
        item[:, : len(row)] = torch.tensor(row, dtype=torch.int64).reshape(-1, 2).t()
    return Tokens(ids=ids, vocab_sizes=(3, 2), lengths=lengths, **fields)


def test_one_codebook():
    ids = torch.tensor([[[5, 5, 5, 2, 2, 5, 0]]])
    tokens = Tokens(ids=ids, vocab_sizes=(6,), sizes=torch.tensor([[2240]]), sample_rate_hz=torch.tensor([16000]))
    runs = collapse(tokens)
    assert runs.ids.tolist() == [[[5, 2, 5, 0], [2, 1, 0, 0]]] and runs.vocab_sizes == (6, 256) and runs.names == ("run", "duration")
    assert collapse(tokens).first(codebooks=1).ids.tolist() == [[[5, 2, 5, 0]]]
    assert expand(runs) == tokens


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), max_size=12), min_size=1, max_size=3),
    st.integers(1, 4),
    st.booleans(),
)
def test_equals_groupby_and_leads_back(rows, longest, named):
    tokens = batch(rows, names=("a", "b") if named else ())
    runs = collapse(tokens, longest=longest)
    for item, row in zip(runs, rows, strict=True):
        expected = []
        for value, group in itertools.groupby(row):
            left = len(list(group))
            while left:
                expected.append((*value, min(left, longest) - 1))
                left -= min(left, longest)
        assert item.ids[0].t().tolist() == [list(e) for e in expected]
    assert expand(runs) == tokens


def test_runs_have_files_and_packings(tmp_path):
    tokens = batch([[(1, 0)] * 5 + [(2, 0)], [(0, 1)]])
    runs = collapse(tokens, longest=4)
    runs.save(tmp_path / "runs.tok")
    assert expand(tokenzoo.Tokens.load(tmp_path / "runs.tok")) == tokens
    vocabulary = Vocabulary(media=(Books(name="units", modality="audio", vocab_sizes=runs.vocab_sizes),))
    packing = InterleavedConfig(tokenizer="units", vocabulary=vocabulary, names=runs.names).build()
    assert expand(packing.unpack(packing.pack(runs)).tokens) == tokens


def test_what_has_no_run_lengths():
    with pytest.raises(TokenError, match="plain sequences"):
        collapse(Tokens(ids=torch.zeros(1, 1, 6, dtype=torch.int64), vocab_sizes=(2,), grid=(2, 3)))
    with pytest.raises(TokenError, match="plain sequences"):
        collapse(Tokens(ids=torch.zeros(1, 2, 6, dtype=torch.int64), vocab_sizes=(2, 2), strides=(1, 2)))
    tokens = batch([[(1, 0)]])
    with pytest.raises(TokenError, match="already"):
        collapse(collapse(tokens))
    with pytest.raises(TokenError, match="named 'duration'"):
        expand(tokens)
    with pytest.raises(TokenError, match="longest is 0"):
        collapse(tokens, longest=0)
