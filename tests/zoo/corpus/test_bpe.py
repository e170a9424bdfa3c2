"""Merges of ids: learned as by hand, exact inverses, data sets and the command. Run: pytest tests/zoo/corpus/test_bpe.py"""

import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from cli_runs import run
from corpus_cases import HERE, saved, sounds
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.tokens import Tokens
from tokenzoo.zoo.corpus import Options, TokenDataset, stats, tokenize
from tokenzoo.zoo.corpus import packing as P
from tokenzoo.zoo.corpus.bpe import learn_bpe, learn_merges
from tokenzoo.zoo.corpus.packing.bpe import merged
from tokenzoo.zoo.corpus.vocabulary import Books, Reserved, Vocabulary

BOOKS = Books(name="x", modality="audio", vocab_sizes=(2, 3))
WORDS, LARGE = (Vocabulary(media=(BOOKS,), reserved=(Reserved(name="m", size=n, after="x"),)) for n in (3, 9))


def slow_merges(rows: list[list[int]], width: int, count: int) -> tuple[list[tuple[int, int]], list[list[int]]]:
    """Byte-pair encoding as its definition reads: count all pairs, merge the most frequent one from the left, again."""
    out = []
    while len(out) < count:
        pairs = Counter(p for row in rows for p in pairwise(row) if min(p) >= 0)
        if not pairs or max(pairs.values()) < 2:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        rows = [replaced(row, best, width + len(out)) for row in rows]
        out.append(best)
    return out, rows


def replaced(row: list[int], pair: tuple[int, int], symbol: int) -> list[int]:
    """A row with a symbol in place of each pair, from the left."""
    out, i = [], 0
    while i < len(row):
        hit = tuple(row[i : i + 2]) == pair
        out.append(symbol if hit else row[i])
        i += 2 if hit else 1
    return out


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(-1, 3), max_size=30), min_size=1, max_size=5), st.integers(1, 12))
def test_merges_are_those_of_the_definition(rows, count):
    pairs, left = slow_merges(rows, 4, count)
    found, steps = learn_merges([np.array(r, np.int64) for r in rows], 4, count)
    assert (list(found), steps) == (pairs, sum(map(len, left)))
    ranks = {p: i for i, p in enumerate(pairs)}
    assert [merged(np.array(r, np.int64), ranks, 4)[0].tolist() for r in rows] == left, "packing gives what learning saw"


def test_no_merge_spans_more_than_it_may():
    rows = [np.zeros(64, np.int64)]
    assert learn_merges(rows, 1, 9, max_span=8) == (((0, 0), (1, 1), (2, 2)), 8)
    assert learn_merges(rows, 1, 9, max_span=2)[1] == 32
    assert learn_merges([np.arange(5)], 5, 3) == ((), 5), "nothing occurs twice"
    assert learn_merges([np.array([0, 1, 0, 1, 0, 1])], 2, 3, min_frequency=4) == ((), 6)


def bpe(**changed) -> P.BpeConfig:
    """A packing of two codebooks (ids 10 to 14) with three merges (ids from 15)."""
    merges = ((0, 2), (3, 1), (5, 0))
    values = {"tokenizer": "x", "vocabulary": WORDS, "pattern": "interleaved", "merges": merges, "merged": "m"}
    return P.BpeConfig(**values | changed)


def test_by_hand():
    packing = bpe().build()
    tokens = Tokens(torch.tensor([[[0, 0, 1], [0, 1, 2]]]), (2, 3))  # 0 2  0 3  1 4
    packed = packing.pack(tokens)
    assert packed.input_ids[0].tolist() == [packing.begin_id, 17, 16, 14, packing.end_id], "0 2 0, 3 1 and 4"
    assert packing.unpack(packed).tokens == tokens and packed.loss_mask[0].tolist() == [False] + [True] * 4
    assert packing.unpack([packing.begin_id, 17, 13, packing.end_id]).tokens.ids.tolist() == [[[0, 0], [0, 1]]], "0 2 0 is merge 2"


def test_a_merged_id_out_of_place_is_one_problem():
    packing = bpe().build()
    found = packing.unpack([packing.begin_id, 15, 16, 15, packing.end_id])  # 0 2, then 3 1, both in the other's place
    assert [(p.position, p.found) for p in found.problems] == [(2, 16)] and found.tokens.ids.tolist() == [[[0], [0]]]
    assert found.problems[0].message == "expected x codebook 0, found x codebook 1 id 1"


@pytest.mark.parametrize("changed, why", [
    ({"merges": ((0, 5),)}, "symbols before it are 0..4"),
    ({"merges": ((0, 1), (0, 1))}, "a pair twice"),
    ({"vocabulary": LARGE, "merges": ((0, 0), *((5 + i, 5 + i) for i in range(8)))}, "stands for 512 ids"),
    ({"merged": "n"}, "reserves no 3 ids"),
    ({"merged": "x"}, "reserves no 3 ids"),
    ({"merges": tuple((0, i) for i in range(5))}, "reserves no 5 ids"),
    ({"pattern": "delay"}, "merges steps of one id"),
    ({"pattern": "interleavd"}, "interleaved"),
    ({"settings": {"groups": [1, 1]}}, "unknown key 'settings.groups'"),
])  # fmt: skip
def test_settings_that_do_not_fit(changed, why):
    with pytest.raises(ConfigError, match=why):
        bpe(**changed).build()


def test_files_and_steps(tmp_path):
    packing = bpe(pattern="coarse_first", settings={"groups": [1, 1]}).build()
    packing.save(tmp_path / "packing.json")
    assert P.load_packing(tmp_path / "packing.json").config == packing.config
    with pytest.raises(ValueError, match="depend on its ids"):
        packing.steps_of(4)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bpe")
    name = saved("spectral", folder / "model")
    tokenize(name, sounds(folder / "in", 6), folder / "tokens", options=Options(), pace=HERE)
    return folder / "tokens"


def test_from_a_corpus_to_samples_and_back(corpus, tmp_path):
    assert run("corpus", "bpe", corpus, "-o", tmp_path / "packing.json", "--merges", "20").code == 0
    data, plain = TokenDataset(corpus, packing=tmp_path / "packing.json"), TokenDataset(corpus)
    assert data.vocab_size > plain.vocab_size and isinstance(data.packing.config, P.BpeConfig)
    for i in range(data.documents):
        ids = data.packed(i)[0]
        assert data.packing.unpack(ids).tokens.ids.equal(plain.tokens(i).ids) and len(ids) <= len(plain.packed(i)[0])
    assert sum(data.steps()) < sum(plain.steps())
    blocks = TokenDataset(corpus, packing=tmp_path / "packing.json", block=16)
    assert blocks[0]["input_ids"].shape == (16,)


def test_stored_as_merged_ids(corpus, tmp_path):
    config, report = learn_bpe(corpus, merges=20)
    config.build().save(tmp_path / "packing.json")
    options = Options(format="flat", packing=json.loads((tmp_path / "packing.json").read_text()))
    name = f"file:{corpus.parent / 'model'}"
    tokenize(name, corpus.parent / "in", tmp_path / "flat", options=options, pace=HERE)
    stored, plain = TokenDataset(tmp_path / "flat", seed=None), TokenDataset(corpus, seed=None)
    assert [stored.tokens(i) for i in range(6)] == [plain.tokens(i) for i in range(6)]
    assert report.after == sum(stored.steps()) < report.before == sum(plain.steps())
    assert stats(tmp_path / "flat").steps == (report.before, report.after)


def test_stats_say_what_merging_saves(corpus, tmp_path):
    run("corpus", "bpe", corpus, "-o", tmp_path / "packing.json", "--merges", "20")
    text = run("corpus", "stats", corpus, "--packing", tmp_path / "packing.json").out
    found = stats(corpus, packing=tmp_path / "packing.json")
    assert found.steps[1] < found.steps[0] and "steps an item, packed" in text and "before merging" in text
    assert stats(corpus).steps is None


def test_numbers_out_of_range(corpus):
    for wrong in ({"merges": 0}, {"min_frequency": 1}, {"max_span": 1}, {"max_span": 999}, {"limit": -1}):
        with pytest.raises(ConfigError, match="allowed: from 1, from 2, 2 to 256, from 0"):
            learn_bpe(corpus, **wrong)
    with pytest.raises(ConfigError, match="merges steps of one id"):
        learn_bpe(corpus, packing="delay")
