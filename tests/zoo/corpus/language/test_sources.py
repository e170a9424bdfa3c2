"""Items of corpora and texts, and the sample of them. Run: pytest tests/zoo/corpus/language/test_sources.py"""

import numpy as np
import pytest
import torch
from tokenzoo.codecs.tokens import Tokens
from tokenzoo.zoo.corpus.language import sources
from tokenzoo.zoo.corpus.language.sources import Item, Sample, TextSource, item_of


def test_items_hold_each_id_once():
    ids = torch.arange(12).view(1, 2, 6).clone()
    ids[0, 0] = ids[0, 0] // 2
    item = item_of(Tokens(ids=ids, vocab_sizes=(16, 16), strides=(2, 1)), "a")
    assert [x.tolist() for x in item.ids] == [[0, 1, 2], [6, 7, 8, 9, 10, 11]] and item.grids == ((3,), (6,))
    plane = item_of(Tokens(ids=ids, vocab_sizes=(16, 16), grid=(2, 3)), "a")
    assert plane.grids == ((2, 3), (2, 3)) and len(plane.ids[0]) == 6
    own = Tokens(ids=ids, vocab_sizes=(16, 16), grid=(2, 3), book_grids=torch.tensor([[[2, 3], [1, 2]]]))
    assert [x.tolist() for x in item_of(own, "a").ids] == [[0, 0, 1, 1, 2, 2], [6, 7]] and item_of(own, "a").grids[1] == (1, 2)


@pytest.mark.parametrize("chunk", [1, 7, 4096])
def test_words_and_bytes_of_a_text(chunk, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_CHUNK", chunk)
    monkeypatch.setattr(sources, "TEXT_ITEM", 10)
    text = " one  two\nthree two one é four\tone " * 5 + "end"
    (tmp_path / "t.txt").write_text(text)
    words, data = text.split(), text.encode()
    source = TextSource(tmp_path / "t.txt", unit="words")
    found = list(source)
    ids = np.concatenate([x.ids[0] for x in found])
    names = list(source.words)
    assert [names[i].decode() for i in ids] == words and source.vocab_sizes == (6,)
    assert [len(x.ids[0]) for x in found] == [10, 10, 10, 10, 1] and source.items == 5 and source.total_ids == 41
    source = TextSource(tmp_path / "t.txt", limit=3)
    assert b"".join(bytes(x.ids[0].tolist()) for x in source) == data[:30] and source.items == 3
    assert len({x.key for x in source}) == 3


def test_texts_that_cannot_be_read(tmp_path):
    (tmp_path / "empty").write_text("  ")
    with pytest.raises(ValueError, match="holds no words"):
        TextSource(tmp_path / "empty", unit="words")
    with pytest.raises(ValueError, match="no file"):
        TextSource(tmp_path / "none")
    with pytest.raises(ValueError, match="bytes, words, not 'lines'"):
        TextSource(tmp_path / "empty", unit="lines")


class Many:
    """A source of items of 10 ids."""

    name, modality, order, books, vocab_sizes, tokenizer = "many", "audio", "time", ("0",), (16,), None

    def __init__(self, items, total=None):
        self.items, self.total_ids = items, total or 10 * items

    def __iter__(self):
        return (Item(str(i), (np.full(10, i % 16),), (1,), ((10,),)) for i in range(self.items))


def test_a_sample_is_bounded_and_spread():
    sample = Sample(Many(1000), room=500)
    for item in Many(1000):
        sample.add(item)
    keys = [int(x.key) for x in sample.items]
    assert len(keys) == 50 and np.ptp(keys) > 900 and set(np.diff(keys)) == {20}
    wrong = Sample(Many(1000, total=10), room=500)
    for item in Many(1000):
        wrong.add(item)
    assert sum(len(x) for x in wrong.book(0)) == 500, "whatever a manifest says of the number of ids"
    whole = Sample(Many(20))
    for item in Many(20):
        whole.add(item)
    assert len(whole.items) == 20


def test_a_sequence_longer_than_the_sample_is_cut():
    long = Item("a", (np.arange(100), np.arange(50)), (1, 2), ((100,), (50,)))
    sample = Sample(Many(1, total=10), room=60)
    sample.add(long)
    assert [len(x) for x in sample.items[0].ids] == [30, 15] and sample.items[0].grids == ((30,), (15,))
