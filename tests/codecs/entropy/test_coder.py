"""Entropy-coded token files: exact, the same bytes everywhere, and errors for all that does not fit.

Run: pytest tests/codecs/entropy/test_coder.py
"""

import json
import struct
import zlib
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from priors import random_prior
from tokenzoo import Tokens
from tokenzoo.codecs.entropy import coder, fixed_point
from tokenzoo.codecs.entropy.neighbours import Neighbour, ids_at, places
from tokenzoo.codecs.entropy.prior import PriorError
from tokenzoo.codecs.identity import TokenizerId
from tokenzoo.codecs.token_file import TokenFileError, coded_bits, from_bytes, to_bytes

pytest.importorskip("constriction")
MAKER = TokenizerId(name="org/codec", family="encodec", modality="audio", fingerprint="ab" * 16)
OTHER = TokenizerId(name="org/other", family="dac", modality="audio", fingerprint="cd" * 16)
#: What the random prior codes `sound()` to, on any machine: the payload, without the header.
CODED = bytes.fromhex("9f67eb2fd116807eca7e1dc2c80c383cacdfbf32588fa4863b9524e1")


def sound() -> Tokens:
    """Two clips of different lengths and rates, in two codebooks of one rate and one of half of it, with all fields of sound."""
    ids = torch.arange(2 * 3 * 8).reshape(2, 3, 8) % 5
    ids[:, 0] = ids[:, 0, ::2].repeat_interleave(2, dim=-1)
    return Tokens(
        ids=ids, vocab_sizes=(5, 8, 300), lengths=torch.tensor([8, 5]), sizes=torch.tensor([[70], [65]]), strides=(2, 1, 1),
        sample_rate_hz=torch.tensor([11025, 192000]), scale=torch.tensor([[0.1, 2.5], [1.0, 0.0]]), names=("a", "b", "b"),
        tokenizer=MAKER,
    )  # fmt: skip


def pictures() -> Tokens:
    """Two grids, and codebooks with grids of their own, one of them with one id only."""
    grids = torch.tensor([[2, 3], [2, 2]])
    books = torch.stack([torch.tensor([[1, 2], [1, 1]]), grids, grids], dim=1)
    ids = torch.arange(2 * 3 * 6).reshape(2, 3, 6) % 4
    ids[:, 2] = 0
    sizes = [[20, 30], [16, 16]]
    return Tokens(ids=ids, vocab_sizes=(4, 16, 1), lengths=grids.prod(1), grids=grids, sizes=sizes, book_grids=books)


def clips() -> Tokens:
    """Two clips of pictures, each with a codebook of its own."""
    tables = (torch.tensor([[0.5, -1.0]]), torch.tensor([[3.0, 0.1], [1e-3, 7.0], [0.0, 0.0]]))
    grids = torch.tensor([[1, 2, 2], [2, 2, 2]])
    ids = torch.tensor([[[0] * 8], [[0, 1, 2, 2, 1, 0, 0, 1]]])
    side = {"table": tables}
    return Tokens(ids=ids, vocab_sizes=(3,), lengths=grids.prod(1), grids=grids, sizes=[[1, 20, 30], [2, 20, 30]], side_vectors=side)


SCALES = Tokens(torch.ones(1, 1, 5).long(), (2,), grid=(2, 2), scales=((1, 1), (2, 2)))
NOTHING = Tokens(torch.zeros(2, 2, 3).long(), (9, 4), lengths=torch.tensor([0, 0]))
CASES = {"sound": sound(), "pictures": pictures(), "clips": clips(), "scales": SCALES, "nothing": NOTHING}


@pytest.mark.parametrize("tokens", CASES.values(), ids=CASES)
def test_every_field_comes_back(tokens, tmp_path):
    prior = random_prior(tokens.vocab_sizes)
    tokens.save(tmp_path / "x.tok", prior=prior)
    assert Tokens.load(tmp_path / "x.tok", prior=prior) == tokens


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([1, 2, 3, 17, 1024]), min_size=1, max_size=3), seed=st.integers(0, 99), planar=st.booleans(),
    lengths=st.lists(st.integers(0, 7), min_size=1, max_size=4), strides=st.booleans(),
)  # fmt: skip
def test_any_tokens(sizes, seed, planar, lengths, strides):
    dice = np.random.default_rng(seed)
    width = 3 if planar else 1
    steps = (2, *(1 for _ in sizes[1:])) if strides and not planar and len(sizes) > 1 else ()
    own = torch.tensor(lengths) * width
    ids = torch.stack([torch.from_numpy(dice.integers(0, v, (len(lengths), max(1, int(own.max()))))) for v in sizes], 1)
    if steps:
        ids[:, 0] = ids[:, 0, ::2].repeat_interleave(2, -1)[:, : ids.shape[2]]
    grids = torch.stack([torch.tensor(lengths), torch.full((len(lengths),), width)], 1) if planar else None
    tokens = Tokens(ids, tuple(sizes), lengths=own, grids=grids, strides=steps)
    prior = random_prior(sizes, seed=seed)
    assert from_bytes(to_bytes(tokens, prior), prior=prior) == tokens


def test_the_bytes_are_the_same_on_every_machine():
    data = to_bytes(sound(), random_prior((5, 8, 300)))
    assert data[-len(CODED) :] == CODED and json.loads(data[18:].split(b"}}")[0] + b"}}")["bytes"] == len(CODED), data.hex()
    assert coded_bits(sound(), random_prior((5, 8, 300))) == 8 * len(CODED)


def test_the_coder_uses_the_frequencies_as_they_are():
    """Its table must be that of the whole numbers, not of floats that it scales: else machines could differ."""
    import constriction

    counts = fixed_point.frequencies(np.random.default_rng(0).integers(-3000, 3000, (50, 777)))
    assert (counts >= 0).all() and (counts.sum(axis=1, dtype=np.float64) == 2**24 - 777).all()
    for row, symbol in zip(counts, range(0, 777, 16), strict=False):
        encoder = constriction.stream.queue.RangeEncoder()
        encoder.encode(np.array([symbol], np.int32), constriction.stream.model.Categorical(perfect=False), row[None])
        _, (lower, width) = encoder.pos()
        unit = (2**64 - 1) >> 24  # of the range before the first id
        assert (lower // unit, width // unit) == (int(row[:symbol].sum(dtype=np.float64)) + symbol, int(row[symbol]) + 1)


def test_powers_of_two_are_exact():
    unit = fixed_point.UNIT
    two = fixed_point.frequencies(np.array([[3 * unit, 2 * unit, 0]]))[0] + 1
    assert two[0] / two[1] == pytest.approx(2, rel=0.05) and two[0] / two[2] == pytest.approx(8, rel=0.15), "but for the escape"
    assert [int(fixed_point._POWERS[i * unit]) for i in range(4)] == [1 << 20, 1 << 19, 1 << 18, 1 << 17]
    flat = fixed_point.frequencies(np.zeros((1, 4), np.int64))[0] + 1
    assert (flat == 2**22).all()


@pytest.mark.parametrize("vocab_size", [2, 3, 1000, 1 << 16])
def test_an_id_takes_its_least_bits_at_least(vocab_size):
    logarithms = np.full((1, vocab_size), -(1 << 20))
    logarithms[0, 1] = 0
    likeliest = (float(fixed_point.frequencies(logarithms)[0, 1]) + 1) / 2**24
    assert -np.log2(likeliest) > fixed_point.LEAST_BITS


def test_neighbours_of_a_grid():
    ids = np.arange(6)
    assert ids_at(ids, places((2, 3), (2, 3), Neighbour(0, 0, -1), before=True), 9).tolist() == [9, 0, 1, 9, 3, 4]
    assert ids_at(ids, places((2, 3), (2, 3), Neighbour(0, -1, 1), before=True), 9).tolist() == [9, 9, 9, 1, 2, 9]
    assert ids_at(ids, places((2, 3), (2, 3), Neighbour(0, 0, 1), before=True), 9).tolist() == [9] * 6, "it comes later"
    assert ids_at(ids, places((2, 3), (2, 3), Neighbour(0, 0, 0), before=True), 9).tolist() == [9] * 6, "it is no neighbour of itself"
    assert ids_at(ids, places((2, 3), (2, 3), Neighbour(0, 1, 0), before=False), 9).tolist() == [3, 4, 5, 9, 9, 9]
    assert ids_at(ids[:3], places((1, 6), (1, 3), Neighbour(0, 0, 0), before=False), 9).tolist() == [0, 0, 1, 1, 2, 2], "half the rate"


# --- what does not fit ----------------------------------------------------------------------------------------------


def test_the_prior_must_be_of_these_tokens():
    with pytest.raises(PriorError, match=r"of codebooks of \(5, 8\) ids; the tokens have \(5, 8, 300\)"):
        to_bytes(sound(), random_prior((5, 8)))
    with pytest.raises(PriorError, match="is of the tokens of org/other.*made by org/codec"):
        to_bytes(sound(), random_prior((5, 8, 300), tokenizer=asdict(OTHER)))
    with pytest.raises(PriorError, match="no file, and no checkpoint with a prior"):
        to_bytes(sound(), "encodec-24khz")
    with pytest.raises(PriorError, match="prior is 7"):
        to_bytes(sound(), 7)
    few = sound().first(codebooks=2)
    prior = random_prior((5, 8, 300), tokenizer=asdict(MAKER))
    assert from_bytes(to_bytes(few, prior), prior=prior) == few, "the first codebooks alone"


@pytest.mark.parametrize("of_prior", [None, MAKER])
@pytest.mark.parametrize("maker", [None, MAKER, replace(MAKER, name="a-folder")])
def test_the_maker_comes_back(of_prior, maker):
    """It stands in the file only where the prior does not state it."""
    prior = random_prior((5, 8, 300), tokenizer=None if of_prior is None else asdict(of_prior))
    data = to_bytes(sound().made_by(maker), prior)
    back = from_bytes(data, prior=prior).tokenizer
    assert (back is None and maker is None) or asdict(back) == asdict(maker)
    assert (b"fingerprint" + b'":"' + b"ab" * 16 in data) == (maker is not None and maker.name != (of_prior and of_prior.name))


def test_a_file_needs_its_own_prior():
    data = to_bytes(sound(), random_prior((5, 8, 300)))
    with pytest.raises(TokenFileError, match="'random'.*not one of the package; pass its file as `prior`"):
        from_bytes(data)
    with pytest.raises(TokenFileError, match="were coded with the prior 'random'.*given was 'random'"):
        from_bytes(data, prior=random_prior((5, 8, 300), seed=1))
    assert from_bytes(to_bytes(sound()), prior=random_prior((5, 8, 300))) == sound(), "plain ids need none"


def test_altered_and_truncated_files():
    prior = random_prior((5, 8, 300))
    data = to_bytes(sound(), prior)
    for broken in (data[:-1], data[:60], data + b"\0", data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]):
        with pytest.raises(TokenFileError, match=r"truncated|too long|altered"):
            from_bytes(broken, prior=prior)


def changed(data: bytes, payload: bytes | None = None, **header) -> bytes:
    """The file with another payload and other values in its header, all checksums right."""
    magic, version, length, _ = struct.unpack_from("<8sHII", data)
    old, rest = json.loads(data[18 : 18 + length]), data[18 + length :] if payload is None else payload
    text = json.dumps(old | {"bytes": len(rest), "crc": zlib.crc32(rest)} | header).encode()
    return struct.pack("<8sHII", magic, version, len(text), zlib.crc32(text)) + text + rest


def test_hostile_files():
    prior = random_prior((5, 8, 300))
    data = to_bytes(sound(), prior)
    assert from_bytes(changed(data), prior=prior) == sound()
    for payload in (b"", CODED[:-4], CODED[:-1], CODED + bytes(400), b"\xff" * len(CODED)):
        with pytest.raises(TokenFileError):
            from_bytes(changed(data, payload), prior=prior)
    for facts in (None, {}, {"name": "x"}, {"name": 1, "fingerprint": "a"}, "x"):
        with pytest.raises(TokenFileError, match="its prior is"):
            from_bytes(changed(data, prior=facts), prior=prior)
    with pytest.raises(TokenFileError, match="take 1250 bytes at least"):
        from_bytes(changed(to_bytes(SCALES, random_prior((2,))), shape=[1, 1, 1000000], scales=[], grid=[1000000], lengths=[1000000]),
                   prior=random_prior((2,)))  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=0, max_size=40))
def test_any_bytes_are_ids_or_an_error(data):
    prior, grids = random_prior((5, 8, 300)), [[(1, 4)], [(1, 4)], [(1, 4)]]
    try:
        ids = coder.decode(prior, data, grids)
    except PriorError:
        return
    assert all(0 <= i < v for book, v in zip(ids, (5, 8, 300), strict=True) for i in book[0].tolist())


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "constriction", None)
    with pytest.raises(PriorError, match=r"pip install 'tokenzoo\[entropy\]'"):
        to_bytes(sound(), random_prior((5, 8, 300)))
