"""Token files of strangers, `Tokens` of odd fields, and odd media: a result, or one of our errors. Run: pytest tests/hostile

Every fuzzer is seeded and prints how many inputs were accepted and refused.
"""

import dataclasses
import json
import math
import random
import struct
import zlib
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from contract_cases import build, item, media, size_of
from hostile_values import SHARES, WRONG, changed, end, results, seeds, shown
from own_process import linux_only, run_script
from tokenzoo.codecs.token_file import from_bytes, to_bytes
from tokenzoo.codecs.tokens import TokenizerId, Tokens

#: One of each kind of layout: sequences, several rates, streams, one size, any size, scales, books of own grids, maps, 1-D tokens.
FAMILIES = ("encodec", "dac", "snac", "mimi", "levo", "vqgan", "convnet", "titok", "var", "dualvitok", "flextok", "latent")
ID = TokenizerId(name="a/b", family="vqgan", modality="image", fingerprint="0" * 16)


def samples() -> list[Tokens]:
    """Small tokens that between them have every field."""

    def ids(*shape: int, top: int = 16) -> torch.Tensor:
        return torch.randint(0, top, shape, generator=torch.Generator().manual_seed(sum(shape)))

    return [
        Tokens(ids(2, 3, 7), (16,) * 3, lengths=torch.tensor([7, 4]), sizes=torch.tensor([[70], [39]]), sample_rate_hz=16000,
               scale=torch.tensor([[1.0], [0.25]]), names=("semantic", "acoustic", "acoustic"), tokenizer=ID),
        Tokens(ids(2, 1, 12), (1000,), grid=(3, 4), sizes=torch.tensor([[24, 30], [24, 32]])),
        Tokens(ids(2, 1, 12), (16,), lengths=torch.tensor([12, 4]), grids=torch.tensor([[3, 4], [2, 2]])),
        Tokens(ids(1, 2, 4).repeat_interleave(2, -1), (16, 16), strides=(2, 1), sample_rate_hz=24000),
        Tokens(ids(1, 1, 14), (16,), grid=(3, 3), scales=((1, 1), (2, 2), (3, 3))),
        Tokens(ids(1, 2, 9), (16, 4096), grid=(3, 3), book_grids=torch.tensor([[[2, 2], [3, 3]]])),
    ]  # fmt: skip


# --- token files ----------------------------------------------------------------------------------------------------


def with_header(header: Any, payload: bytes) -> bytes:
    """A token file with any header, all checksums right."""
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack("<8sHII", b"TOKENZOO", 1, len(text), zlib.crc32(text)) + text + payload


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack_from("<I", data, 10)
    return json.loads(data[18 : 18 + length]), data[18 + length :]


@pytest.mark.parametrize("share", SHARES)
def test_bytes_of_token_files(share, capsys):
    files, count = [to_bytes(t) for t in samples()], Counter()
    for rng in seeds(1, 400 * share):
        data = bytearray(rng.choice(files))
        match rng.randrange(4):
            case 0:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            case 1:
                del data[rng.randrange(len(data)) :]
            case 2:
                data += rng.randbytes(rng.choice((1, 7)))
            case 3:
                data[8:] = rng.randbytes(rng.randrange(100))
        assert end(from_bytes, bytes(data)) == "refused", bytes(data)
        count["refused"] += 1
    shown(capsys, "bytes of token files", count)


@pytest.mark.parametrize("share", SHARES)
def test_headers_of_token_files(share, capsys):
    """Checksums are right, as a stranger writes them. What is accepted is tokens that can be saved and read again."""
    files, count = [parts(to_bytes(t)) for t in samples()], Counter()
    for rng in seeds(2, 500 * share):
        header, payload = rng.choice(files)
        header = changed(header, rng)
        if isinstance(header, dict) and rng.random() < 0.3:
            payload = rng.randbytes(len(payload))
            header["crc"] = zlib.crc32(payload)
        data = with_header(header, payload)
        for tokens in results(count, lambda data=data: from_bytes(data)):
            assert from_bytes(to_bytes(tokens)) == tokens
    shown(capsys, "headers of token files", count)


HEADERS = {
    "deep": b"[" * 100_000,
    "deep in a field": b'{"shape": ' + b'{"a":' * 50_000,
    "digits": b'{"shape": [' + b"9" * 6000 + b"]}",
    "NaN": b'{"shape": NaN}',
    "infinite": b'{"shape": [1e999, 1, 1]}',
    "no text": b"\xff\xfe",
    "empty": b"",
    "twice": b'{"shape": [1,1,1], "shape": "x"}',
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_are_none(name):
    assert end(from_bytes, with_header(HEADERS[name], b"")) == "refused"


GROW = """
import json, sys
from pathlib import Path
import torch, tokenzoo
from tokenzoo.codecs.token_file import from_bytes

def peak():
    return int(next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM")).split()[1]) / 1024

torch.set_num_threads(1)
files = [bytes.fromhex(text) for text in json.loads(Path(sys.argv[1]).read_text())]
from_bytes(files.pop(0))  # what a first call loads is not the file's
before, out = peak(), []
for data in files:
    try:
        from_bytes(data)
        end = "accepted"
    except ValueError:
        end = "refused"
    out.append([end, len(data), peak() - before])
print(json.dumps(out))
"""


def greedy() -> list[bytes]:
    """Headers of few bytes that ask for much memory."""
    files = []
    for b, k, length in (
        (1, 1, 1_000_000),
        (1, 1, 8_000_000),
        (1_000_000, 1, 1),
        (1, 1_000_000, 1),
        (1, 1, 3 * 10**8),
        (10**9, 1, 0),
        (0, 3, 10**12),
    ):
        for own in (0, length):
            header = {
                "shape": [b, k, length],
                "vocab_sizes": [1] * min(k, 9),
                "grid": [length],
                "lengths": [own] * min(b, 9),
                "bytes": 0,
                "crc": 0,
            }
            files += [
                with_header(header | more, b"")
                for more in ({}, {"grids": [[1, own]]}, {"strides": [1 << 40]}, {"book_grids": [[[own, 1]]]})
            ]
    return files


@linux_only
def test_a_hundred_bytes_take_no_hundred_megabytes(tmp_path):
    files = greedy()
    small = with_header({"shape": [1, 1, 2], "vocab_sizes": [1], "grid": [2], "lengths": [0], "bytes": 0, "crc": 0}, b"")
    (tmp_path / "files.json").write_text(json.dumps([f.hex() for f in (small, *files)]))
    found = run_script(GROW, str(tmp_path / "files.json"))
    assert len(found) == len(files)
    for outcome, size, megabytes in found:
        assert megabytes < 100, f"{size} bytes, {outcome}: {megabytes:.0f} MB"


# --- Tokens ---------------------------------------------------------------------------------------------------------


def odd_value(name: str, value: Any, rng: random.Random) -> Any:
    """Another value for a field: of wrong type, or a tensor of another shape, type or range."""
    if not isinstance(value, torch.Tensor) or rng.random() < 0.4:
        return rng.choice(WRONG)
    shape, top = list(value.shape), rng.choice((1, 2, 17, 2**20, 2**40, 2**62))
    match rng.randrange(9):
        case 0:
            shape[rng.randrange(len(shape))] = rng.randrange(5)
        case 1:
            shape += [1]
        case 2:
            shape = shape[1:]
        case 3:
            return value.to(rng.choice((torch.bool, torch.float16, torch.complex64, torch.int8, torch.float64)))
        case 4:
            return -value
        case 5:
            return rng.choice((value.to("meta"), value.to_sparse()))
        case 6:
            return value.double() * rng.choice((math.nan, math.inf, 1e39))
    made = torch.randint(0, top, shape, generator=torch.Generator().manual_seed(rng.randrange(99)))
    return made.numpy() if rng.random() < 0.2 else made.tolist() if rng.random() < 0.2 else made


def odd(tokens: Tokens, rng: random.Random) -> dict[str, Any]:
    """The fields of `tokens` with one or two changed."""
    fields = {f.name: getattr(tokens, f.name) for f in dataclasses.fields(tokens)}
    for name in rng.choices(list(fields), k=rng.choice((1, 1, 2))):
        fields[name] = odd_value(name, fields[name], rng)
    return fields


@pytest.mark.parametrize("share", SHARES)
def test_fields_of_tokens(share, capsys, tmp_path):
    """Odd fields are refused, or are tokens that `save`, `first`, `track`, `cat`, an index and `repr` take."""
    all_samples, count = samples(), Counter()
    for rng in seeds(3, 500 * share):
        fields = odd(rng.choice(all_samples), rng)
        for tokens in results(count, lambda fields=fields: Tokens(**fields)):
            use(tokens, rng, tmp_path, count)
    shown(capsys, "fields of tokens", count)


def use(tokens: Tokens, rng: random.Random, folder: Any, count: Counter) -> None:
    """Each method of tokens, with arguments that fit or not."""
    some = (*range(-2, 14), *WRONG, torch.tensor(1), np.int64(2), slice(None), slice(1, 9, 2), slice("a", None))
    repr(tokens)
    other = rng.choice(samples())
    for call in (
        lambda: tokens.first(codebooks=rng.choice(some)),
        lambda: tokens.first(positions=rng.choice(some)),
        lambda: tokens.first(codebooks=rng.choice(some), positions=rng.choice(some)),
        lambda: tokens.track(rng.choice(("semantic", "acoustic", *WRONG))),
        lambda: tokens[rng.choice(some)],
        lambda: Tokens.cat(rng.choice(([tokens, other], [tokens, tokens], list(tokens), [tokens, *WRONG[:2]], [], tokens, *WRONG))),
        lambda: tokens.made_by(rng.choice((None, ID, *WRONG))),
        lambda: tokens.bits(),
    ):
        for cut in results(count, call, also=(IndexError,)):
            if isinstance(cut, Tokens):
                Tokens(**{f.name: getattr(cut, f.name) for f in dataclasses.fields(cut)})  # still consistent
                assert all(len(one) == 1 for one in cut)
    if end(tokens.save, folder / "t.tok") == "accepted":
        assert Tokens.load(folder / "t.tok") == tokens


# --- decode and encode ----------------------------------------------------------------------------------------------


def finite(out: Any) -> bool:
    """True for media with something in each."""
    return all(
        torch.is_tensor(x) and x.numel() > 0 and bool(torch.isfinite(x).all()) for x in (out if isinstance(out, list) else [out])
    )


@pytest.mark.parametrize("label", FAMILIES)
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.filterwarnings("ignore")
def test_decode(label, share, capsys):
    """Tokens that are consistent, but not this tokenizer's; odd ids; odd options."""
    tokenizer, count = build(label), Counter()
    x = item(tokenizer, size_of(tokenizer))
    own = tokenizer.encode([media(x, tokenizer), media(x, tokenizer)])
    others = samples()
    for rng in seeds(f"decode {label}", 40 * share):
        try:
            tokens: Any = Tokens(**odd(own if rng.random() < 0.8 else rng.choice(others), rng))
        except ValueError:
            tokens = rng.choice(
                (own.ids, own.ids.tolist(), own.ids[0].numpy(), own, *WRONG, own.ids.float(), own.ids[..., :3], own.ids + 999)
            )
        options = {} if rng.random() < 0.8 else {rng.choice(("original", "size", "seed", "steps", "x")): rng.choice(WRONG)}
        made = results(count, lambda tokens=tokens, options=options: tokenizer.decode(tokens, **options))
        assert all(finite(out) for out in made), (tokens, options)
    shown(capsys, f"decode of {label}", count)


def odd_media(x: torch.Tensor, rng: random.Random) -> Any:
    """What a caller may pass for a clip or a picture by mistake."""
    array, rate = x.numpy(), rng.choice((*WRONG, 16000, 24000, 8000))
    forms: tuple[Any, ...] = (
        *WRONG, x, array, array.tolist(), x[0], x[None], x[None, None], x.double(), x.half(), x.bool(), x.to(torch.complex64), x.int(),
        x * math.nan, x * math.inf, x * 1e30, x[..., :0], x[:0], x.T if x.ndim == 2 else x.permute(2, 0, 1), x.repeat(*[3] * x.ndim),
        array.astype(">f4"), array.astype("U"), array.astype(object), array.astype(np.uint8), np.zeros((0, 9)), np.float32(1), b"RIFF",
        b"\x89PNG\r\n\x1a\n" + rng.randbytes(40), bytearray(9), "no/such/file.wav", "http://127.0.0.1/x.png", range(9), {1, 2},
        (x, 16000, 3), x.tolist(), torch.zeros(1, 1), torch.zeros(3, 1, 1), torch.zeros(()), x.to_sparse(), x.to("meta"),
    )  # fmt: skip
    one = rng.choice(forms)
    match rng.randrange(6):
        case 0:
            return [one, x]
        case 1:
            return one, rate
        case 2:
            return [(one, rate), (x, 16000)]
        case 3:
            return x, rate
    return one


@pytest.mark.parametrize("label", FAMILIES)
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.filterwarnings("ignore")
def test_encode(label, share, capsys):
    tokenizer, count = build(label), Counter()
    x = item(tokenizer, size_of(tokenizer))
    names = ("num_codebooks", "sample_rate_hz", "value_range", "size", "positions", "channels", "crop", "x")
    for rng in seeds(f"encode {label}", 40 * share):
        given = odd_media(x, rng) if rng.random() < 0.7 else media(x, tokenizer)
        options = {} if rng.random() < 0.6 else {rng.choice(names): rng.choice(WRONG)}
        made = results(count, lambda given=given, options=options: tokenizer.encode(given, **options))
        assert all(isinstance(t, Tokens) and len(t) for t in made)
    shown(capsys, f"encode of {label}", count)
