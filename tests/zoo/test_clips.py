"""Films and animations in eval, bench, encode and tokenize. Run: pytest tests/zoo/test_clips.py"""

import dataclasses

import numpy as np
import pytest
import tokenzoo
import torch
from cli_runs import run, saved
from clip_cases import film, write_picture
from families import TINY
from PIL import Image
from tokenzoo.codecs.media import as_clips, as_pictures, read_clip
from tokenzoo.codecs.media.endings import endings_of
from tokenzoo.zoo import registry
from tokenzoo.zoo.bench import Settings, bench, exactness
from tokenzoo.zoo.bench.cost import MOST_FRAMES, MOST_SIDE, cost_of, cut
from tokenzoo.zoo.bench.page.samples import Samples
from tokenzoo.zoo.bench.settings import corpus_of
from tokenzoo.zoo.corpus.dataset import TokenDataset
from tokenzoo.zoo.corpus.sources import list_source
from tokenzoo.zoo.evaluate import evaluate
from tokenzoo.zoo.evaluate.images import ImageMetrics
from tokenzoo.zoo.evaluate.report import report_text

QUICK = Settings(cost=False)
#: Frames of the film; Emu3 has four of them in a step.
FRAMES = 6


def tiny(label):
    torch.manual_seed(0)
    return tokenzoo.build_tokenizer(*TINY[label]).eval()


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A film of six frames, an animation of two and a picture, each of 24 x 16 pixels."""
    folder = tmp_path_factory.mktemp("clips")
    ramp = np.linspace(0, 1, 24)[None, None, :, None] * np.linspace(40, 250, FRAMES)[:, None, None, None]
    (folder / "a.mp4").write_bytes(film(np.broadcast_to(ramp, (FRAMES, 16, 24, 3)).astype(np.uint8)))
    frames = [Image.fromarray(np.full((16, 24, 3), v, np.uint8)) for v in (60, 200)]
    frames[0].save(folder / "b.gif", save_all=True, append_images=frames[1:])
    write_picture(folder / "c.png")
    return folder


def psnr(tokenizer, path, options=None):
    """Mean over the frames of a clip, with NumPy."""
    (x,) = as_clips(path, tokenizer.spec.value_range)
    y = tokenizer.decode(tokenizer.encode(x, options))[0]
    a, b = (tokenizer.to_uint8(v).numpy() / 255 for v in (x, y))
    return [-10 * np.log10(((p - q) ** 2).mean()) for p, q in zip(a, b, strict=True)]


def test_a_clip_counts_as_its_frames(clips):
    tok = tiny("emu3")
    report = evaluate(tok, clips)
    assert (report.items, report.failed) == (3, {}) and report.measured["PSNR dB"] == 3
    per_clip = [np.mean(psnr(tok, clips / name)) for name in ("a.mp4", "b.gif", "c.png")]
    assert report.metrics["PSNR dB"] == pytest.approx(np.mean(per_clip), abs=1e-3), "means over frames, then over clips"
    frames, steps, ids = FRAMES + 2 + 1, 2 + 1 + 1, 8 * 12
    assert report.tokens["bits a pixel"] == pytest.approx(steps * ids * 4 / (frames * 16 * 24))
    assert report.tokens["tokens a frame"] == pytest.approx(steps * ids / frames)
    assert "tokens a frame" in report_text(report) and report.as_json()["rate"]["tokens a frame"]["unit"] == "1/frame"
    fewer = evaluate(tok, clips / "a.mp4", encode_options=tok.encode_options(frames=2))
    assert not fewer.failed and fewer.tokens["tokens a frame"] == pytest.approx(ids / 2), "the option counts when clips are read"


def test_tokenizers_of_pictures(clips):
    """Of a folder they measure the pictures, of a film that is named each frame."""
    tok = tiny("vqgan")
    report = evaluate(tok, clips)
    assert (report.items, report.failed) == (2, {}) and "tokens a frame" not in report.tokens
    report = evaluate(tok, clips / "a.mp4")
    frames = [tok.encode(x) for x in as_clips(clips / "a.mp4", tok.spec.value_range)[0]]
    assert report.items == 1 and report.tokens["tokens a frame"] == sum(t.ids.numel() for t in frames) / FRAMES
    alone = [np.mean(psnr_of_picture(tok, x)) for x in as_clips(clips / "a.mp4", tok.spec.value_range)[0]]
    assert report.metrics["PSNR dB"] == pytest.approx(np.mean(alone), abs=1e-3)


def psnr_of_picture(tok, x):
    a, b = (tok.to_uint8(v).numpy() / 255 for v in (x, tok.decode(tok.encode(x))[0]))
    return -10 * np.log10(((a - b) ** 2).mean())


def test_tokenizers_of_one_size_read_each_frame_of_a_film(clips):
    tok = tiny("vqgan")
    tok.spec = dataclasses.replace(tok.spec, image_size=(8, 8), resize="squash")
    read = ImageMetrics(tok).read(clips / "a.mp4")
    assert read.shape == (FRAMES, 3, 8, 8) and read.float().mean((1, 2, 3)).diff().min() > 5


@pytest.mark.parametrize("cards", [True, False], ids=["known from the card", "known once it is loaded"])
def test_a_bench_has_one_set_for_all(cards, clips, tmp_path, monkeypatch):
    """With a tokenizer of clips in it, whichever comes first, films below folders belong to the set."""
    models = [saved(label, tmp_path / label) for label in ("vqgan", "emu3")]
    if cards:
        monkeypatch.setattr("tokenzoo.zoo.bench.run.cards", lambda: _Known(models[1]))
    found = bench(models, [clips], settings=QUICK, own_process=False, codecs=True, out=tmp_path / "out")
    assert not found.failed and found.head["films"] and found.head["corpus"]["items"] == 3
    of_pictures, of_clips, *codecs = found.rows()
    assert of_pictures.items == of_clips.items == 3 and codecs and all(row.items == 3 for row in codecs)
    assert of_clips.values["tokens a frame"] == pytest.approx(4 * 96 / 9)  # a picture's tokenizer takes an animation's first frame
    assert of_pictures.values["tokens a frame"] == 24 / 2 * 16 / 2
    alone = bench(models[:1], [clips], settings=QUICK, own_process=False)
    assert "films" not in alone.head and alone.head["corpus"]["items"] == 2
    shown = Samples.of("image", found.first_files([clips]), tmp_path / "page")
    for name in models:
        shown.add(name, tokenzoo.load(name), [""])
    html = str(shown.section())
    assert not shown.failed and "6 frames of 24 x 16 pixels" in html
    shown = [len(read_clip(tmp_path / f"page/media/image-01-{i:02d}.webp")) for i in (0, 1)]  # the original, and by single frames
    assert shown == [FRAMES, FRAMES]


class _Known(dict):
    """The registry with a card for one more name, which says that it takes clips."""

    def __init__(self, name):
        card = registry.card("emu3-vq")
        super().__init__({name: dataclasses.replace(card, name=name)})


@pytest.mark.slow
def test_a_bench_in_processes_of_their_own(clips, tmp_path):
    found = bench([saved("vqgan", tmp_path / "p"), saved("emu3", tmp_path / "c")], [clips], settings=QUICK)
    assert not found.failed and [row.items for row in found.rows()] == [3, 3]


def test_the_cost_is_that_of_frames():
    tok, clip = tiny("emu3"), torch.zeros(8, 3, 32, 32, dtype=torch.uint8)
    half, all_ = cost_of(tok, clip[:4], rounds=2), cost_of(tok, clip, rounds=2)
    assert all_["encode pictures/s"] == pytest.approx(8 / all_["encode s"])
    assert half["decode pictures/s"] == pytest.approx(4 / half["decode s"])
    name = "decode GFLOPs a megapixel"
    assert all_[name] == pytest.approx(half[name], rel=0.01), "a rate: as much for each frame"
    assert cut(torch.zeros(40, 3, 8, 2000)).shape == (MOST_FRAMES, 3, 8, MOST_SIDE)


def test_exactness_of_films(clips, monkeypatch):
    tok = tiny("vqgan")
    monkeypatch.setattr(exactness, "WAYS", {"again": exactness.WAYS["again"]})
    found, failed = exactness.of_corpus(tok, corpus_of([str(clips / "a.mp4")], "image"))
    assert not failed and found["again"].ids == FRAMES * 96 and found["again"].share == 0


def test_films_are_refused_where_pictures_are_written(clips, tmp_path):
    ran = run("encode", saved("vqgan", tmp_path / "m"), clips / "a.mp4", "-o", tmp_path / "out")
    assert ran.code == 1 and "this is a film" in ran.err and "cosmos_dv, emu3, vidtok" in ran.err
    assert run("eval", saved("emu3", tmp_path / "c"), clips, "--json").code == 0


def test_films_in_corpora(clips, tmp_path):
    keys = list_source(clips, "image", films=True).items["key"].to_pylist()
    assert keys == ["a.mp4", "b.gif", "c.png"] and list_source(clips, "image").items["key"].to_pylist() == keys[1:]
    assert ".mp4" not in endings_of("audio", films=True)
    ran = run("tokenize", saved("emu3", tmp_path / "m"), clips, "-o", tmp_path / "corpus")
    assert ran.code == 0, ran.err
    corpus = TokenDataset(tmp_path / "corpus", seed=None)
    assert [corpus.tokens(i).grid for i in range(corpus.documents)] == [(2, 8, 12), (1, 8, 12), (1, 8, 12)]


def test_animations_are_their_first_frame_for_tokenizers_of_pictures(clips):
    tok = tiny("vqgan")
    assert torch.equal(ImageMetrics(tok).read(clips / "b.gif"), tok.to_uint8(as_pictures(clips / "b.gif", (-1, 1))[0]))
    assert ImageMetrics(tiny("emu3")).read(clips / "b.gif").shape == (2, 3, 16, 24)
