"""Figures of validation beside the losses, and the best weights by them. Run: pytest tests/train/test_figures.py"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import soundfile
import tokenzoo
import torch
from safetensors.torch import save_file
from small_runs import write_photo
from tokenzoo.codecs.config import ConfigError, from_mapping
from tokenzoo.codecs.spec import AudioSpec, ImageSpec
from tokenzoo.train.figures.base import FigureConfig
from tokenzoo.train.figures.fid import frechet_distance
from tokenzoo.train.files import load_run, parse_run, read_mapping
from tokenzoo.train.loop import Trainer, train
from tokenzoo.train.losses.perceptual import VggDistance

VIT = {"kind": "vision_model", "model": "test_vit", "pretrained": False}


def figure(spec, kind, **settings):
    return from_mapping(FigureConfig, {"kind": kind, **settings}).build(spec)


@pytest.fixture(scope="module")
def pictures():
    return tokenzoo.build_tokenizer(**read_mapping("image/convnet-debug")["model"]).spec


@pytest.fixture(scope="module")
def sounds():
    return tokenzoo.build_tokenizer(**read_mapping("audio/spectral-debug")["model"]).spec


@pytest.fixture(scope="module")
def vgg(tmp_path_factory):
    torch.manual_seed(0)
    state = {k: v.abs() * 0.05 if k.startswith("heads") else v for k, v in VggDistance().state_dict().items()}
    for k, v in state.items():
        if k.startswith("heads"):
            state[k] = torch.rand_like(v)
    path = tmp_path_factory.mktemp("vgg") / "vgg.safetensors"
    save_file(state, path)
    return path


def speech(rate, seconds=2.0):
    wave, own = soundfile.read(Path(tokenzoo.__file__).parent / "zoo/demo/media/speech.flac", dtype="float32")
    assert own >= rate
    return torch.from_numpy(wave[: int(rate * seconds)])[None, None]  # played at another speed, still speech


def test_frechet_distance_is_that_of_the_formula():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(50, 6)), rng.normal(size=(40, 6)) @ rng.normal(size=(6, 6)) + 1
    root = scipy.linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    want = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert frechet_distance(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(want)
    few = torch.from_numpy(a[:3])  # fewer rows than dimensions
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-9)


def test_pictures_that_are_farther_off_have_worse_figures(pictures, vgg):
    x = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    for found in (figure(pictures, "lpips", weights=str(vgg)), figure(pictures, "fid", features=VIT)):
        values = []
        for much in (0.0, 0.1, 0.8):
            found.add(x[:4], x[:4] + much * noise[:4])
            found.add(x[4:], x[4:] + much * noise[4:])
            values.append(found.take())
        assert values[0] == pytest.approx(0, abs=1e-5) and values[0] < values[1] < values[2]
        assert found.take() is None, "nothing was added since"


def test_speech_that_is_noisier_has_worse_figures(sounds):
    x = speech(sounds.decoded_rate_hz)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    for kind, best in (("pesq", 4.6), ("stoi", 0.999)):
        found, values = figure(sounds, kind), []
        for much in (0.0, 0.01, 0.1):
            found.add(x, x + much * noise)
            values.append(found.take())
        assert values[0] > best and values[0] > values[1] > values[2]
        found.add(torch.cat([x, torch.zeros_like(x)]), torch.cat([x, torch.zeros_like(x)]))
        assert found.take() == pytest.approx(values[0]), "silence has no figure and is left out"
        found.add(x[..., :100], x[..., :100])
        assert found.take() is None


def test_a_figure_of_other_media_or_without_its_package_is_an_error(pictures, sounds, monkeypatch):
    for spec, kind in ((pictures, "pesq"), (pictures, "stoi"), (sounds, "lpips"), (sounds, "fid")):
        with pytest.raises(ConfigError, match=f"'{kind}' judges"):
            figure(spec, kind)
    for module, kind in (("pesq", "pesq"), ("pystoi", "stoi")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ConfigError, match=rf"needs the package {module}: pip install 'tokenzoo\[eval\]'"):
            figure(sounds, kind)
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ConfigError, match="pip install torch-fidelity"):
        figure(pictures, "fid")
    assert isinstance(pictures, ImageSpec) and isinstance(sounds, AudioSpec)


def run_of(folder, name, *changes):
    media = {"image": lambda: write_photo(folder / "media"), "audio": lambda: folder / "media"}[name.partition("/")[0]]()
    settings = [f"data.train={media}", f"data.valid={media}", f"output={folder / 'out'}", "tensorboard=false", "batch_size=4"]
    settings += ["every.validate=2", "every.validate_items=4", "every.preview=0", "every.checkpoint=2", "every.log=1"]
    return load_run(name, [*settings, *changes])


def logged(folder):
    return [json.loads(line) for line in (folder / "out/metrics.jsonl").read_text().splitlines()]


def test_pictures_are_validated_and_kept_by_a_named_figure(tmp_path, vgg):
    config = run_of(tmp_path, "image/convnet-debug", "steps=4", f"figures.lpips.weights={vgg}", "best.figure=near",
                    "figures.near={kind: fid, features: {kind: vision_model, model: test_vit, pretrained: false}}")  # fmt: skip
    train(config)
    rows = [r for r in logged(tmp_path) if "valid/near" in r]
    assert [r["step"] for r in rows] == [2, 4] and all(r["valid/lpips"] > 0 for r in rows)
    best = min(rows, key=lambda r: r["valid/near"])["step"]
    same = all(torch.equal(v, tokenzoo.load(f"file:{tmp_path}/out/model").state_dict()[k])
               for k, v in tokenzoo.load(f"file:{tmp_path}/out/best").state_dict().items())  # fmt: skip
    assert same == (best == 4)


def test_speech_is_kept_by_the_higher_pesq(tmp_path, capsys):
    (tmp_path / "media").mkdir()
    wave, rate = soundfile.read(Path(tokenzoo.__file__).parent / "zoo/demo/media/speech.flac")
    soundfile.write(tmp_path / "media/speech.flac", wave, rate)
    config = run_of(tmp_path, "audio/spectral-debug", "steps=4", "data.crop_seconds=1.0", "figures.pesq={}", "best.figure=pesq")
    train(config)
    rows = [r for r in logged(tmp_path) if "valid/pesq" in r]
    assert len(rows) == 2 and all(1 <= r["valid/pesq"] <= 4.7 for r in rows)
    best = max(rows, key=lambda r: r["valid/pesq"])
    assert f"best weights, step {best['step']} with pesq" in capsys.readouterr().err


def test_a_figure_that_no_crop_has_cannot_choose_the_best(tmp_path):
    (tmp_path / "media").mkdir()
    soundfile.write(tmp_path / "media/silence.wav", np.zeros(48000), 24000)
    config = run_of(tmp_path, "audio/spectral-debug", "steps=2", "figures.pesq={}", "best.figure=pesq")
    with pytest.raises(ConfigError, match="best.figure is 'pesq', which is not defined for any of the 1 crops"):
        Trainer(config).run()


def test_names_are_checked():
    run = read_mapping("image/convnet-debug")
    with pytest.raises(ConfigError, match="figures.psnr: a loss or a figure has this name already"):
        parse_run({**run, "figures": {"psnr": {"kind": "lpips"}}})
    with pytest.raises(ConfigError, match="best.figure is 'lpisp'.*lpips"):
        parse_run({**run, "figures": {"lpips": {}}, "best": {"figure": "lpisp"}})
    with pytest.raises(ConfigError, match="figure kind.*pesq"):
        parse_run({**run, "figures": {"pesk": {}}})
    assert not parse_run({**run, "figures": {"lpips": None}}).figures, "removed"
