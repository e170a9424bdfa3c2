"""The page corpus: which captions and fonts are used, that lines fit, and a whole build from made-up packages.

Run: pytest tests/zoo/training_data/test_pages.py
"""

from pathlib import Path

import numpy as np
import pytest
from built_twice import assert_same_files
from PIL import Image, ImageFont
from tokenzoo.zoo.training_data import packages, pages
from tokenzoo.zoo.training_data.manifest import MANIFEST, read_rows


@pytest.fixture
def latin(tmp_path) -> Path:
    """The font that Pillow has in itself: Aileron, of which only the letters of ASCII."""
    font = ImageFont.load_default(size=16)
    assert isinstance(font, ImageFont.FreeTypeFont)
    path = tmp_path / "aileron.ttf"
    path.write_bytes(font.font_bytes)
    return path


def test_captions_are_sentences_in_letters_that_fonts_have(tmp_path):
    lines = ["A wheelie bin!", "de.utf8=Ein  blaues Fahrrad.", "el.utf8=Πινακίδα «STOP».", "ja.utf8=１００えん、これは日本"]
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "b.txt").write_text("de.utf8=Ein blaues Fahrrad.", encoding="utf-8")
    assert pages.captions(tmp_path) == ["A wheelie bin!", "Ein blaues Fahrrad.", "Πινακίδα «STOP»."]


def test_lines_fit_the_page(latin):
    for seed in range(40):
        page = pages.compose(["one two three four", "Привет, мир", "x" * 9], [latin], np.random.default_rng(seed))
        step = round(1.25 * page.pixels)
        assert 1 <= len(page.lines) <= max(1, (pages.HEIGHT - 4) // step)
        font = pages._font(latin, page.pixels)
        for line in page.lines:
            assert " " not in line or font.getlength(line) <= pages.WIDTH - page.pixels


def test_a_word_is_drawn_only_with_a_font_that_has_its_letters(latin):
    assert pages._has(latin, "abc")
    assert not pages._has(latin, "Привет") and not pages._has(latin, "abcж") and not pages._has(latin, "e\u0301")
    for seed in range(8):
        page = pages.compose(["Привет, abc", "Привет"], [latin], np.random.default_rng(seed))
        assert set(" ".join(page.lines).split()) == {"abc"}


def test_ink_differs_from_paper():
    rng = np.random.default_rng(0)
    for _ in range(60):
        ink, paper = pages._colours(rng)
        assert abs(pages._brightness(list(ink)) - pages._brightness(list(paper))) >= 90


@pytest.fixture
def cache(latin, tmp_path):
    """A cache of captions, and of font packages that all hold one font."""
    for name in (pages.CAPTIONS, *pages.FONTS):
        folder = tmp_path / "cache" / "unpacked" / name
        folder.mkdir(parents=True)
        if name == pages.CAPTIONS:
            (folder / "a.txt").write_text("\n".join(f"The caption number {i}." for i in range(100)))
        else:
            (folder / f"{name}.ttf").write_bytes(latin.read_bytes())
        folder.with_name(f"{name}.sha256").write_text(packages.PACKAGES[name].sha256)
    return tmp_path / "cache"


def test_the_page_corpus_is_the_same_twice(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "PAGES", {"train": 12, "valid": 3, "test": 6})
    one, two = (pages.build_pages(tmp_path / name, cache=cache, offline=True) for name in ("one", "two"))
    assert_same_files(one, two)
    rows = read_rows(one / MANIFEST)
    assert len(rows) == 21 and all(row["text"] for row in rows)
    assert all(Image.open(one / row["split"] / f"{row['id']}.png").size == (pages.WIDTH, pages.HEIGHT) for row in rows)
    fonts = {row["split"]: set() for row in rows}
    words = {row["split"]: set() for row in rows}
    for row in rows:
        fonts[row["split"]].add(row["font"])
        words[row["split"]] |= {word for word in row["text"].split() if word[0].isdigit()}
    assert pages.UNSEEN_FONT in fonts["test"] - fonts["train"] - fonts["valid"]
    assert words["test"] and not words["test"] & words["train"]
