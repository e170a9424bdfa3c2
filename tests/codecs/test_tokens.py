"""`Tokens`, its slices and its file. Run: pytest tests/codecs/test_tokens.py"""

import dataclasses
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenzoo import Tokens
from tokenzoo.codecs.identity import TokenizerId
from tokenzoo.codecs.token_fields import TokenError
from tokenzoo.codecs.token_file import TokenFileError, from_bytes, to_bytes

ONE, OTHER = (TokenizerId(name=n, family="x", modality="audio", fingerprint=n * 32) for n in "ab")


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


# --- one rate an item, and who made them ------------------------------------------------------------------------------


def test_clips_of_different_lengths_stay_apart():
    long, short = (
        Tokens(torch.arange(n * 4)[None, None] % 3, (3,), grid=(n, 2, 2), side_vectors={"table": (torch.full((n, 2), n / 2),)})
        for n in (3, 1)
    )
    both = Tokens.cat([long, short])
    assert both.grid == (12,) and both.grids.tolist() == [[3, 2, 2], [1, 2, 2]]
    assert both[0] == long and both[1] == short and Tokens.cat([both[1:], both[:1]])[1] == long
    assert from_bytes(to_bytes(both)) == both
    with pytest.raises(TokenError, match="clips join clips"):
        Tokens.cat([long, dataclasses.replace(short, grid=(2, 2))])


def test_every_item_has_a_rate_of_its_own():
    one, two, three = make(), make(sample_rate_hz=192000), make(sample_rate_hz=torch.tensor([8000, 11025]))
    assert one.sample_rate_hz.tolist() == [16000, 16000] and one.sample_rate_hz.dtype == torch.int64
    both = Tokens.cat([one, two, three])
    assert both.sample_rate_hz.tolist() == [16000, 16000, 192000, 192000, 8000, 11025]
    assert both[4].sample_rate_hz.tolist() == [8000] and both[-3:].sample_rate_hz.tolist() == [192000, 8000, 11025]
    assert [int(t.sample_rate_hz) for t in both.first(codebooks=1, positions=2)] == both.sample_rate_hz.tolist()
    assert make(names=("a", "b", "b"), sample_rate_hz=[1, 2]).track("b").sample_rate_hz.tolist() == [1, 2]
    assert from_bytes(to_bytes(both)) == both and from_bytes(to_bytes(both)).sample_rate_hz.tolist() == both.sample_rate_hz.tolist()
    assert both.to("cpu") == both and both[0] != both[2]
    with pytest.raises(TokenError, match="some have sample_rate_hz"):
        Tokens.cat([one, make(sample_rate_hz=None)])


def test_tokens_say_who_made_them():
    mine = make(tokenizer=ONE)
    assert mine.first(codebooks=1).tokenizer == mine[0].tokenizer == mine[1:].tokenizer == mine.to("cpu").tokenizer == ONE
    assert Tokens.cat([mine, mine]).tokenizer == ONE and from_bytes(to_bytes(mine)) == mine
    assert mine != make() and mine == make().made_by(ONE) and "made by a (x, aaaaaaaa)" in repr(mine)
    assert Tokens.cat([mine, make()]).tokenizer is None
    with pytest.raises(TokenError, match=r"two tokenizers: a \(x, aaaaaaaa\) and b \(x, bbbbbbbb\)"):
        Tokens.cat([mine, make(tokenizer=OTHER)])
    same = dataclasses.replace(ONE, name="loaded from elsewhere")
    assert same == ONE and Tokens.cat([mine, make(tokenizer=same)]).tokenizer == ONE


@pytest.mark.parametrize("change", [{"name": ""}, {"family": 5}, {"fingerprint": "x" * 201}, {"modality": None}])
def test_an_identity_is_text(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        dataclasses.replace(ONE, **change)


# --- equality ---------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(any_tokens())
def test_equal_tokens_are_equal(tokens):
    again = dataclasses.replace(tokens, **{n: v.clone() for n, v in tokens._tensors().items()})
    assert again == tokens and again.equal(tokens)
    assert (again != tokens) is False


@pytest.mark.parametrize(
    "change",
    [
        {"ids": torch.zeros(2, 3, 4, dtype=torch.int64)},
        {"vocab_sizes": (5, 8, 301)},
        {"lengths": [4, 3]},
        {"sizes": [[70], [66]]},
        {"sizes": None},
        {"sample_rate_hz": [16000, 8000]},
        {"scale": [[1.0], [2.0]]},
        {"names": ("a", "b", "c")},
        {"grid": (2, 2)},
        {"side_vectors": {"voice": (torch.zeros(1, 2), torch.ones(1, 2))}},
        {"tokenizer": ONE},
    ],
)
def test_tokens_that_differ_in_one_field_are_not(change):
    assert make(**change) != make() and make(**change) == make(**change)


def test_tokens_are_no_keys_and_equal_nothing_else():
    with pytest.raises(TypeError, match="unhashable"):
        {make()}
    assert make() != "tokens" and make() != make().ids.tolist() and (make() == None) is False  # noqa: E711


# --- what is refused --------------------------------------------------------------------------------------------------


def test_what_stands_past_an_items_length_does_not_count():
    full = make(ids=torch.full((2, 3, 4), 4), lengths=[4, 2])
    assert full.ids[1, :, 2:].sum() == 0 and full.ids[0].min() == 4
    junk = full.ids.clone()
    junk[1, :, 2:] = -100
    assert make(ids=junk, lengths=[4, 2]) == full


@pytest.mark.parametrize(
    "changes",
    [
        {"ids": torch.zeros(2, 3)},
        {"ids": torch.zeros(2, 3, 4)},
        {"vocab_sizes": (5, 8)},
        {"lengths": torch.tensor([5, 1])},
        {"lengths": torch.tensor([1])},
        {"names": ("a",)},
        {"names": (1, 2, 3)},
        {"ids": torch.zeros(2, 3, 4, dtype=torch.bool)},
        {"ids": torch.zeros(2, 3, 4).tolist()},
        {"ids": torch.full((2, 3, 4), -1)},
        {"ids": torch.full((2, 3, 4), 5)},
        {"vocab_sizes": (5, 8, 0)},
        {"vocab_sizes": (5, 8, 300.0)},
        {"vocab_sizes": None},
        {"lengths": torch.tensor([4, -1])},
        {"lengths": torch.tensor([4.0, 1.0])},
        {"lengths": "ab"},
        {"grid": (2, 3)},
        {"grid": (-1, -4)},
        {"grid": 4},
        {"grids": torch.tensor([[2, 2]])},
        {"grids": torch.tensor([[2, 2], [1, 2]])},
        {"grids": torch.tensor([[-2, -2], [2, 2]])},
        {"sizes": torch.tensor([70, 65])},
        {"sizes": torch.tensor([[70]])},
        {"sizes": torch.tensor([[70], [0]])},
        {"sizes": torch.tensor([[70.5], [65.0]])},
        {"sample_rate_hz": 0},
        {"sample_rate_hz": 16000.0},
        {"sample_rate_hz": True},
        {"sample_rate_hz": "16000"},
        {"sample_rate_hz": [16000, 16000, 16000]},
        {"sample_rate_hz": 2**40},
        {"scale": torch.tensor([[1.0], [float("nan")]])},
        {"scale": torch.tensor([[1.0], [float("inf")]])},
        {"scale": torch.ones(3, 1)},
        {"scale": torch.ones(2, 0)},
        {"scale": torch.ones(2)},
        {"strides": (1, 2)},
        {"strides": (0, 1, 1)},
        {"strides": (4, 1, 1)},  # the ids differ inside a stride
        {"scales": ((1, 1), (1, 1))},
        {"scales": 5},
        {"book_grids": torch.tensor([[[9, 9]] * 3] * 2)},
        {"grids": torch.ones(2, 4, dtype=torch.int64)},
        {"side_vectors": (torch.zeros(1, 2), torch.zeros(1, 2))},
        {"side_vectors": {"voice": torch.zeros(2, 2)}},
        {"side_vectors": {"voice": (torch.zeros(1, 2),)}},
        {"side_vectors": {"voice": (torch.zeros(2), torch.zeros(2))}},
        {"side_vectors": {"voice": (torch.zeros(1, 2), torch.full((1, 2), torch.inf))}},
        {"side_vectors": {"": (torch.zeros(1, 2), torch.zeros(1, 2))}},
        {"tokenizer": "encodec"},
    ],
)
def test_malformed_tokens(changes):
    with pytest.raises(TokenError):
        make(**changes)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "at least one"),
        ([make(), make(sizes=None)], "some have sizes"),
        ([make(scale=[[1.0], [1.0]]), make()], "some have scale"),
        ([make(), make(sizes=[[1, 2], [1, 2]])], "1 and 2 numbers"),
        ([make(grid=(2, 2)), make()], "cannot join: grids"),
        ([make(names=("a", "b", "c")), make()], "names"),
        ([make(side_vectors={"voice": (torch.zeros(1, 2),) * 2}), make()], "side vectors"),
    ],
)
def test_batches_that_do_not_join(items, message):
    with pytest.raises(TokenError, match=message):
        Tokens.cat(items)


def test_multi_scale_items_keep_their_grids_in_a_batch():
    scales = ((1, 1), (2, 2))
    whole = Tokens(torch.ones(1, 1, 5).long(), (2,), grid=(2, 2), scales=scales)
    part = whole.first(positions=1)
    both = Tokens.cat([part, whole])
    assert both[0] == part and both[1] == whole and both.grid == (2, 2)


@pytest.mark.parametrize("index", [1.0, "0", None, [0]])
def test_only_numbers_and_slices_choose_items(index):
    with pytest.raises(TokenError, match="must be a whole number"):
        make()[index]


def test_fewer_codebooks_of_own_grids_have_fewer_positions():
    """Positions are counted after the codebooks are cut."""
    ids = torch.ones(2, 2, 9).long()
    tokens = Tokens(ids, (4, 4), grid=(3, 3), book_grids=torch.tensor([[[2, 2], [3, 3]], [[1, 1], [3, 3]]]))
    both = tokens.first(codebooks=1, positions=3)
    assert both == tokens.first(codebooks=1).first(positions=3) and both.lengths.tolist() == [3, 1]
    with pytest.raises(TokenError, match="allowed: 1 to 4"):
        tokens.first(codebooks=1, positions=8)
