"""The token file: magic, version, JSON header, bit-packed ids.

    8 bytes   magic b"TOKENZOO"
    2 bytes   version, little endian
    4 bytes   length of the header in bytes
    4 bytes   CRC-32 of the header
    header    UTF-8 JSON: shapes, vocabulary, lengths, sizes, CRC-32 and length of the payload
    payload   for each item, for each codebook: its ids, ceil(log2 V) bits each, most significant bit first,
              one id for every `stride` positions or for each place of `book_grids`; zero bits fill up the last byte
"""

import json
import struct
import zlib
from typing import Any

import numpy as np
import torch

from .spec import id_bits
from .tokens import Tokens

MAGIC = b"TOKENZOO"
VERSION = 1
_HEAD = struct.Struct("<8sHII")


class TokenFileError(ValueError):
    """Bytes that are not a whole and unaltered token file of a known version."""


def to_bytes(tokens: Tokens) -> bytes:
    """Return the file's bytes. Raises ValueError where an id lies outside its vocabulary."""
    t = tokens.to("cpu")
    runs = [(t.ids[b, k, : n * s : s][:n], v) for b, k, n, s, v in _runs(t)]
    for ids, v in runs:
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < v:
            raise ValueError(f"cannot save: ids lie in {int(ids.min())}..{int(ids.max())}, vocabulary 0..{v - 1}.")
    bits = [_to_bits(ids.numpy(), id_bits(v)) for ids, v in runs]
    payload = np.packbits(np.concatenate(bits) if bits else np.zeros(0, np.uint8)).tobytes()
    header: dict[str, Any] = {
        "shape": list(t.ids.shape),
        "vocab_sizes": list(t.vocab_sizes),
        "grid": list(t.grid),
        "lengths": t.lengths.tolist(),
        "bytes": len(payload),
        "crc": zlib.crc32(payload),
    }
    optional = {
        "grids": None if t.grids is None else t.grids.tolist(),
        "sizes": None if t.sizes is None else t.sizes.tolist(),
        "sample_rate_hz": t.sample_rate_hz,
        "scale": None if t.scale is None else t.scale.double().tolist(),  # float32 is exact in a JSON double
        "strides": list(t.strides),
        "scales": [list(s) for s in t.scales],
        "names": list(t.names),
        "book_grids": None if t.book_grids is None else t.book_grids.tolist(),
    }
    header |= {k: v for k, v in optional.items() if v not in (None, [])}
    text = json.dumps(header, separators=(",", ":")).encode()
    return _HEAD.pack(MAGIC, VERSION, len(text), zlib.crc32(text)) + text + payload


def from_bytes(data: bytes, name: str = "data") -> Tokens:
    """Return the tokens in `data`; `name` stands in error messages.

    Raises:
        TokenFileError: not a token file, newer version, truncated, altered, or followed by other bytes.
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
    header = json.loads(text)
    payload = data[_HEAD.size + length :]
    if len(payload) != header["bytes"]:
        raise TokenFileError(
            f"{name} is {'truncated' if len(payload) < header['bytes'] else 'too long'}: "
            f"{len(payload)} bytes of ids, the header says {header['bytes']}. Copy the file again."
        )
    if zlib.crc32(payload) != header["crc"]:
        raise TokenFileError(f"{name} was altered: the checksum of its ids does not match. Copy the file again.")
    return _assemble(header, payload)


def _assemble(header: dict[str, Any], payload: bytes) -> Tokens:
    """Unpack the ids and build `Tokens` from a checked header."""
    tokens = Tokens(
        ids=torch.zeros(header["shape"], dtype=torch.int64),
        vocab_sizes=tuple(header["vocab_sizes"]),
        grid=tuple(header["grid"]),
        lengths=torch.tensor(header["lengths"], dtype=torch.int64),
        grids=torch.tensor(header["grids"]) if "grids" in header else None,
        sizes=torch.tensor(header["sizes"]) if "sizes" in header else None,
        sample_rate_hz=header.get("sample_rate_hz"),
        scale=torch.tensor(header["scale"], dtype=torch.float32) if "scale" in header else None,
        strides=tuple(header.get("strides", ())),
        scales=tuple((h, w) for h, w in header.get("scales", ())),
        names=tuple(header.get("names", ())),
        book_grids=torch.tensor(header["book_grids"]) if "book_grids" in header else None,
    )
    bits = np.unpackbits(np.frombuffer(payload, np.uint8))
    at = 0
    for b, k, count, stride, v in _runs(tokens):
        width = id_bits(v)
        ids = torch.from_numpy(_from_bits(bits[at : at + count * width].reshape(count, width)))
        at += count * width
        filled = ids.repeat_interleave(stride)[: header["lengths"][b]]
        tokens.ids[b, k, : len(filled)] = filled
    return tokens


def _runs(tokens: Tokens) -> list[tuple[int, int, int, int, int]]:
    """(item, codebook, ids, stride, vocabulary size) of each run of ids, in the file's order."""
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
