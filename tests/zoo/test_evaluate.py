"""The figures of `tokenzoo eval` against plain NumPy and against what must come out. Run: pytest tests/zoo/test_evaluate.py"""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import tokenzoo
import torch
from families import TINY
from PIL import Image
from tokenzoo.codecs.media import Waveform
from tokenzoo.zoo.evaluate import evaluate
from tokenzoo.zoo.evaluate.audio import AudioMetrics
from tokenzoo.zoo.evaluate.images import ImageMetrics
from tokenzoo.zoo.evaluate.report import report_text
from tokenzoo.zoo.evaluate.run import TokenCounts, media_files


def tiny(label: str) -> tokenzoo.Tokenizer:
    return tokenzoo.build_tokenizer(*TINY[label]).eval()


def test_psnr_and_ssim():
    metrics = ImageMetrics(tiny("convnet"))
    x = torch.rand(3, 64, 48) * 2 - 1
    u = metrics.to_uint8(x)
    same = metrics.add(u, x)
    assert same["PSNR dB"] == pytest.approx(100)
    assert same["SSIM"] == pytest.approx(1)
    y = (x + 0.1).clamp(-1, 1)
    a, b = (((v.numpy() + 1) / 2 * 255).round() / 255 for v in (x, y))
    assert metrics.add(u, y)["PSNR dB"] == pytest.approx(-10 * math.log10(np.mean((a - b) ** 2)), abs=1e-3)


def test_ms_ssim_needs_five_scales():
    metrics = ImageMetrics(tiny("convnet"))
    x = torch.nn.functional.interpolate(torch.rand(1, 3, 21, 21), size=(176, 180), mode="bilinear")[0] * 2 - 1
    same, worse = metrics.add(metrics.to_uint8(x), x), metrics.add(metrics.to_uint8(x), x + 0.2 * torch.randn(3, 176, 180))
    assert same["MS-SSIM"] == pytest.approx(1) and same["MS-SSIM"] > worse["MS-SSIM"] > worse["SSIM"]
    small = x[:, :175]
    assert "MS-SSIM" not in metrics.add(metrics.to_uint8(small), small)
    assert metrics.left_out[("MS-SSIM", "too small")] == 1


def test_metrics_begin_anew_with_the_same_networks():
    metrics, x = ImageMetrics(tiny("convnet")), torch.zeros(3, 8, 8)
    metrics.add(metrics.to_uint8(x), x)
    again = metrics.anew()
    assert (again.items, metrics.items) == (0, 1) and metrics.left_out and not again.left_out
    assert again.perceptual is metrics.perceptual and again.add(metrics.to_uint8(x), x) == {"PSNR dB": pytest.approx(100)}
    assert metrics.items == 1


@pytest.mark.parametrize("delay", [-37, 0, 120])
def test_a_delay_costs_si_sdr_but_not_the_aligned_one(delay):
    x = torch.randn(1, 8000)
    late = torch.cat([torch.zeros(1, 120), x, torch.zeros(1, 120)], -1)[..., 120 - delay : 8120 - delay] + 0.01 * torch.randn(1, 8000)
    found = AudioMetrics(tiny("spectral")).add(Waveform(x, 16000), late)
    assert found["SI-SDR dB, aligned"] == pytest.approx(40, abs=1)
    assert (found["SI-SDR dB"] > 35) == (delay == 0)


def test_audio_figures():
    metrics = AudioMetrics(tiny("spectral"))
    t = np.arange(32000) / 16000
    voice = np.sin(2 * np.pi * 150 * t) * (1 + np.sin(2 * np.pi * 3 * t)) * 0.2
    x = torch.from_numpy(voice).float()[None]
    noisy = x + 0.05 * torch.randn(1, 32000)
    clean, worse = metrics.add(Waveform(x, 16000), x), metrics.add(Waveform(x, 16000), noisy)
    assert clean["mel distance"] == clean["STFT distance"] == 0
    assert worse["mel distance"] > 0.5
    assert worse["SI-SDR dB"] == pytest.approx(10 * math.log10(float(x.square().mean() / (noisy - x).square().mean())), abs=0.3)
    if "STOI" in clean:
        assert clean["STOI"] == pytest.approx(1, abs=1e-3)
        assert clean["ESTOI"] == pytest.approx(1, abs=1e-3) and worse["ESTOI"] < worse["STOI"]
        assert worse["STOI"] < 1
    if "PESQ-WB" in clean:
        assert clean["PESQ-WB"] > 4.5
        assert worse["PESQ-WB"] < 3


def test_rfid_names_what_it_needs(monkeypatch):
    from torchmetrics.image import fid

    def without(feature):
        raise ModuleNotFoundError("it is not installed")  # as torchmetrics raises it: without a name

    monkeypatch.setattr(fid, "FrechetInceptionDistance", without)
    assert not any("rFID" in n for n in ImageMetrics(tiny("convnet"), 499).notes), "too few pictures: nothing is looked for"
    (note,) = [n for n in ImageMetrics(tiny("convnet"), 500).notes if "rFID" in n]
    assert note == "no rFID: the package torch-fidelity is not installed; pip install torch-fidelity"

    def offline(feature):
        raise OSError("no way to the host")

    monkeypatch.setattr(fid, "FrechetInceptionDistance", offline)
    (note,) = [n for n in ImageMetrics(tiny("convnet"), 500).notes if "rFID" in n]
    assert "could not be downloaded (OSError: no way to the host)" in note


def test_usage_perplexity_and_entropy():
    counts = TokenCounts((4, 4))
    ids = torch.tensor([[[0, 0, 1, 1], [0, 1, 2, 3]]])
    counts.add(tokenzoo.Tokens(ids=ids, vocab_sizes=(4, 4)))
    out = counts.summary()
    assert out["usage"] == [0.5, 1.0]
    assert out["perplexity"] == pytest.approx([2.0, 4.0])
    assert out["entropy bits"] == pytest.approx([1.0, 2.0])
    assert counts.bits == 4 * 2 * 2


def test_rates_come_from_the_original_size(tmp_path):
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.png")
    soundfile.write(tmp_path / "a.wav", np.zeros(24000) + 0.01, 24000)
    image = evaluate(tiny("convnet"), tmp_path)
    assert image.tokens["bits a pixel"] == pytest.approx(5 * 8 * 3 * 4 / 600)  # stride 4: 5 x 8 positions, 3 x 4 bits
    sound = evaluate(tiny("spectral"), tmp_path, num_codebooks=2)
    assert sound.tokens["kbit/s"] == pytest.approx(800 * 2 * 4 / 1000)


def fails(*arguments, **options):
    raise RuntimeError("a window larger\nthan the item")


@pytest.mark.parametrize("label", ["convnet", "spectral"])
def test_whatever_a_metric_raises_costs_neither_the_item_nor_other_figures(label, tmp_path, monkeypatch):
    for i in range(2):
        if label == "convnet":
            Image.fromarray(np.random.default_rng(i).integers(0, 256, (32, 48, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
        else:
            soundfile.write(tmp_path / f"{i}.wav", np.random.default_rng(i).normal(size=8000) * 0.1, 16000)
    name, others = ("SSIM", {"PSNR dB"}) if label == "convnet" else ("mel distance", {"STFT distance", "SI-SDR dB"})
    if label == "convnet":
        monkeypatch.setattr(ImageMetrics, "_find_ssim", lambda self: (fails, fails))
    else:
        monkeypatch.setattr(AudioMetrics, "_mel", fails)
    report = evaluate(tiny(label), tmp_path)
    assert not report.failed and report.items == 2 and others <= set(report.metrics) and name not in report.metrics
    ((metric, why, files),) = [found for found in report.left_out if found[0] == name]
    assert why == "unfit (RuntimeError: a window larger than the item)"
    assert files == [str(path) for path in sorted(tmp_path.iterdir())]
    assert f"2 of 2 items {why} for {metric}: {files[0]}, {files[1]}" in report_text(report)
    assert {"metric": metric, "why": why, "items": 2, "files": files} in report.as_json()["left_out"]


def test_a_network_of_rfid_that_fails_costs_only_rfid(monkeypatch):
    for method in ("update", "compute"):
        metrics = ImageMetrics(tiny("convnet"))
        metrics.fid, metrics.items = SimpleNamespace(**{"update": lambda *a, **o: None, "compute": fails} | {method: fails}), 499
        x = torch.rand(3, 32, 32) * 2 - 1
        assert "PSNR dB" in metrics.add(metrics.to_uint8(x), x)
        assert metrics.totals() == {} and any("no rFID" in n and "a window larger" in n for n in metrics.notes)


def test_lines_of_a_list_that_are_no_names_are_failures(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(800), 16000)
    (tmp_path / "list.txt").write_bytes(b"a.wav\nb\0c.wav\n\xff.wav\n")
    report = evaluate(tiny("spectral"), tmp_path / "list.txt")
    assert report.items == 1 and list(report.failed) == [f"{tmp_path}/b\\x00c.wav", f"{tmp_path}/\\udcff.wav"]
    report_text(report).encode()


def test_files_by_folder_glob_and_list(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b.png", "a.jpg", "sub/c.PNG", "d.wav", "e.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [p.name for p in media_files(tmp_path, "image")] == ["a.jpg", "b.png", "c.PNG"]
    assert [p.name for p in media_files(f"{tmp_path}/*.png", "image")] == ["b.png"]
    (tmp_path / "list.txt").write_text("sub/c.PNG\n\na.jpg\n")
    assert [p.name for p in media_files(tmp_path / "list.txt", "image")] == ["c.PNG", "a.jpg"]
    with pytest.raises(FileNotFoundError):
        evaluate(tiny("convnet"), tmp_path / "nothing")
