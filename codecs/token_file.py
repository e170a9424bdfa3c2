"""The token file: magic, version, JSON header, bit-packed ids.

    8 bytes   magic b"TOKENZOO"
    2 bytes   version, little endian
    4 bytes   length of the header in bytes
    4 bytes   CRC-32 of the header
    header    UTF-8 JSON: shapes, vocabulary, lengths, sizes, the tokenizer that made them, CRC-32 and length of the payload
    payload   for each item, for each codebook: its ids, ceil(log2 V) bits each, most significant bit first,
              one id for every `stride` positions or for each place of `book_grids`; zero bits fill up the last byte.
              Then for each name of `side_vectors`, for each item: its floats, 32 bits each, little endian

Files are untrusted: a header is checked like the arguments of a caller, before memory is allocated for its ids.
"""

import dataclasses
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .identity import TokenizerId
from .spec import id_bits
from .token_fields import MAX_SIDE, TokenError
from .tokens import Tokens

MAGIC = b"TOKENZOO"
VERSION = 1
_HEAD = struct.Struct("<8sHII")
#: Largest memory of the ids: the larger of this many bytes and this many times the file's size. Ids of real files take at most 64
#: times the file's size, or more only if a batch is very ragged.
_MEMORY, _TIMES = 1 << 23, 1000

#: Fields that every header has; optional fields that are nested lists of numbers; all optional fields. "sample_rate_hz" is one
#: number where all items have the same.
_NEEDED = ("shape", "vocab_sizes", "grid", "lengths", "bytes", "crc")
_ROWS = ("grids", "sizes", "book_grids")
_OPTIONAL = (*_ROWS, "sample_rate_hz", "scale", "strides", "scales", "names", "side_vectors", "tokenizer")


class TokenFileError(TokenError):
    """Bytes that are not a whole and unaltered token file of a known version."""


def to_bytes(tokens: Tokens) -> bytes:
    """Return the bytes of the token file that stores `tokens`. Raises TokenError where there is no item."""
    if len(tokens) == 0:
        raise TokenError("there is nothing to save: the tokens are of 0 items.")
    t = tokens.to("cpu")
    bits = [_to_bits(t.ids[b, k, : n * s : s][:n].numpy(), id_bits(v)) for b, k, n, s, v in _runs(t)]
    payload = np.packbits(np.concatenate(bits)).tobytes()
    payload += b"".join(v.numpy().astype("<f4").tobytes() for rows in t.side_vectors.values() for v in rows)
    header: dict[str, Any] = {
        "shape": list(t.ids.shape),
        "vocab_sizes": list(t.vocab_sizes),
        "grid": list(t.grid),
        "lengths": t.lengths.tolist(),
        "bytes": len(payload),
        "crc": zlib.crc32(payload),
    }
    rates = [] if t.sample_rate_hz is None else t.sample_rate_hz.tolist()
    optional: dict[str, Any] = {n: getattr(t, n).tolist() for n in _ROWS if getattr(t, n) is not None}
    optional |= {
        "sample_rate_hz": rates[0] if len(set(rates)) == 1 else rates,
        "scale": None if t.scale is None else t.scale.double().tolist(),  # float32 is exact in a JSON double
        "strides": list(t.strides),
        "scales": [list(s) for s in t.scales],
        "names": list(t.names),
        "side_vectors": {n: [list(v.shape) for v in rows] for n, rows in t.side_vectors.items()},
        "tokenizer": None if t.tokenizer is None else dataclasses.asdict(t.tokenizer),
    }
    header |= {k: v for k, v in optional.items() if v not in (None, [], {})}
    text = json.dumps(header, separators=(",", ":")).encode()
    return _HEAD.pack(MAGIC, VERSION, len(text), zlib.crc32(text)) + text + payload


def read(path: Path) -> Tokens:
    """Read the tokens of a file. Raises TokenFileError; of a file of another format only the first bytes are read."""
    if path.exists() and not path.is_file():
        raise TokenFileError(f"{path} is not a file.")
    with open(path, "rb") as file:
        start = file.read(len(MAGIC))
        return from_bytes(start + (file.read() if start == MAGIC else b""), name=str(path))


def from_bytes(data: bytes, name: str = "data") -> Tokens:
    """Return the tokens in `data`; `name` is used in error messages.

    Raises:
        TokenFileError: not a token file, newer version, truncated, altered, followed by other bytes, or with a header that
            describes no tokens.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise TokenFileError(f"{name} is not a token file: it starts with {data[:8]!r}, not {MAGIC!r}.")
    if len(data) < _HEAD.size:
        raise TokenFileError(f"{name} is truncated: {len(data)} bytes, its fixed part alone has {_HEAD.size}.")
    _, version, length, crc = _HEAD.unpack_from(data)
    if version != VERSION:
        raise TokenFileError(f"{name} is of version {version}; this library reads version {VERSION}. Update tokenzoo.")
    text = data[_HEAD.size : _HEAD.size + length]
    if len(text) < length:
        raise TokenFileError(f"{name} is truncated inside its header: {len(text)} of {length} bytes are there.")
    if zlib.crc32(text) != crc:
        raise TokenFileError(f"{name} was altered: the checksum of its header does not match.")
    payload = data[_HEAD.size + length :]
    try:
        header = _header(text)
        if len(payload) != header["bytes"]:
            raise TokenFileError(
                f"it is {'truncated' if len(payload) < header['bytes'] else 'too long'}: "
                f"{len(payload)} bytes of ids, the header states {header['bytes']}. Copy the file again."
            )
        if zlib.crc32(payload) != header["crc"]:
            raise TokenFileError("it was altered: the checksum of its ids does not match. Copy the file again.")
        return _assemble(header, payload, len(data))
    except RecursionError:
        raise TokenFileError(f"{name} cannot be read: its header is nested too deeply.") from None
    except ValueError as error:  # TokenError, and what JSON and identities raise
        raise TokenFileError(f"{name} cannot be read: {error}") from error


def _header(text: bytes) -> dict[str, Any]:
    """Parse the header and check that no key is missing and none unknown."""
    header = json.loads(text, parse_constant=_no_constant)
    if not isinstance(header, dict):
        raise TokenFileError(f"its header is a {type(header).__name__}, not a mapping.")
    missing = [k for k in _NEEDED if k not in header]
    unknown = sorted(header.keys() - {*_NEEDED, *_OPTIONAL})
    if missing or unknown:
        raise TokenFileError(f"its header lacks {missing}." if missing else f"its header holds {unknown}, which is not known here.")
    for key in ("bytes", "crc"):
        if type(header[key]) is not int:
            raise TokenFileError(f"{key!r} of its header is {header[key]!r:.60}, not a whole number.")
    return header


def _no_constant(name: str) -> Any:
    raise TokenFileError(f"its header holds the number {name}.")


def _assemble(header: dict[str, Any], payload: bytes, size: int) -> Tokens:
    """Unpack the ids and build `Tokens`; `size` is that of the file in bytes."""
    shape = header["shape"]
    if not isinstance(shape, list) or len(shape) != 3 or not all(type(n) is int and n >= 0 for n in shape):
        raise TokenFileError(f"its shape is {shape!r:.60}, not [B, K, L].")
    memory = 8 * shape[0] * shape[1] * shape[2]
    if memory > max(_MEMORY, _TIMES * size):
        raise TokenFileError(f"its ids would take {memory:,} bytes, which {size:,} bytes cannot hold.")
    maker = header.get("tokenizer")
    if maker is not None and (not isinstance(maker, dict) or maker.keys() != {f.name for f in dataclasses.fields(TokenizerId)}):
        raise TokenFileError(f"its tokenizer is {maker!r:.80}, not name, family, modality and fingerprint.")
    shapes = header.get("side_vectors", {})
    floats = 4 * _floats_of(shapes, shape[0])
    if floats > len(payload):
        raise TokenFileError(f"it holds {len(payload)} bytes; its side vectors alone take {floats}.")
    payload, rest = payload[: len(payload) - floats], payload[len(payload) - floats :]
    given = {k: v for k, v in header.items() if k in ("vocab_sizes", "grid", "lengths", *_OPTIONAL)}
    given["side_vectors"] = _side_vectors(shapes, rest)
    empty = Tokens(**given | {"ids": torch.zeros(shape, dtype=torch.int64), "tokenizer": TokenizerId(**maker) if maker else None})
    return dataclasses.replace(empty, ids=_unpacked(empty, payload))


def _floats_of(shapes: Any, items: int) -> int:
    """Number of floats of side vectors: name -> [n, D] of each item, as a header states them; raises TokenFileError."""
    if not isinstance(shapes, dict) or not all(isinstance(v, list) and len(v) == items for v in shapes.values()):
        raise TokenFileError(f"its side_vectors are {shapes!r:.80}, not a name with [n, D] of each of {items} items.")
    each = [shape for rows in shapes.values() for shape in rows]
    if not all(isinstance(s, list) and len(s) == 2 and all(type(n) is int and 0 <= n < MAX_SIDE for n in s) for s in each):
        raise TokenFileError(f"its side_vectors are of the shapes {each!r:.80}; each is [n, D].")
    return sum(n * d for n, d in each)


def _side_vectors(shapes: dict[str, list[list[int]]], data: bytes) -> dict[str, tuple[torch.Tensor, ...]]:
    """The floats of `data` in their shapes."""
    floats, at, out = torch.from_numpy(np.frombuffer(data, "<f4").astype(np.float32)), 0, {}
    for name, rows in shapes.items():
        items = []
        for n, d in rows:
            items.append(floats[at : at + n * d].reshape(n, d))
            at += n * d
        out[name] = tuple(items)
    return out


def _unpacked(tokens: Tokens, payload: bytes) -> torch.Tensor:
    """The ids of `payload`, int64 `[B, K, L]`, in the layout (lengths, strides, grids) of `tokens`."""
    runs = _runs(tokens)
    need = sum(n * id_bits(v) for _, _, n, _, v in runs)
    bits = np.unpackbits(np.frombuffer(payload, np.uint8))
    if len(payload) != -(-need // 8) or bits[need:].any():
        raise TokenFileError(f"it holds {len(payload)} bytes of ids; those that its header describes take {need} bits.")
    out, at, lengths = tokens.ids.clone(), 0, tokens.lengths.tolist()
    for b, k, count, stride, v in runs:
        width = id_bits(v)
        ids = torch.from_numpy(_from_bits(bits[at : at + count * width].reshape(count, width)))
        at += count * width
        if stride > 1:
            ids = ids[torch.arange(lengths[b]) // stride]
        out[b, k, : len(ids)] = ids
    return out


def _runs(tokens: Tokens) -> list[tuple[int, int, int, int, int]]:
    """(item, codebook, number of ids, stride, vocabulary size) of each run of ids, in the file's order."""
    strides = tokens.strides or (1,) * tokens.num_codebooks
    return [
        (b, k, n, strides[k], tokens.vocab_sizes[k]) for b, counts in enumerate(tokens.counts()) for k, n in enumerate(counts)
    ]


def _to_bits(ids: np.ndarray, width: int) -> np.ndarray:
    """Integers `[n]` to 0/1 bytes `[n * width]`, most significant bit first."""
    shifts = np.arange(width - 1, -1, -1, dtype=np.int64)
    return ((ids[:, None] >> shifts) & 1).astype(np.uint8).reshape(-1)


def _from_bits(bits: np.ndarray) -> np.ndarray:
    """0/1 bytes `[n, width]` to int64 `[n]`."""
    weights = 1 << np.arange(bits.shape[1] - 1, -1, -1, dtype=np.int64)
    return bits.astype(np.int64) @ weights
