"""The page of benches: text stays text, tables say what they hold, media and cards stand where they should. Run: pytest THIS"""

import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
import tokenzoo
from cli_runs import run, saved
from PIL import Image
from tokenzoo.codecs.config import ConfigError
from tokenzoo.zoo import literature
from tokenzoo.zoo.bench import Bench, Settings, bench
from tokenzoo.zoo.bench.page import html, write
from tokenzoo.zoo.bench.page.grid import Column, Line, grid
from tokenzoo.zoo.bench.page.markup import Html, join, tag
from tokenzoo.zoo.bench.page.samples import Samples

RNG = np.random.default_rng(0)
HOSTILE = """<script>alert(1)</script><img src=x onerror="alert('2')">&amp;"'`"""


class Page(HTMLParser):
    """Elements with their attributes, and the text of the page without its script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source = text
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._inside = "", ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        self.text += data if self._inside not in ("script", "style") else ""

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == name]


def result(name: str, *rows: dict, modality: str = "image", **more) -> dict:
    return {"name": name, "modality": modality, "rows": list(rows), "notes": [], "cost": {}, **more}


def row(setting: str = "", **figures: float) -> dict:
    books = [{"vocab_size": 16, "usage": 0.5, "perplexity": 8.0, "entropy_bits": 3.0, "bits_at_a_position": 2.0}]
    return {"setting": setting, "items": 2, "figures": figures, "codebooks": books, "failed": {}, "notes": [], "left_out": []}


def head(modality: str = "image", **more) -> dict:
    corpus = {"items": 2, "bytes": 9, "sha256": "ab" * 32}
    return {"command": "tokenzoo bench", "data": "d", "modality": modality, "date": "2026-01-01", "corpus": corpus, **more}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A page of both kinds of media, and of a tokenizer without a card."""
    names = (("image", "photo-f16-rvq7"), ("audio", "speech-16khz-4kbps"), ("image", "some/folder"))
    parts = [Bench(head=head(m), results=[result(name, row(), modality=m)], failed={}) for m, name in names]
    return Page(write(parts, tmp_path_factory.mktemp("whole")).read_text())


def test_text_is_escaped_and_markup_is_not():
    made = tag("td", HOSTILE, class_='a"b', data_v=0.5, hidden=True, title=None)
    assert made.startswith('<td class="a&quot;b" data-v="0.5" hidden>&lt;script&gt;') and "<script>" not in made
    assert tag("p", tag("b", "x"), "<") == "<p><b>x</b>&lt;</p>"
    assert isinstance(made, Html) and join(["<", Html("<br>")]) == "&lt;<br>"


def test_hostile_words_stay_words(tmp_path):
    """Of names, settings, errors, notes, sets, commands and files."""
    bad = row(HOSTILE, **{"PSNR dB": 20.0, "bits a pixel": 0.5}) | {"failed": {HOSTILE: HOSTILE}, "notes": [HOSTILE]}
    results = [result(HOSTILE, row(**{"PSNR dB": 21.0, "bits a pixel": 1.0}), bad, {"setting": "x", "error": HOSTILE})]
    facts, failed = head(data=HOSTILE, command=HOSTILE, device=HOSTILE, versions={HOSTILE: "1"}), {"b": HOSTILE}
    path = write([Bench(head=facts, results=results, failed=failed)], tmp_path, command=HOSTILE, title=HOSTILE)
    for text in (html(facts, results, failed), path.read_text()):
        page = Page(text)
        assert len(page.all("script")) == 1 and "<script>alert" not in text, "the page's own"
        assert not [a for _, a in page.elements if any(n.startswith("on") or n == "style" for n in a)]
        assert not page.all("img") and page.text.count(HOSTILE) > 8


def test_a_page_loads_nothing_from_elsewhere(whole):
    assert not [a for _, a in whole.elements if a.get("src") or (a.get("href") or "#")[0] != "#"]
    assert not re.search(r"@import|url\(", whole.source)
    (policy,) = [a["content"] for a in whole.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy and "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy


def test_links_lead_somewhere(whole, tmp_path):
    ids = [a["id"] for _, a in whole.elements if a.get("id")]
    aims = {a["href"] for a in whole.all("a")}
    assert len(ids) == len(set(ids)) and {str(a)[1:] for a in aims} <= set(ids)
    assert {"#card-photo-f16-rvq7", "#card-titok-l32", "#measured-1", "#published-audio", "#cards"} <= aims
    assert {f"card-{c.name}" for c in tokenzoo.list_models()} <= set(ids), "a page of both kinds of media has every card"
    only = Page(write([Bench(head=head(), results=[result("photo-f16-rvq7", row())], failed={})], tmp_path).read_text())
    shown = {a["id"] for a in only.all("details") if a.get("id")}
    assert shown == {f"card-{c.name}" for c in tokenzoo.list_models(modality="image")}


def test_cards_and_published_figures(whole):
    text = " ".join(whole.text.split())
    assert "not published where we looked: the README of hubertsiuzdak/snac" in text
    assert "LibriSpeech test-clean: as stated by the sources, not measured here" in text
    tables = [a for a in whole.all("table") if str(a["id"]).startswith("published-")]
    sets = {f.dataset for n in literature.names() for f in literature.figures_of(n) if f.by != "here"}
    assert len(tables) == len(sets) > 30 and text.count("as stated by the sources, not measured here") == len(sets)
    for part in ("BiCodec", "measured by", "OpenMOSS/MOSS-Audio-Tokenizer", "CC-BY-NC-4.0", "never run here", "ids equal"):
        assert part in text


def test_a_table_names_its_heads_and_marks_the_best():
    columns = [Column(name="n", text=True), Column(name="up", better="higher"), Column(name="down", better="lower", unit="s")]
    lines = [Line(cells=["a", 1.0, 2.0]), Line(cells=["b", 3.0, None]), Line(cells=["c", 9.0, 1.0], kind="reference")]
    page = Page(made := grid(columns, lines, caption="C", name="t", best=True))
    assert [a["scope"] for a in page.all("th")] == ["col"] * 3 + ["row"] * 3
    assert made.count('class="best"') == 1 and 'class="best" data-v="3.0">3</td>' in made, "of tokenizers, where there are two values"
    assert 'class="none" data-v=""' in made and "<caption>C</caption>" in made and page.all("tr")[-1] == {"class": "reference"}
    ordered = Page(grid(columns, lines, caption="C", name="t", by="up"))
    assert [a.get("aria-sort") for a in ordered.all("th")][:3] == [None, "ascending", None]
    back = grid(columns, lines, caption="C", name="t", by="down")
    assert back.index(">c</th>") < back.index(">a</th>") < back.index(">b</th>"), "rows without a value stand last"


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    Image.fromarray(RNG.integers(0, 255, (24, 28, 3), dtype=np.uint8)).save(folder / "<b>&.png")
    soundfile.write(folder / "s.wav", RNG.normal(size=9000) * 0.1, 16000)
    return folder


def test_items_are_shown_beside_what_comes_back(media, tmp_path):
    names = {kind: saved(kind, tmp_path / kind) for kind in ("convnet", "spectral")}
    settings = Settings(cost=False, sweeps=("codebooks=1",))
    found = [
        bench([names["convnet"]], [media], settings=settings, own_process=False, codecs=True),
        bench([names["spectral"]], [media], settings=settings, own_process=False),
    ]
    out = tmp_path / "page"
    (out / "media").mkdir(parents=True)
    for old in ("image-09-09.webp", "mine.webp"):
        (out / "media" / old).write_bytes(b"")
    page = Page(write(found, out, show=[media]).read_text())
    shown = [str(a["src"]) for a in page.all("img")]
    assert sorted(p.name for p in (out / "media").iterdir()) == sorted(
        ["mine.webp", *(s.removeprefix("media/") for s in shown), *(f"audio-01-0{i}.flac" for i in range(3))]
    ), "one original, two settings, three classical codecs of pictures; those of an earlier page are gone"
    assert len([s for s in shown if "image" in s]) == 3 + 3 and len(page.all("audio")) == 3
    assert Image.open(out / shown[0]).size == (28, 24) and soundfile.info(out / "media/audio-01-01.flac").frames == 9000
    assert "<b>&.png" in page.text and "codebooks=1" in page.text and "24 bytes" not in page.text
    buttons = [a["data-original"] for a in page.all("button") if a.get("data-original")]
    assert set(buttons) == {"media/image-01-00.webp"}


def test_what_cannot_be_shown_is_said(media, tmp_path):
    shutil.copytree(media, tmp_path / "m")
    (tmp_path / "m/bad.png").write_bytes(b"no picture")
    samples = Samples.of("image", [tmp_path / "m"], tmp_path / "out")
    samples.add("convnet", tokenzoo.load(saved("convnet", tmp_path / "t")), ["", "codebooks=99"])
    text = Page(samples.section()).text
    assert "not shown: bad.png with convnet" in text and "num_codebooks is 99" in text
    missing = Bench(head=head(), results=[result(str(tmp_path / "gone"), row())], failed={})
    assert "not shown: " in Page(write([missing], tmp_path / "out", show=[media]).read_text()).text


def test_the_commands(media, tmp_path, monkeypatch):
    from tokenzoo.zoo.bench import run as module
    from tokenzoo.zoo.bench import worker

    monkeypatch.setattr(module, "_in_process", lambda job, side: worker.measure(job))
    model, out = saved("convnet", tmp_path / "t"), tmp_path / "results"
    ran = run("bench", model, "--data", media, "--no-cost", "--out", out, "--page", tmp_path / "one")
    assert ran.code == 0 and f"page: {tmp_path / 'one'}" in ran.err
    page = Page((tmp_path / "one/index.html").read_text())
    assert len(page.all("img")) == 2, "without --show: the first files of the set"
    ran = run("bench", out, "--page", tmp_path / "two", "--show", media)
    assert ran.code == 0 and not ran.out
    assert f"tokenzoo bench {out} --show {media} --page {tmp_path / 'two'}" in (tmp_path / "two/index.html").read_text()
    assert Bench.read(out).results[0]["name"] == model
    ran = run("bench", model, "--page", tmp_path / "three")
    assert ran.code == 1 and "holds no bench.json" in ran.err and not (tmp_path / "three").exists()
    ran = run("bench", model)
    assert ran.code == 1 and "--data" in ran.err
    with pytest.raises(ConfigError, match=r"holds no bench\.json"):
        Bench.read(media)
