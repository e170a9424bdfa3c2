"""The page corpus: small pictures of printed text, so that a tokenizer of photographs learns letters too.

Captions of Tux Paint's stamps in about forty languages, in Latin, Greek and Cyrillic letters, drawn with the fonts of Debian
packages at 9 to 36 pixels (12 points are 16 pixels on most screens), black on white and in colours. The captions of `test` are in
no other split, and half of its pages use a font that no other split has. Pixels may differ in the last place with the FreeType that
Pillow holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..progress import Bar
from .manifest import MANIFEST, split_by_hash, whole_folder, write_rows
from .packages import unpack_all

WIDTH, HEIGHT = 256, 128
PAGES = {"train": 400, "valid": 24, "test": 48}
SIZES = (9, 10, 11, 12, 13, 14, 15, 16, 16, 16, 18, 20, 24, 30, 36)  # pixels from line to line of the font's design
CAPTIONS = "tuxpaint-stamps-default"
UNSEEN_FONT = "fonts-crosextra-carlito"
FONTS = ("fonts-dejavu-core", "fonts-liberation2", "fonts-open-sans", "fonts-crosextra-caladea", "fonts-inconsolata", UNSEEN_FONT)
COLUMNS = ("id", "split", "font", "pixels", "text")
_ALPHABETS = re.compile(r"[ -~\u00a0-\u017f\u0370-\u03ff\u0400-\u045f\u2010-\u2026]+")  # Latin, Greek, Cyrillic


@dataclass(frozen=True, kw_only=True)
class Page:
    """What is drawn on a page: lines of text in one font, of `pixels` an em, ink and paper as RGB 0..255."""

    lines: tuple[str, ...]
    font: Path
    pixels: int
    ink: tuple[int, int, int]
    paper: tuple[int, int, int]


def captions(folder: Path) -> list[str]:
    """The different captions of the unpacked package in the alphabets that the fonts have, sorted."""
    found: set[str] = set()
    for file in folder.rglob("*.txt"):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            text = " ".join(line.split("=", 1)[-1].split())
            if len(text) > 12 and _ALPHABETS.fullmatch(text):
                found.add(text)
    return sorted(found)


def font_files(folder: Path) -> list[Path]:
    """The fonts of an unpacked package, sorted by path."""
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".ttf", ".otf") and not file.is_symlink())


def draw_page(page: Page) -> Image.Image:
    """The page as an RGB picture of `WIDTH` x `HEIGHT`."""
    image = Image.new("RGB", (WIDTH, HEIGHT), page.paper)
    draw, step = ImageDraw.Draw(image), round(1.25 * page.pixels)
    font = _font(page.font, page.pixels)
    for row, line in enumerate(page.lines):
        draw.text((page.pixels // 2, 2 + row * step), line, font=font, fill=page.ink)
    return image


def compose(texts: list[str], fonts: list[Path], rng: np.random.Generator) -> Page:
    """A page of captions drawn at random, broken at spaces, in one of the fonts that has all their letters."""
    pixels = int(rng.choice(SIZES))
    rows = max(1, (HEIGHT - 4) // round(1.25 * pixels))
    while True:
        path = fonts[int(rng.integers(len(fonts)))]
        words = " ".join(texts[int(i)] for i in rng.integers(len(texts), size=1 + rows)).split()
        words = [word for word in words if _has(path, word)]
        if words:
            break
    ink, paper = _colours(rng)
    lines = tuple(_broken(words, _font(path, pixels), WIDTH - pixels, rows))
    return Page(lines=lines, font=path, pixels=pixels, ink=ink, paper=paper)


def _broken(words: list[str], font: ImageFont.FreeTypeFont, width: int, rows: int) -> Iterator[str]:
    """At most `rows` lines of words that are no wider than `width` pixels; a word that is wider stands alone."""
    line: list[str] = []
    for word in words:
        if line and font.getlength(" ".join([*line, word])) > width:
            yield " ".join(line)
            rows, line = rows - 1, []
            if not rows:
                return
        line.append(word)
    yield " ".join(line)


def _colours(rng: np.random.Generator) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Ink and paper: black on white for every second page, otherwise colours whose brightness differs by 90 or more of 255."""
    if rng.random() < 0.5:
        return (0, 0, 0), (255, 255, 255)
    while True:
        ink, paper = rng.integers(0, 256, (2, 3)).tolist()
        if abs(_brightness(ink) - _brightness(paper)) >= 90:
            return tuple(ink), tuple(paper)


def _brightness(colour: list[int]) -> float:
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


@cache
def _font(path: Path, pixels: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), pixels, layout_engine=ImageFont.Layout.BASIC)


@cache
def _shape(path: Path, letter: str) -> bytes:
    """The pixels of a letter."""
    image = Image.new("L", (32, 32))
    ImageDraw.Draw(image).text((4, 4), letter, font=_font(path, 16), fill=255)
    return image.tobytes()


def _has(path: Path, word: str) -> bool:
    """Whether a font has all letters of a word: none looks as a code point that no font has."""
    missing = _shape(path, "\uffff")
    return all(_shape(path, letter) != missing for letter in word)


def build_pages(
    out: Path, *, cache: Path, workers: int = 2, offline: bool = False, strict: bool = True, progress: bool = False
) -> Path:
    """Build `out/pages/{train,valid,test}` with its manifest, which holds the text; returns `out/pages`. `workers` is not used."""
    folders = unpack_all((CAPTIONS, *FONTS), cache, offline=offline, strict=strict, progress=progress)
    texts = captions(folders[CAPTIONS])
    split = split_by_hash((_hash(text) for text in texts), valid=0.05, test=0.1)
    fonts = {name: font_files(folders[name]) for name in FONTS}
    seen = [path for name in FONTS if name != UNSEEN_FONT for path in fonts[name]]
    rows: list[dict[str, str]] = []
    with whole_folder(out / "pages") as part, Bar(sum(PAGES.values()), "pages", show=progress) as bar:
        for number, (name, count) in enumerate(PAGES.items()):
            own = [text for text in texts if split[_hash(text)] == name]
            (part / name).mkdir()
            for i in range(count):
                faces = fonts[UNSEEN_FONT] if name == "test" and i % 2 else seen
                page = compose(own, faces, np.random.default_rng((number, i)))
                draw_page(page).save(part / name / f"{i:04d}.png")
                text = " / ".join(page.lines)
                row = {"id": f"{i:04d}", "split": name, "font": page.font.stem, "pixels": str(page.pixels), "text": text}
                rows.append(row)
                bar.step()
        write_rows(part / MANIFEST, COLUMNS, rows)
    return out / "pages"


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()
