"""The token file: magic, version, JSON header, bit-packed ids.

    8 bytes   magic b"TOKENZOO"
    2 bytes   version, little endian: 1, or 2 of entropy-coded ids
    4 bytes   length of the header in bytes
    4 bytes   CRC-32 of the header
    header    UTF-8 JSON: shapes, vocabulary, lengths, sizes, the tokenizer that made them, CRC-32 and length of the payload;
              of version 2 also the name and the fingerprint of the prior, which states vocabulary and tokenizer in the header's place
    payload   for each item, for each codebook: its ids, ceil(log2 V) bits each, most significant bit first,
              one id for every `stride` positions or for each place of `book_grids`; zero bits fill up the last byte.
              Of version 2 the same ids as `entropy/coder.py` codes them.
              Then for each name of `side_vectors`, for each item: its floats, 32 bits each, little endian

Files are untrusted: a header is checked like the arguments of a caller, before memory is allocated for its ids.
"""

import dataclasses
import json
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .entropy.coder import decode, encode
from .entropy.neighbours import Grid
from .entropy.prior import Prior, PriorError
from .hooks import call
from .identity import TokenizerId
from .spec import id_bits
from .token_fields import MAX_SIDE, TokenError
from .tokens import Tokens

MAGIC = b"TOKENZOO"
VERSION, CODED = 1, 2
_HEAD = struct.Struct("<8sHII")
#: Largest memory of the ids: the larger of this many bytes and this many times the file's size. Ids of real files take at most 64
#: times the file's size, or more only if a batch is very ragged.
_MEMORY, _TIMES = 1 << 23, {VERSION: 1000, CODED: 8000}

#: What `save` and `load` take as a prior: itself, a file, or the name of one that ships with the package.
PriorLike = Prior | str | os.PathLike[str]

#: Fields that every header has; optional fields that are nested lists of numbers; all optional fields. "sample_rate_hz" is one
#: number where all items have the same.
_NEEDED = ("shape", "vocab_sizes", "grid", "lengths", "bytes", "crc")
_ROWS = ("grids", "sizes", "book_grids")
_OPTIONAL = (*_ROWS, "sample_rate_hz", "scale", "strides", "scales", "names", "side_vectors", "tokenizer")


class TokenFileError(TokenError):
    """Bytes that are not a whole and unaltered token file of a known version."""


def prior_of(prior: PriorLike) -> Prior:
    """The prior that a caller names: a `Prior`, a file, or a name of `tokenzoo list`, whose prior ships with the package.

    Raises:
        PriorError: no such file, no prior, or a checkpoint without one.
    """
    if isinstance(prior, Prior):
        return prior
    if not isinstance(prior, (str, os.PathLike)):
        raise PriorError(f"prior is {prior!r:.80} ({type(prior).__name__}); give a Prior, its file, or a name of `tokenzoo list`.")
    if Path(prior).is_file():
        return Prior.load(prior)
    found = call("shipped_prior", checkpoint=os.fspath(prior))
    if found is None:
        raise PriorError(f"{str(prior)!r:.200} is no file, and no checkpoint with a prior; `tokenzoo corpus prior` makes one.")
    return found


def _check_prior(prior: Prior, tokens: Tokens) -> None:
    """Raise PriorError unless a prior codes tokens of these vocabularies by this tokenizer."""
    prior.check(tokens.vocab_sizes)
    maker = None if prior.tokenizer is None else TokenizerId(**prior.tokenizer)
    if None not in (maker, tokens.tokenizer) and maker != tokens.tokenizer:
        raise PriorError(f"prior {prior.name!r} is of the tokens of {maker}; these were made by {tokens.tokenizer}.")


def coded_bits(tokens: Tokens, prior: PriorLike) -> int:
    """Bits of the ids of all items together as `prior` codes them, to compare with `sum(tokens.bits())`."""
    found = prior_of(prior)
    _check_prior(found, tokens)
    return 8 * len(encode(found, *own_ids(tokens)))


def to_bytes(tokens: Tokens, prior: PriorLike | None = None) -> bytes:
    """Return the bytes of the token file that stores `tokens`.

    Raises:
        TokenError: there is no item.
        PriorError: a prior of other tokens, or none that can be found.
    """
    if len(tokens) == 0:
        raise TokenError("there is nothing to save: the tokens are of 0 items.")
    t = tokens.to("cpu")
    coder = None if prior is None else prior_of(prior)
    if coder is None:
        bits = [_to_bits(ids.numpy(), id_bits(v)) for ids, v in _each(t)]
        payload = np.packbits(np.concatenate(bits)).tobytes()
    else:
        _check_prior(coder, t)
        payload = encode(coder, *own_ids(t))
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
        "prior": None if coder is None else {"name": coder.name, "fingerprint": coder.fingerprint},
    }
    header |= {k: v for k, v in optional.items() if v not in (None, [], {})}
    if coder is not None:
        del header["vocab_sizes"]
        if header.get("tokenizer") == coder.tokenizer:
            header.pop("tokenizer", None)
        else:
            header.setdefault("tokenizer", None)
    text = json.dumps(header, separators=(",", ":")).encode()
    return _HEAD.pack(MAGIC, VERSION if coder is None else CODED, len(text), zlib.crc32(text)) + text + payload


def read(path: Path, prior: PriorLike | None = None) -> Tokens:
    """Read the tokens of a file. Raises TokenFileError; of a file of another format only the first bytes are read."""
    if path.exists() and not path.is_file():
        raise TokenFileError(f"{path} is not a file.")
    with open(path, "rb") as file:
        start = file.read(len(MAGIC))
        return from_bytes(start + (file.read() if start == MAGIC else b""), name=str(path), prior=prior)


def from_bytes(data: bytes, name: str = "data", *, prior: PriorLike | None = None) -> Tokens:
    """Return the tokens in `data`.

    Args:
        data: content of a token file.
        name: used in error messages.
        prior: that of entropy-coded ids; None: the one with the right fingerprint that ships with the package. Plain ids need none.

    Raises:
        TokenFileError: not a token file, newer version, truncated, altered, followed by other bytes, or with a header that
            describes no tokens; entropy-coded with another prior than this one, or with one that is not here.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise TokenFileError(f"{name} is not a token file: it starts with {data[:8]!r}, not {MAGIC!r}.")
    if len(data) < _HEAD.size:
        raise TokenFileError(f"{name} is truncated: {len(data)} bytes, its fixed part alone has {_HEAD.size}.")
    _, version, length, crc = _HEAD.unpack_from(data)
    if version not in (VERSION, CODED):
        raise TokenFileError(f"{name} is of version {version}; this library reads versions {VERSION} and {CODED}. Update tokenzoo.")
    text = data[_HEAD.size : _HEAD.size + length]
    if len(text) < length:
        raise TokenFileError(f"{name} is truncated inside its header: {len(text)} of {length} bytes are there.")
    if zlib.crc32(text) != crc:
        raise TokenFileError(f"{name} was altered: the checksum of its header does not match.")
    payload = data[_HEAD.size + length :]
    try:
        header = _header(text, version)
        if len(payload) != header["bytes"]:
            raise TokenFileError(
                f"it is {'truncated' if len(payload) < header['bytes'] else 'too long'}: "
                f"{len(payload)} bytes of ids, the header states {header['bytes']}. Copy the file again."
            )
        if zlib.crc32(payload) != header["crc"]:
            raise TokenFileError("it was altered: the checksum of its ids does not match. Copy the file again.")
        return _assemble(header, payload, len(data), version, prior)
    except RecursionError:
        raise TokenFileError(f"{name} cannot be read: its header is nested too deeply.") from None
    except ValueError as error:  # TokenError, and what JSON and identities raise
        raise TokenFileError(f"{name} cannot be read: {error}") from error


def _header(text: bytes, version: int) -> dict[str, Any]:
    """Parse the header and check that no key is missing and none unknown."""
    header = json.loads(text, parse_constant=_no_constant)
    if not isinstance(header, dict):
        raise TokenFileError(f"its header is a {type(header).__name__}, not a mapping.")
    needed = [n for n in (*_NEEDED, "prior") if n != ("vocab_sizes" if version == CODED else "prior")]
    missing = [k for k in needed if k not in header]
    unknown = sorted(header.keys() - {*needed, *_OPTIONAL})
    if missing or unknown:
        raise TokenFileError(f"its header lacks {missing}." if missing else f"its header holds {unknown}, which is not known here.")
    for key in ("bytes", "crc"):
        if type(header[key]) is not int:
            raise TokenFileError(f"{key!r} of its header is {header[key]!r:.60}, not a whole number.")
    return header


def _no_constant(name: str) -> Any:
    raise TokenFileError(f"its header holds the number {name}.")


def _assemble(header: dict[str, Any], payload: bytes, size: int, version: int, prior: PriorLike | None) -> Tokens:
    """Unpack the ids and build `Tokens`; `size` is that of the file in bytes."""
    shape = header["shape"]
    if not isinstance(shape, list) or len(shape) != 3 or not all(type(n) is int and n >= 0 for n in shape):
        raise TokenFileError(f"its shape is {shape!r:.60}, not [B, K, L].")
    memory = 8 * shape[0] * shape[1] * shape[2]
    if memory > max(_MEMORY, _TIMES[version] * size):
        raise TokenFileError(f"its ids would take {memory:,} bytes, which {size:,} bytes cannot hold.")
    coder = _prior_in(header["prior"], prior) if version == CODED else None
    maker = header.get("tokenizer", coder.tokenizer if coder else None)
    if maker is not None and (not isinstance(maker, dict) or maker.keys() != {f.name for f in dataclasses.fields(TokenizerId)}):
        raise TokenFileError(f"its tokenizer is {maker!r:.80}, not name, family, modality and fingerprint.")
    shapes = header.get("side_vectors", {})
    floats = 4 * _floats_of(shapes, shape[0])
    if floats > len(payload):
        raise TokenFileError(f"it holds {len(payload)} bytes; its side vectors alone take {floats}.")
    payload, rest = payload[: len(payload) - floats], payload[len(payload) - floats :]
    given = {k: v for k, v in header.items() if k in ("vocab_sizes", "grid", "lengths", *_OPTIONAL)}
    given["side_vectors"] = _side_vectors(shapes, rest)
    given |= {} if coder is None else {"vocab_sizes": coder.vocab_sizes[: shape[1]]}
    empty = Tokens(**given | {"ids": torch.zeros(shape, dtype=torch.int64), "tokenizer": TokenizerId(**maker) if maker else None})
    if coder is not None:
        _check_prior(coder, empty)
        return dataclasses.replace(empty, ids=_filled(empty, decode(coder, payload, _grids(empty))))
    return dataclasses.replace(empty, ids=_filled(empty, _unpacked(empty, payload)))


def _prior_in(facts: Any, given: PriorLike | None) -> Prior:
    """The prior that a header states; raises TokenFileError where `given` is another one, or where none is here."""
    if not isinstance(facts, dict) or facts.keys() != {"name", "fingerprint"} or not all(isinstance(v, str) for v in facts.values()):
        raise TokenFileError(f"its prior is {facts!r:.80}, not name and fingerprint.")
    name = f"{facts['name'][:200]!r} ({facts['fingerprint'][:8]})"
    if given is not None:
        found = prior_of(given)
        if found.fingerprint != facts["fingerprint"]:
            raise TokenFileError(f"its ids were coded with the prior {name}; given was {found.name!r} ({found.fingerprint[:8]}).")
        return found
    found = call("shipped_prior", fingerprint=facts["fingerprint"])
    if found is None:
        raise TokenFileError(f"its ids were coded with the prior {name}, which is not one of the package; pass its file as `prior`.")
    return found


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


def _unpacked(tokens: Tokens, payload: bytes) -> list[list[np.ndarray]]:
    """The ids of `payload`, `[K][B]`, in the layout (lengths, strides, grids) of `tokens`."""
    counts, widths = tokens.counts(), [id_bits(v) for v in tokens.vocab_sizes]
    need = sum(n * w for row in counts for n, w in zip(row, widths, strict=True))
    bits = np.unpackbits(np.frombuffer(payload, np.uint8))
    if len(payload) != -(-need // 8) or bits[need:].any():
        raise TokenFileError(f"it holds {len(payload)} bytes of ids; those that its header describes take {need} bits.")
    out, at = [list[np.ndarray]() for _ in widths], 0
    for row in counts:
        for own, count, width in zip(out, row, widths, strict=True):
            own.append(_from_bits(bits[at : at + count * width].reshape(count, width)))
            at += count * width
    return out


def _filled(tokens: Tokens, own: list[list[np.ndarray]]) -> torch.Tensor:
    """Ids `[K][B]` as int64 `[B, K, L]`, each repeated over its stride."""
    out, lengths = tokens.ids.clone(), tokens.lengths.tolist()
    for k, (items, stride) in enumerate(zip(own, tokens.strides or (1,) * tokens.num_codebooks, strict=True)):
        for b, ids in enumerate(items):
            row = torch.from_numpy(ids)
            row = row[torch.arange(lengths[b]) // stride] if stride > 1 else row
            out[b, k, : len(row)] = row
    return out


def _each(tokens: Tokens) -> list[tuple[torch.Tensor, int]]:
    """(ids `[n]`, vocabulary size) of each codebook of each item, one id for every stride, in the order of the plain payload."""
    strides = tokens.strides or (1,) * tokens.num_codebooks
    return [
        (tokens.ids[b, k, : n * s : s][:n], v)
        for b, counts in enumerate(tokens.counts())
        for k, (n, s, v) in enumerate(zip(counts, strides, tokens.vocab_sizes, strict=True))
    ]


def own_ids(tokens: Tokens) -> tuple[list[list[np.ndarray]], list[list[Grid]]]:
    """Ids `[K][B]` of each codebook of each item, int64 `[n]`, one for every stride, and the `(h, w)` of each."""
    flat = [ids.cpu().numpy() for ids, _ in _each(tokens)]
    return [flat[k :: tokens.num_codebooks] for k in range(tokens.num_codebooks)], _grids(tokens)


def _grids(tokens: Tokens) -> list[list[Grid]]:
    """`(h, w)` of each codebook of each item, `[K][B]`: h * w ids; rows of clips are those of all frames; sequences are one row."""
    whole, out = tokens.ids.shape[2], [list[Grid]() for _ in tokens.vocab_sizes]
    books = None if tokens.book_grids is None else tokens.book_grids.tolist()
    grids = None if tokens.grids is None else tokens.grids.tolist()
    for b, (counts, length) in enumerate(zip(tokens.counts(), tokens.lengths.tolist(), strict=True)):
        grid: tuple[int, ...] = tuple(grids[b]) if grids is not None else tokens.grid if length == whole and not tokens.scales else ()
        for k, n in enumerate(counts):
            if books is not None:
                out[k].append((books[b][k][0], books[b][k][1]))
            else:
                rows = math.prod(grid[:-1]) if len(grid) > 1 and math.prod(grid) == n > 0 else min(1, n)
                out[k].append((rows, n // max(1, rows)))
    return out


def _to_bits(ids: np.ndarray, width: int) -> np.ndarray:
    """Integers `[n]` to 0/1 bytes `[n * width]`, most significant bit first."""
    shifts = np.arange(width - 1, -1, -1, dtype=np.int64)
    return ((ids[:, None] >> shifts) & 1).astype(np.uint8).reshape(-1)


def _from_bits(bits: np.ndarray) -> np.ndarray:
    """0/1 bytes `[n, width]` to int64 `[n]`."""
    weights = 1 << np.arange(bits.shape[1] - 1, -1, -1, dtype=np.int64)
    return bits.astype(np.int64) @ weights
