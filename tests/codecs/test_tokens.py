"""`Tokens`, its slices and its file. Run: pytest tests/codecs/test_tokens.py"""

import dataclasses
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenzoo import Tokens
from tokenzoo.codecs.token_file import TokenFileError, from_bytes, to_bytes


def make(**changes) -> Tokens:
    ids = torch.arange(2 * 3 * 4).reshape(2, 3, 4) % 5
    fields = {"ids": ids, "vocab_sizes": (5, 8, 300), "sizes": torch.tensor([[70], [65]]), "sample_rate_hz": 16000}
    return Tokens(**(fields | changes))


@st.composite
def any_tokens(draw) -> Tokens:
    b, k = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    vocab = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 1000, 1024, 65536, 2**18]), min_size=k, max_size=k)))
    lengths = draw(st.lists(st.integers(0, 9), min_size=b, max_size=b))
    longest = max(lengths)
    ids = torch.zeros(b, k, longest, dtype=torch.int64)
    for i, n in enumerate(lengths):
        for j, v in enumerate(vocab):
            ids[i, j, :n] = torch.tensor(draw(st.lists(st.integers(0, v - 1), min_size=n, max_size=n)), dtype=torch.int64)
    scale = torch.rand(b, 2) if draw(st.booleans()) else None
    return Tokens(ids=ids, vocab_sizes=vocab, lengths=torch.tensor(lengths), scale=scale, sizes=torch.randint(1, 99, (b, 2)))


@settings(deadline=None, max_examples=60)
@given(any_tokens())
def test_file_round_trip(tokens):
    assert from_bytes(to_bytes(tokens)).equal(tokens)


def test_bits_are_packed():
    tokens = Tokens(ids=torch.randint(0, 1024, (1, 8, 500)), vocab_sizes=(1024,) * 8)
    assert tokens.bits() == [8 * 500 * 10]
    assert 5000 <= len(to_bytes(tokens)) < 5000 + 250  # 10 bits an id, and the header


def test_multi_rate_ids_are_stored_once():
    ids = torch.stack([torch.arange(4).repeat_interleave(4), torch.arange(8).repeat_interleave(2), torch.arange(16)])[None]
    tokens = Tokens(ids=ids, vocab_sizes=(16, 16, 16), strides=(4, 2, 1))
    assert tokens.bits() == [(4 + 8 + 16) * 4]
    assert from_bytes(to_bytes(tokens)).equal(tokens)
    with pytest.raises(ValueError, match="multiple of the stride 4"):
        tokens.first(positions=6)


@pytest.mark.parametrize("cut", [3, 9, 20, -1])
def test_truncated_file(cut):
    with pytest.raises(TokenFileError, match=r"truncated|not a token file"):
        from_bytes(to_bytes(make())[:cut])


def test_every_altered_byte_is_noticed():
    data = to_bytes(make())
    for at in range(len(data)):
        with pytest.raises(TokenFileError):
            from_bytes(data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :])


def test_trailing_bytes_and_newer_version():
    data = to_bytes(make())
    with pytest.raises(TokenFileError, match="too long"):
        from_bytes(data + b"x")
    with pytest.raises(TokenFileError, match="Update tokenzoo"):
        from_bytes(data[:8] + struct.pack("<H", 99) + data[10:])


def test_ids_outside_the_vocabulary_are_not_saved():
    with pytest.raises(ValueError, match="vocabulary 0..1"):
        to_bytes(make(vocab_sizes=(2, 8, 300)))


def test_save_replaces_the_file_whole(tmp_path):
    path = tmp_path / "t.tok"
    path.write_bytes(b"old")
    make().save(path)
    assert Tokens.load(path).equal(make())
    assert [p.name for p in tmp_path.iterdir()] == ["t.tok"]


def test_items_prefixes_and_tracks():
    t = make(lengths=torch.tensor([4, 2]), names=("semantic", "acoustic", "acoustic"))
    assert len(t) == 2
    assert t[1].ids.shape == (1, 3, 2)
    assert t[-1].sizes.tolist() == [[65]]
    assert [x.ids.shape[2] for x in t] == [4, 2]
    with pytest.raises(IndexError):
        t[2]
    first = t.first(codebooks=2, positions=3)
    assert first.ids.shape == (2, 2, 3)
    assert first.vocab_sizes == (5, 8)
    assert first.lengths.tolist() == [3, 2]
    assert t.track("acoustic").vocab_sizes == (8, 300)
    with pytest.raises(ValueError, match="no codebook is called 'music'"):
        t.track("music")
    for bad in ({"codebooks": 0}, {"codebooks": 4}, {"positions": 0}, {"positions": 5}):
        with pytest.raises(ValueError, match="allowed"):
            t.first(**bad)


def test_cat_is_the_inverse_of_items():
    t = make(lengths=torch.tensor([4, 2]), ids=torch.tensor([[[1, 2, 3, 4]] * 3, [[1, 2, 0, 0]] * 3]))
    assert Tokens.cat([t[0], t[1]]).equal(t)
    with pytest.raises(ValueError, match="cannot join"):
        Tokens.cat([t, make(vocab_sizes=(6, 8, 300))])


def two_grids(coarse, fine) -> Tokens:
    """One picture: a coarse grid of V = 2 beside a fine one of V = 300; the coarse ids end early."""
    (s, t), (h, w) = coarse, fine
    ids = torch.arange(h * w).repeat(1, 2, 1)
    ids[:, 0] = (torch.arange(h * w) < s * t).long()
    return Tokens(ids=ids, vocab_sizes=(2, 300), grid=fine, names=("semantic", "pixel"), book_grids=torch.tensor([[coarse, fine]]))


def test_codebooks_with_grids_of_their_own():
    a, b = two_grids((1, 2), (3, 4)), two_grids((2, 2), (4, 4))
    both = Tokens.cat([a, b])
    assert both.bits() == [2 * 1 + 12 * 9, 4 * 1 + 16 * 9] and both.counts() == [[2, 12], [4, 16]]
    assert both[0].equal(a) and both[1].equal(b)
    assert from_bytes(to_bytes(both)).equal(both)
    semantic = both.track("semantic")
    assert semantic.ids.tolist() == [[[1, 1, 0, 0]], [[1, 1, 1, 1]]] and semantic.lengths.tolist() == [2, 4]
    assert [x.grid for x in semantic] == [(1, 2), (2, 2)] and semantic.book_grids is None
    assert a.track("semantic").grid == (1, 2) and a.first(codebooks=1).equal(a.track("semantic"))
    assert a.track("pixel").ids.tolist() == [[list(range(12))]] and a.track("pixel").grid == (3, 4)
    three = dataclasses.replace(a, ids=a.ids[:, [0, 1, 1]], vocab_sizes=(2, 300, 300), names=("a", "b", "b"),
                                book_grids=a.book_grids[:, [0, 1, 1]])  # fmt: skip
    assert three.first(codebooks=2).equal(dataclasses.replace(a, names=("a", "b")))
    assert three.track("b").book_grids is None and three.track("b").grid == (3, 4)
    with pytest.raises(ValueError, match="no common positions"):
        a.first(positions=1)
    with pytest.raises(ValueError, match=r"book_grids must be \[B, K, 2\]"):
        dataclasses.replace(a, book_grids=torch.zeros(1, 2, 3))


def test_pictures_of_different_grids_stay_apart():
    a = Tokens(ids=torch.ones(1, 1, 6, dtype=torch.int64), vocab_sizes=(4,), grid=(2, 3))
    b = Tokens(ids=torch.ones(1, 1, 4, dtype=torch.int64), vocab_sizes=(4,), grid=(2, 2))
    both = Tokens.cat([a, b])
    assert both.grid == (6,)
    assert both[0].grid == (2, 3)
    assert both[1].grid == (2, 2)
    assert both[1].ids.shape == (1, 1, 4)
    assert from_bytes(to_bytes(both)).equal(both)


@pytest.mark.parametrize(
    "changes",
    [
        {"ids": torch.zeros(2, 3)},
        {"ids": torch.zeros(2, 3, 4)},
        {"vocab_sizes": (5, 8)},
        {"lengths": torch.tensor([5, 1])},
        {"lengths": torch.tensor([1])},
        {"names": ("a",)},
    ],
)
def test_malformed_tokens(changes):
    with pytest.raises(ValueError):
        make(**changes)
