"""The steps of `tokenzoo demo`: encode, save, load, decode, measure, draw."""

import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from torch import Tensor

from ...codecs.image.base import ImageTokenizer
from ...codecs.media import as_pictures, read_audio
from ...codecs.modalities import is_pictures
from ...codecs.tokenizer import Tokenizer
from ...codecs.tokens import Tokens
from .. import registry
from ..hub import load
from ..media_out import write_audio, write_image
from ..progress import Bar
from ..tables import table
from .coded import log_mel, psnr
from .draw import overview

MEDIA = {"image": "chelsea.png", "audio": "speech.flac"}


@dataclass(frozen=True)
class Row:
    """One line of the printed table: one tokenizer on one medium; sizes in bytes."""

    name: str
    what: str
    tokens: str
    bits: int
    file_bytes: int
    raw_bytes: int
    quality: str
    seconds: float


def run(out: Path) -> None:
    """Encode and decode the shipped media with each shipped tokenizer of their modality, into the folder `out`; prints a table."""
    out.mkdir(parents=True, exist_ok=True)
    rows, panels = [], []
    cards = [c for c in registry.list_models() if c.shipped]
    with Bar(len(cards), "encoding and decoding") as bar:
        for card in cards:
            tokenizer = load(card.name)
            with resources.as_file(resources.files(__spec__.parent).joinpath("media", MEDIA[card.modality])) as source:
                if is_pictures(tokenizer):
                    row, panel = _image(card.name, tokenizer, source, out)
                else:
                    row, panel = _audio(card.name, tokenizer, source, out)
            rows.append(row)
            panels.append(panel)
            bar.step()
    overview(panels).save(out / "overview.png")
    print(_table(rows))
    print(f"written to {out}/: token files, reconstructions, and overview.png (left: original, right: decoded)")


def _image(name: str, tokenizer: ImageTokenizer, source: Path, out: Path) -> tuple[Row, tuple[str, Tensor, Tensor]]:
    (x,) = as_pictures(source, tokenizer.spec.value_range)  # [3, H, W]
    tokens, y, seconds = _round_trip(name, tokenizer, x, out)
    a, b = tokenizer.to_uint8(x), tokenizer.to_uint8(y[0])
    write_image(out / f"{name}.png", b)
    quality = f"PSNR {psnr(a, b):.2f} dB"
    what = f"{x.shape[2]} x {x.shape[1]} photograph"
    return _row(name, what, tokens, out, a.numel(), quality, seconds), (name, a, b)


def _audio(name: str, tokenizer: Tokenizer, source: Path, out: Path) -> tuple[Row, tuple[str, Tensor, Tensor]]:
    clip = read_audio(source)
    tokens, y, seconds = _round_trip(name, tokenizer, (clip.samples, clip.sample_rate_hz), out)
    write_audio(out / f"{name}.wav", y[0], clip.sample_rate_hz)
    a, b = (log_mel(v, clip.sample_rate_hz) for v in (clip.samples, y[0]))  # [80, frames]
    quality = f"mel distance {(a - b).abs().mean():.3f}"
    what = f"{clip.samples.shape[1] / clip.sample_rate_hz:.1f} s of speech"
    return _row(name, what, tokens, out, 2 * clip.samples.numel(), quality, seconds), (name, a, b)


def _round_trip(name: str, tokenizer: Tokenizer, media: object, out: Path) -> tuple[Tokens, Tensor, float]:
    """Encode, save, load and decode: the decoder gets nothing but the token file. Returns tokens, media `[1, C, ...]`, seconds."""
    start = time.perf_counter()
    tokenizer.encode(media).save(out / f"{name}.tok")
    tokens = Tokens.load(out / f"{name}.tok")
    decoded = tokenizer.decode(tokens)
    assert isinstance(decoded, Tensor)
    return tokens, decoded, time.perf_counter() - start


def _row(name: str, what: str, tokens: Tokens, out: Path, raw: int, quality: str, seconds: float) -> Row:
    shape = " x ".join(str(n) for n in tokens.ids.shape[1:])
    size = (out / f"{name}.tok").stat().st_size
    return Row(name, what, shape, sum(tokens.bits()), size, raw, quality, seconds)


def _table(rows: list[Row]) -> str:
    header = ("tokenizer", "medium", "tokens K x L", "bits", "token file", "raw", "ratio", "quality", "seconds")
    cells = []
    for r in rows:
        ratio = f"{r.raw_bytes / r.file_bytes:.0f} : 1"
        sizes = (f"{r.bits:,}", f"{r.file_bytes:,} B", f"{r.raw_bytes:,} B", ratio)
        cells.append((r.name, r.what, r.tokens, *sizes, r.quality, f"{r.seconds:.2f}"))
    return table(header, cells, right={3, 4, 5, 6, 8})
