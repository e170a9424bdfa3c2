"""Token files of strangers: broken, altered, hostile, old. Run: pytest tests/codecs/test_token_file.py"""

import json
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenzoo import Tokens
from tokenzoo.codecs.identity import TokenizerId
from tokenzoo.codecs.token_fields import TokenError
from tokenzoo.codecs.token_file import TokenFileError, from_bytes, to_bytes

MAKER = TokenizerId(name="org/codec", family="encodec", modality="audio", fingerprint="ab" * 16)
#: Written before tokens said who made them, and with one rate for the whole batch.
OLD = bytes.fromhex(
    "544f4b454e5a4f4f0100ad00000087e924847b227368617065223a5b322c322c335d2c22766f6361625f73697a6573223a5b382c355d2c2267726964223a5b335d"
    "2c226c656e67746873223a5b332c325d2c226279746573223a342c22637263223a31323136343535362c2273697a6573223a5b5b37305d2c5b36355d5d2c227361"
    "6d706c655f726174655f687a223a31363030302c227363616c65223a5b5b302e355d2c5b302e32355d5d2c226e616d6573223a5b2261222c2262225d7d29c0bd24"
)


def sound() -> Tokens:
    """Two clips of two rates, with all that tokens of sound may have."""
    ids = torch.arange(2 * 3 * 8).reshape(2, 3, 8) % 5
    ids[:, 0] = ids[:, 0, ::2].repeat_interleave(2, dim=-1)
    return Tokens(
        ids=ids, vocab_sizes=(5, 8, 300), lengths=torch.tensor([8, 6]), sizes=torch.tensor([[70], [65]]), strides=(2, 1, 1),
        sample_rate_hz=torch.tensor([11025, 192000]), scale=torch.tensor([[0.1, 2.5], [1.0, 0.0]]), names=("a", "b", "b"),
        tokenizer=MAKER,
    )  # fmt: skip


def pictures() -> Tokens:
    """Two grids, and codebooks with grids of their own."""
    grids = torch.tensor([[2, 3], [2, 2]])
    books = torch.stack([torch.tensor([[1, 2], [1, 1]]), grids], dim=1)
    ids = torch.arange(2 * 2 * 6).reshape(2, 2, 6) % 4
    return Tokens(ids=ids, vocab_sizes=(4, 16), lengths=grids.prod(1), grids=grids, sizes=[[20, 30], [16, 16]], book_grids=books)


def clips() -> Tokens:
    """Two clips of pictures, of one and of two frames, each with a codebook of its own."""
    tables = (torch.tensor([[0.5, -1.0]]), torch.tensor([[3.0, 0.1], [1e-3, 7.0], [0.0, 0.0]]))
    grids = torch.tensor([[1, 2, 2], [2, 2, 2]])
    ids = torch.tensor([[[0] * 8], [[0, 1, 2, 2, 1, 0, 0, 1]]])
    return Tokens(
        ids=ids, vocab_sizes=(3,), lengths=grids.prod(1), grids=grids, sizes=[[1, 20, 30], [2, 20, 30]], side_vectors={"table": tables}
    )


SCALES = Tokens(torch.ones(1, 1, 5).long(), (2,), grid=(2, 2), scales=((1, 1), (2, 2)))
CASES = {"sound": sound(), "pictures": pictures(), "clips": clips(), "scales": SCALES}


def header_of(data: bytes) -> dict:
    return json.loads(data[18 : 18 + struct.unpack_from("<I", data, 10)[0]])


def build(header: object, payload: bytes = b"") -> bytes:
    """A file whose checksums are right, whatever its header says."""
    if isinstance(header, dict):
        header = {"bytes": len(payload), "crc": zlib.crc32(payload)} | header
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<8sHII", b"TOKENZOO", 1, len(text), zlib.crc32(text)) + text + payload


@pytest.mark.parametrize("name", CASES)
def test_everything_comes_back(name, tmp_path):
    tokens = CASES[name]
    assert from_bytes(to_bytes(tokens)) == tokens
    tokens.save(tmp_path / "t.tok")
    again = Tokens.load(tmp_path / "t.tok")
    assert again == tokens and again.tokenizer == tokens.tokenizer
    if tokens.tokenizer is not None:
        assert again.tokenizer.name == "org/codec"  # equality does not look at the name


def test_files_of_before_are_read():
    tokens = from_bytes(OLD)
    assert tokens.ids.tolist() == [[[1, 2, 3], [4, 0, 2]], [[7, 5, 0], [1, 1, 0]]]
    assert tokens.sample_rate_hz.tolist() == [16000, 16000] and tokens.tokenizer is None
    assert tokens.scale.tolist() == [[0.5], [0.25]] and tokens.names == ("a", "b") and tokens.sizes.tolist() == [[70], [65]]


def test_files_that_older_versions_understand_are_written_where_they_can_be():
    assert header_of(to_bytes(from_bytes(OLD)))["sample_rate_hz"] == 16000
    assert header_of(to_bytes(sound()))["sample_rate_hz"] == [11025, 192000]


# --- broken ones ------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(sorted(CASES)), st.data())
def test_changed_bytes_are_noticed(name, data):
    """Bits that flip, bytes that are lost, doubled or replaced: the file is equal to what it was, or refused."""
    whole = to_bytes(CASES[name])
    out = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(0, len(out) - 1)))
        kind = data.draw(st.sampled_from(["flip", "cut", "drop", "double", "replace", "append"]))
        if kind == "flip" and out:
            out[at] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "cut":
            del out[at:]
        elif kind == "drop":
            del out[at : at + data.draw(st.integers(1, 8))]
        elif kind == "double":
            out[at:at] = out[at : at + data.draw(st.integers(1, 8))]
        elif kind == "replace":
            out[at : at + 1] = data.draw(st.binary(min_size=1, max_size=4))
        else:
            out += data.draw(st.binary(min_size=1, max_size=4))
    try:
        found = from_bytes(bytes(out))
    except TokenFileError:
        return
    assert bytes(out) == whole and found == CASES[name]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["shape", "vocab_sizes", "grid", "lengths", "bytes", "crc", "grids", "sizes", "sample_rate_hz", "scale", "strides", "scales"]
KEYS += ["names", "book_grids", "side_vectors", "tokenizer"]


@settings(deadline=None, max_examples=500)
@given(st.sampled_from(sorted(CASES)), st.sampled_from(KEYS), json_values)
def test_a_header_that_says_anything_gives_tokens_or_a_clean_error(name, key, value):
    """The checksums are right: a file that somebody made on purpose. What is read, is written and read again equally."""
    whole = to_bytes(CASES[name])
    header = header_of(whole) | {key: value}
    try:
        tokens = from_bytes(build(header, whole[18 + struct.unpack_from("<I", whole, 10)[0] :]))
    except TokenFileError:
        return
    assert from_bytes(to_bytes(tokens)) == tokens


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.sampled_from(KEYS), json_values), st.binary(max_size=20))
def test_headers_of_nothing_but_noise(header, payload):
    try:
        tokens = from_bytes(build(header, payload))
    except TokenFileError:
        return
    assert from_bytes(to_bytes(tokens)) == tokens


GOOD = {"shape": [1, 1, 4], "vocab_sizes": [10], "grid": [4], "lengths": [4]}
FOUR = np.packbits(np.unpackbits(np.array([1, 2, 3, 4], np.uint8)).reshape(4, 8)[:, 4:].reshape(-1)).tobytes()


def test_the_file_that_the_next_test_breaks_is_right():
    assert from_bytes(build(GOOD, FOUR)).ids.tolist() == [[[1, 2, 3, 4]]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_sizes": [0]}, "allowed: whole numbers of 1"),
        ({"vocab_sizes": [-5]}, "allowed: whole numbers of 1"),
        ({"vocab_sizes": [9, 9]}, "2 entries for K=1"),
        ({"lengths": [-1]}, "allowed: 0 to 4"),
        ({"lengths": [5]}, "allowed: 0 to 4"),
        ({"lengths": [4, 4]}, r"lengths must be \[B\]"),
        ({"lengths": [3]}, "take 12 bits"),
        ({"grid": [9, 9]}, "81 places"),
        ({"grid": "4"}, "tuple of whole numbers"),
        ({"sizes": [[1], [2]]}, r"sizes must be \[B, n\]"),
        ({"sizes": [[0]]}, "allowed: 1 to"),
        ({"sizes": "x"}, "whole numbers"),
        ({"scale": [[1.0], [1.0]]}, r"scale must be numbers \[B=1, S\]"),
        ({"grids": [[2, 2], [2, 2]]}, r"grids must be \[B, n\]"),
        ({"grids": [[1, 1, 2, 2]]}, r"of clips, \[B, 3\]"),
        ({"grids": [[2, 3]]}, "as many places"),
        ({"sample_rate_hz": "x"}, "whole numbers of Hz"),
        ({"sample_rate_hz": 0}, "allowed: 1 to"),
        ({"sample_rate_hz": -16000}, "allowed: 1 to"),
        ({"sample_rate_hz": 1.5}, "whole number of Hz"),
        ({"sample_rate_hz": True}, "whole number of Hz"),
        ({"strides": [0]}, "allowed: whole numbers of 1"),
        ({"scales": [[1, 1]]}, "do not fit the scales"),
        ({"scales": [[1, 1, 1]]}, "pairs"),
        ({"names": "ab"}, "tuple of names"),
        ({"book_grids": [[[2, 3]]]}, "as many places"),
        ({"side_vectors": {"a": [[9, 9]]}}, "side vectors alone take 324"),
        ({"side_vectors": {"a": []}}, "of each of 1 items"),
        ({"side_vectors": {"a": [[-1, 2]]}}, r"each is \[n, D\]"),
        ({"side_vectors": {"a": [[0, 2**70]]}}, r"each is \[n, D\]"),
        ({"side_vectors": [1]}, "not a name"),
        ({"shape": [1, 1]}, r"not \[B, K, L\]"),
        ({"shape": [1, 1, -4]}, r"not \[B, K, L\]"),
        ({"shape": [True, 1, 4]}, r"not \[B, K, L\]"),
        ({"shape": [1, 0, 4]}, "K of 1 or more"),
        ({"tokenizer": "encodec"}, "not name, family"),
        ({"tokenizer": {"name": "x", "family": "y", "modality": "audio", "fingerprint": 5}}, "fingerprint"),
        ({"crc": "x"}, "'crc'"),
        ({"bytes": 2.0}, "'bytes'"),
        ({"more": 1}, "not known here"),
    ],
)
def test_headers_that_contradict_themselves(change, message):
    with pytest.raises(TokenFileError, match=message):
        from_bytes(build(GOOD | change, FOUR))


@pytest.mark.parametrize("key", [*GOOD, "bytes", "crc"])
def test_keys_that_are_missing(key):
    header = {k: v for k, v in (GOOD | {"bytes": len(FOUR), "crc": zlib.crc32(FOUR)}).items() if k != key}
    text = json.dumps(header).encode()
    with pytest.raises(TokenFileError, match=f"lacks \\['{key}'\\]"):
        from_bytes(build(text, FOUR))


def test_side_vectors_are_numbers():
    header = GOOD | {"side_vectors": {"a": [[1, 1]]}}
    assert from_bytes(build(header, FOUR + struct.pack("<f", 2.5))).side_vectors["a"][0].tolist() == [[2.5]]
    with pytest.raises(TokenFileError, match="NaN or infinite"):
        from_bytes(build(header, FOUR + struct.pack("<f", float("nan"))))


def test_two_ways_to_say_how_many_ids_a_codebook_has():
    data = to_bytes(pictures())
    header = header_of(data)
    assert from_bytes(build(header, data[-header["bytes"] :])) == pictures()
    with pytest.raises(TokenFileError, match="contradict each other"):
        from_bytes(build(header | {"strides": [2, 1]}, data[-header["bytes"] :]))


def test_ids_above_the_vocabulary_bits_to_spare_and_more_ids_than_are_described():
    with pytest.raises(TokenFileError, match="outside its vocabulary 0..9"):
        from_bytes(build(GOOD, b"\xff\xff"))
    with pytest.raises(TokenFileError, match="take 16 bits"):
        from_bytes(build(GOOD, FOUR + b"\0"))
    with pytest.raises(TokenFileError, match="take 12 bits"):
        from_bytes(build(GOOD | {"shape": [1, 1, 3], "grid": [3], "lengths": [3]}, FOUR))  # the last 4 bits are no filling


NO_MAPPINGS = [
    b"[]", b"5", b"null", b"{", b"\xff\xfe\xfd", b'{"a": NaN}', b'{"a": 1e999999}', b"[" * 100_000, b'{"a": ' + b"9" * 9999 + b"}",
]


@pytest.mark.parametrize("text", NO_MAPPINGS)
def test_headers_that_are_no_mapping(text):
    with pytest.raises(TokenFileError, match="cannot be read"):
        from_bytes(build(text))


def test_deep_values_end_in_a_clean_error():
    deep: object = 1
    for _ in range(400):
        deep = [deep]
    for key in KEYS:
        with pytest.raises(TokenFileError):
            from_bytes(build(GOOD | {key: deep}, FOUR))


@pytest.mark.parametrize("shape", [[1, 1, 300_000_000], [10**6, 10**6, 10**6], [1, 10**9, 1], [2**62, 2**62, 2]])
def test_a_short_file_cannot_ask_for_gigabytes(shape):
    data = build({"shape": shape, "vocab_sizes": [2], "grid": [shape[2]], "lengths": [0]})
    tracemalloc.start()
    with pytest.raises(TokenFileError, match="cannot hold"):
        from_bytes(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_dense_files_are_read_though_their_ids_take_much_more():
    tokens = Tokens(torch.randint(0, 2, (1, 1, 10_000_000)), (2,))
    assert from_bytes(to_bytes(tokens)) == tokens  # 80 MB out of 1.25 MB


# --- files ------------------------------------------------------------------------------------------------------------


def test_what_is_no_file_or_no_token_file(tmp_path):
    with pytest.raises(TokenFileError, match="is not a file"):
        Tokens.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        Tokens.load(tmp_path / "none.tok")
    (tmp_path / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(TokenFileError, match="photo.png is not a token file"):
        Tokens.load(tmp_path / "photo.png")


def test_a_save_that_fails_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "t.tok"
    sound().save(path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        pictures().save(path)
    monkeypatch.undo()
    with pytest.raises(TokenError, match="nothing to save"):
        sound()[0:0].save(path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["t.tok"]
