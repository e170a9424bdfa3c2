"""The bench: rows, resuming, sweeps, failures, what it writes. Run: pytest tests/zoo/bench/test_bench.py"""

import csv
import json
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
import tokenzoo
import torch
from cli_runs import run, saved
from families import TINY
from PIL import Image
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.media import Waveform
from tokenzoo.zoo.bench import Settings, bench, worker
from tokenzoo.zoo.bench.plots import panels_of, svg
from tokenzoo.zoo.bench.run import file_name
from tokenzoo.zoo.bench.settings import Point, corpus_of, points_of
from tokenzoo.zoo.bench.table import COLUMNS, Row
from tokenzoo.zoo.evaluate import Perturb, evaluate

RNG = np.random.default_rng(0)
QUICK = Settings(cost=False)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return {label: saved(label, tmp_path_factory.mktemp("m") / label) for label in ("convnet", "vqgan", "spectral")}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(2):
        Image.fromarray(RNG.integers(0, 255, (24, 24 + 4 * i, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


def of(models, pictures, *labels, settings=QUICK, **more):
    return bench([models[label] for label in labels], [pictures], settings=settings, own_process=False, **more)


def test_points_of_sweeps():
    points = points_of(["codebooks=1, 2", "num_codebooks=2,4", "quality=0.1"])
    assert [p.label for p in points] == ["", "codebooks=1", "codebooks=2", "codebooks=4", "quality=0.1"]
    for wrong in ("codebooks", "=1", "codebooks=", "codebooks=1,,2", "codebooks=0", "positions=-1", "codebooks=1.5"):
        with pytest.raises(ConfigError, match="sweep"):
            points_of([wrong])
    with pytest.raises(ConfigError, match="at most 63"):
        points_of(["codebooks=" + ",".join(map(str, range(1, 65)))])
    with pytest.raises(ConfigError, match="'mos'; allowed: distillmos"):
        Settings(extra=("mos",))
    settings = Settings(sweeps=("codebooks=1",), perturb=Perturb(rate=0.5), extra=("speaker",))
    assert Settings.from_json(json.loads(json.dumps(settings.as_json()))) == settings


def test_the_set_is_known_by_names_and_sizes(pictures, tmp_path):
    whole = corpus_of([str(pictures)], "image")
    copy = shutil.copytree(pictures, tmp_path / "elsewhere")
    assert corpus_of([str(copy)], "image").sha256 == whole.sha256, "where it lies plays no part"
    (copy / "0.png").write_bytes((copy / "0.png").read_bytes() + b"x")
    assert corpus_of([str(copy)], "image").sha256 != whole.sha256
    assert corpus_of([str(pictures)], "image", 1).sha256 != whole.sha256
    with pytest.raises(FileNotFoundError):
        corpus_of([str(pictures)], "audio")


def test_rows_hold_what_evaluate_gives(models, pictures):
    found = of(models, pictures, "convnet", settings=Settings(cost=False, sweeps=("codebooks=1",), perturb=Perturb(neighbours=2)))
    whole, one, wrong = found.rows()
    report = evaluate(tokenzoo.load(models["convnet"]), pictures, num_codebooks=1)
    assert (whole.setting, one.setting, wrong.setting) == ("", "codebooks=1", str(Perturb(neighbours=2)))
    assert one.values["PSNR dB"] == pytest.approx(report.metrics["PSNR dB"])
    assert one.values["bits a pixel"] == pytest.approx(4 / 16) == pytest.approx(whole.values["bits a pixel"] / 3)
    assert one.values["tokens a megapixel"] == pytest.approx(1e6 / 16)
    assert one.values["usage"] == pytest.approx(report.tokens["usage"][0]) and one.books == "1 x 16" and whole.books == "3 x 16"
    assert wrong.values["bits a pixel"] == whole.values["bits a pixel"] and wrong.values["PSNR dB"] != whole.values["PSNR dB"]
    assert found.complete and set(whole.values) <= set(COLUMNS)


def test_a_bench_goes_on_where_it_was_stopped(models, pictures, tmp_path, monkeypatch):
    calls = []
    real = worker.evaluate
    monkeypatch.setattr(worker, "evaluate", lambda tokenizer, *a, **k: calls.append(tokenizer.family) or real(tokenizer, *a, **k))
    of(models, pictures, "convnet", out=tmp_path)
    first = (tmp_path / "results" / file_name(models["convnet"])).read_bytes()
    found = of(models, pictures, "convnet", "vqgan", out=tmp_path)
    assert calls == ["convnet", "vqgan"] and len(found.rows()) == 2
    assert (tmp_path / "results" / file_name(models["convnet"])).read_bytes() == first
    of(models, pictures, "convnet", out=tmp_path, settings=Settings(cost=False, limit=1))
    assert calls == ["convnet", "vqgan", "convnet"], "another set: measured again"
    (tmp_path / "results" / file_name(models["convnet"])).write_text("{half")
    of(models, pictures, "convnet", out=tmp_path, settings=Settings(cost=False, limit=1))
    assert len(calls) == 4


def test_other_weights_under_the_same_name_are_measured_again(pictures, tmp_path):
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        tokenzoo.save_pretrained(tokenzoo.build_tokenizer(*TINY["convnet"]), str(tmp_path / "m"))
        found.append(bench([str(tmp_path / "m")], [pictures], settings=QUICK, out=tmp_path / "out", own_process=False))
    a, b = (f.results[0] for f in found)
    assert a["key"]["fingerprint"] != b["key"]["fingerprint"] and a["rows"] != b["rows"]


def test_what_fails_is_listed_and_the_others_are_measured(models, pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "p")
    (tmp_path / "p/bad.png").write_bytes(b"no picture")
    names = [models["vqgan"], str(tmp_path / "nothing")]
    settings = Settings(cost=False, sweeps=("codebooks=2",))
    found = bench(names, [tmp_path / "p"], settings=settings, out=tmp_path / "out", own_process=False)
    assert list(found.failed) == [str(tmp_path / "nothing")] and not found.complete
    whole, two = found.rows()
    assert whole.items == 2 and "num_codebooks is 2" in two.error and not two.values
    text = found.text()
    assert "bad.png: cannot read" in text and f"failed: {models['vqgan']} codebooks=2: num_codebooks is 2" in text
    page = (tmp_path / "out/bench.md").read_text()
    assert "bad.png: cannot read" in page and "nothing" in page


def test_one_modality(models, pictures, tmp_path):
    both = shutil.copytree(pictures, tmp_path / "both")
    soundfile.write(both / "s.wav", RNG.normal(size=9000) * 0.1, 16000)
    with pytest.raises(ValueError, match="a bench is of one"):
        bench([models["convnet"], models["spectral"]], [both], settings=QUICK, own_process=False)
    with pytest.raises(ValueError, match="photo-f16-rvq7 .image., speech-16khz-4kbps .audio."):
        bench(["photo-f16-rvq7", "speech-16khz-4kbps"], [pictures], settings=QUICK)
    with pytest.raises(ValueError, match="each once"):
        of(models, pictures, "convnet", "convnet")


class _Cells(HTMLParser):
    """Texts of the table's cells, and whatever would be loaded from elsewhere."""

    def __init__(self):
        super().__init__()
        self.cells, self.loaded, self.inside = [], [], False

    def handle_starttag(self, tag, attrs):
        self.inside = tag == "td"
        self.loaded += [v for n, v in attrs if n in ("src", "href")]
        self.cells += [""] if self.inside else []

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.cells[-1] += data


def test_what_is_written(models, pictures, tmp_path):
    settings = Settings(cost=False, sweeps=("codebooks=1,2",))
    found = of(models, pictures, "convnet", out=tmp_path, codecs=True, command="tokenzoo bench -o 'o & <p>'", settings=settings)
    loaded = json.loads((tmp_path / "bench.json").read_text())
    assert loaded == json.loads(json.dumps(found.as_json()))
    assert loaded["corpus"]["items"] == 2 and len(loaded["corpus"]["sha256"]) == 64 and loaded["dtype"] == "float32"
    assert {"torch", "tokenzoo", "python"} <= set(loaded["versions"]) and loaded["device"]
    assert loaded["command"] == "tokenzoo bench -o 'o & <p>'"
    rows = list(csv.DictReader((tmp_path / "bench.csv").open()))
    assert [r["setting"] for r in rows[:3]] == ["", "codebooks=1", "codebooks=2"]
    assert float(rows[0]["PSNR dB"]) == pytest.approx(found.rows()[0].values["PSNR dB"])
    codecs = [r for r in found.rows() if r.reference]
    assert {"JPEG", "WebP"} <= {r.tokenizer for r in codecs}
    assert all(r.setting.startswith("q") and r.values["PSNR dB"] > 5 for r in codecs)

    page, cells = (tmp_path / "bench.html").read_text(), _Cells()
    cells.feed(page)
    assert not cells.loaded and "://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert f">{models['convnet']}</th>" in page and "codebooks=2" in cells.cells and "o &amp; &lt;p&gt;" in page
    assert f"{found.rows()[0].values['PSNR dB']:.4g}" in cells.cells
    svg = (tmp_path / "rate_distortion.svg").read_text()
    assert svg.count("<polyline") >= 2 and page.count("<polyline") == svg.count("<polyline")
    assert np.asarray(Image.open(tmp_path / "rate_distortion.png")).std() > 5
    assert Image.open(tmp_path / "rate_distortion.png").width > 300


def test_the_command(models, pictures, monkeypatch):
    from tokenzoo.zoo.bench import run as module

    monkeypatch.setattr(module, "_in_process", lambda job, side: worker.measure(job))
    ran = run("bench", models["convnet"], "--data", pictures, "--no-cost", "--sweep", "codebooks=1", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["command"] == f"tokenzoo bench {models['convnet']} --data {pictures} --sweep codebooks=1 --no-cost"
    assert [r["setting"] for r in found["results"][0]["rows"]] == ["", "codebooks=1"]
    ran = run("bench", models["convnet"], "--data", pictures, "--no-cost", "--sweep", "codebooks=9")
    assert ran.code == 1 and "codebooks=9: num_codebooks is 9" in ran.out and "PSNR dB ↑" in ran.out
    ran = run("bench", models["convnet"], "--data", pictures, "--also", "speaker", "--no-cost")
    assert ran.code == 1 and "are of speech" in ran.out + ran.err


def test_sound_and_its_point(models):
    tokenizer = tokenzoo.load(models["spectral"])
    chosen = Point("codebooks", "2").options(tokenizer)
    assert chosen.encode(tokenizer, Waveform(torch.randn(1, 4000) * 0.1, 16000)).num_codebooks == 2
    with pytest.raises(ConfigError, match="no option 'quality'"):
        Point("quality", "1").options(tokenizer)


def test_positions_and_steps_reach_encode_and_decode():
    tokenizer = tokenzoo.build_tokenizer(*TINY["flextok"]).eval()
    picture = torch.zeros(3, *tokenizer.spec.image_size, dtype=torch.uint8)
    assert Point("positions", "2").options(tokenizer).encode(tokenizer, picture).lengths.tolist() == [2]
    assert Point("steps", "3").options(tokenizer).of_decode.steps == 3 != Point().options(tokenizer).of_decode.steps


def test_curves_of_a_plot():
    def row(name, rate, value, **more):
        return Row(name, "", {"kbit/s": rate, "STOI": value}, **more)

    rows = [row("a", 2, 0.8), row("a", 1, 0.5), row("a", 2, 0.1, perturbed=True), row("b", 1, 0.4), Row("c", "", {}, error="no")]
    rate, ((metric, drawn),) = panels_of(rows)
    assert (rate, metric) == ("kbit/s", "STOI")
    assert {n: (line.x.tolist(), line.y.tolist()) for n, line in drawn.items()} == {"a": ([1, 2], [0.5, 0.8]), "b": ([1], [0.4])}
    assert panels_of(rows[:1])[1] == [] == panels_of([])[1], "one rate alone is no curve"
    coded = Row("a", "", {"kbit/s": 3, "kbit/s, coded": 2, "STOI": 0.9})
    _, ((metric, both),) = panels_of([*rows, coded])
    assert metric == "STOI", "no rate is drawn over another"
    assert list(both) == ["a", "b", "a, coded"] and (both["a, coded"].x.tolist(), both["a, coded"].y.tolist()) == ([2], [0.9])
    named = svg([("STOI", {"a<b>": drawn["a"]})], rate)
    assert named.count("<circle") == 3 and "a&lt;b&gt;: 1 kbit/s, STOI 0.5" in named


@pytest.mark.slow
@pytest.mark.parametrize("name, unit", [("photo-f16-rvq7", "bits a pixel"), ("speech-16khz-4kbps", "kbit/s")])
def test_the_shipped_checkpoints_in_processes_of_their_own(name, unit, tmp_path):
    from pathlib import Path

    media = Path(tokenzoo.__file__).parent / "zoo/demo/media"
    found = bench([name, str(tmp_path / "missing")], [media], settings=Settings(sweeps=("codebooks=2",), rounds=2), out=tmp_path)
    whole, two = found.rows()
    assert list(found.failed) == [str(tmp_path / "missing")]
    assert whole.values[unit] > two.values[unit] and 20 < whole.values["peak MiB"] < 2000
    assert whole.values["parameters"] > 1 and whole.values["encode s"] > 0
    assert json.loads((tmp_path / "bench.json").read_text())["results"] == found.results
