"""Files of priors. Run: pytest tests/codecs/entropy/test_prior.py"""

import dataclasses
import json
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from priors import random_prior
from tokenzoo.codecs.entropy.prior import BookPrior, Prior, PriorError

MAKER = {"name": "org/codec", "family": "encodec", "modality": "audio", "fingerprint": "ab" * 16}


def test_a_prior_comes_back(tmp_path):
    prior = random_prior((5, 1, 300), tokenizer=MAKER)
    prior.save(tmp_path / "p.prior")
    back = Prior.load(tmp_path / "p.prior")
    assert (back.fingerprint, back.name, back.vocab_sizes, back.tokenizer) == (prior.fingerprint, "random", (5, 1, 300), MAKER)
    sums = np.random.default_rng(0).integers(-300, 300, (7, 3))
    assert np.array_equal(back.books[2].frequencies(sums), prior.books[2].frequencies(sums))
    assert repr(back).startswith("Prior('random', V [5, 1, 300], ")


def test_the_checksum_is_of_what_coding_depends_on():
    one = random_prior((5, 8))
    assert dataclasses.replace(one, name="other").fingerprint == one.fingerprint != random_prior((5, 8), seed=1).fingerprint
    book = one.books[0]
    assert isinstance(book, BookPrior)
    assert dataclasses.replace(one, books=(dataclasses.replace(book, shift=6), one.books[1])).fingerprint != one.fingerprint


def test_large_vocabularies_share_rows():
    prior = random_prior((1 << 16,), rank=1)
    assert prior.books[0].tables[0].shape == (4097, 1)
    rows = prior.books[0].vectors(0, np.array([0, 15, 16, 65535, 65536]), 1 << 16)
    assert rows.tolist() == prior.books[0].tables[0][[0, 0, 1, 4095, 4096]].tolist()


def test_sums_that_float32_does_not_hold_are_refused():
    book = random_prior((5, 8), rank=256).books[1]
    with pytest.raises(PriorError, match="where float32 is not exact"):
        Prior("x", (5, 8), (random_prior((5, 8), rank=256).books[0], dataclasses.replace(
            book, neighbours=book.neighbours[:1] * 16, tables=(np.full((9, 256), 127, np.int8),) * 16,
            matrix=np.full((256, 8), 127, np.int8))))  # fmt: skip


@pytest.mark.parametrize("change", [
    {"name": ""}, {"vocab_sizes": (5,)}, {"vocab_sizes": (5, 9)}, {"vocab_sizes": (5, 1)}, {"vocab_sizes": (5, 1 << 17)}, {"books": ()},
])  # fmt: skip
def test_parts_that_do_not_fit(change):
    with pytest.raises(PriorError):
        dataclasses.replace(random_prior((5, 8)), **change)


def changed(data: bytes, **header) -> bytes:
    """The file with other values in its header, all checksums right."""
    magic, version, length, _ = struct.unpack_from("<8sHII", data)
    text = json.dumps(json.loads(data[18 : 18 + length]) | header).encode()
    rest = text + data[18 + length :]
    return struct.pack("<8sHII", magic, version, len(text), zlib.crc32(rest)) + rest


def test_broken_files():
    data = random_prior((5, 8)).to_bytes()
    assert Prior.from_bytes(changed(data)).vocab_sizes == (5, 8)
    for broken, why in ((b"PK\3\4", "no prior of ids"), (data[:12], "truncated"), (data[:-1], "altered"), (data + b"\0", "altered")):
        with pytest.raises(PriorError, match=why):
            Prior.from_bytes(broken)
    with pytest.raises(PriorError, match="version 9"):
        Prior.from_bytes(data[:8] + b"\x09\0" + data[10:])
    hostile = {"rank": 256, "vocab_sizes": [1 << 16] * 8, "books": [{"neighbours": [[0, 0, -1]] * 16, "shift": 1}] * 8}
    with pytest.raises(PriorError, match=r"would take \d+,\d+,\d+ bytes|where a whole number"):
        Prior.from_bytes(changed(data, **hostile))
    wrong = ({"rank": -1}, {"rank": "3"}, {"books": 3}, {"books": [None, None]}, {"vocab_sizes": [5, 8, 9]}, {"name": None})
    short = {"books": [{"neighbours": [[0]], "shift": 1}] * 2}
    for header in (*wrong, short, {"tokenizer": 3}, {"books": [{"neighbours": [], "shift": 99}] * 2}, {"vocab_sizes": []}):
        with pytest.raises(PriorError):
            Prior.from_bytes(changed(data, **header))


def test_books_of_different_ranks():
    one, two = random_prior((5, 8), rank=2), random_prior((5, 8), rank=3)
    with pytest.raises(PriorError, match="different ranks"):
        Prior("x", (5, 8), (one.books[0], two.books[1]))


def test_bytes_behind_the_numbers():
    magic, version, length, _ = struct.unpack_from("<8sHII", data := random_prior((5, 8)).to_bytes())
    for rest in (data[18:] + b"more", data[18:-4]):
        with pytest.raises(PriorError, match="does not hold the"):
            Prior.from_bytes(struct.pack("<8sHII", magic, version, length, zlib.crc32(rest)) + rest)


@settings(max_examples=60, deadline=None)
@given(at=st.integers(18, 400), value=st.integers(0, 255))
def test_one_wrong_byte(at, value):
    data = bytearray(random_prior((5, 8)).to_bytes())
    at = at % len(data)
    if data[at] != value:
        data[at] = value
        with pytest.raises(PriorError):
            Prior.from_bytes(bytes(data))
