"""The best weights of a run, its early end, its curves and what it says when it is over. Run: pytest tests/train/test_best.py"""

import json
import math

import numpy as np
import pytest
import tokenzoo
import torch
from PIL import Image
from small_runs import write_photo
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.spec import AudioSpec
from tokenzoo.train.best import Best, BestConfig, best_of
from tokenzoo.train.curves import write_curves
from tokenzoo.train.data.audio import AudioDataConfig
from tokenzoo.train.data.images import ImageDataConfig
from tokenzoo.train.files import load_run
from tokenzoo.train.loop import Trainer, train


def run_of(folder, *changes):
    photos = write_photo(folder / "photos")
    settings = [f"data.train={photos}", f"data.valid={photos}", "data.crop=32", f"output={folder / 'out'}", "tensorboard=false"]
    settings += ["every.validate=2", "every.validate_items=4", "every.preview=0", "every.checkpoint=2", "every.log=1", "batch_size=4"]
    return load_run("image/vqgan-debug", [*settings, *changes])


def weights(folder):
    return tokenzoo.load(f"file:{folder}").state_dict()


def same(a, b):
    return all(torch.equal(v, b[k]) for k, v in a.items())


def write(folder, rows):
    folder.mkdir(exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return folder


@pytest.mark.parametrize(
    ("figure", "values", "want"),
    [
        ("total", [3.0, 1.0, 1.0, 2.0], Best(2, 1.0, 2)),
        ("psnr", [20.0, 25.0, 24.0], Best(2, 25.0, 1)),
        ("total", [math.nan, 2.0], Best(2, 2.0, 0)),
        ("total", [], None),
    ],
)
def test_the_best_validation(tmp_path, figure, values, want):
    rows = [{"step": i + 1, f"valid/{figure}": v} for i, v in enumerate(values)]
    assert best_of(write(tmp_path, [{"step": 1, "loss/total": 0.1}, *rows]), figure, higher=figure == "psnr") == want
    assert best_of(tmp_path / "nothing", figure, higher=False) is None


def test_the_best_weights_are_kept_and_a_worse_run_goes_on(tmp_path, capsys):
    out = tmp_path / "out"
    train(run_of(tmp_path, "steps=2", "best.figure=psnr"))
    assert same(weights(out / "best"), weights(out / "model"))
    before = weights(out / "best")
    # what follows is worse by far: the kept weights stay those of step 2
    rows = [json.loads(x) for x in (out / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        if "valid/psnr" in row:
            row["valid/psnr"] = 99.0
    write(out, rows)
    capsys.readouterr()
    train(run_of(tmp_path, "steps=4", "best.figure=psnr"))
    assert same(weights(out / "best"), before) and not same(weights(out / "model"), before)
    said = capsys.readouterr().err
    assert "best weights, step 2 with psnr 99" in said and f"file:{out}/best" in said and "curves.png" in said
    assert same(weights(out), weights(out / "model")), "the folder of the run itself loads"


def test_a_run_that_no_longer_improves_ends_and_stays_ended(tmp_path, capsys):
    config = run_of(tmp_path, "steps=100", "best.patience=2", "optimizer.lr=0", "ema.decay=0")
    assert train(config).step == 6, "the first validation is the best; two more are not better"
    assert "no better total in 2 validations" in capsys.readouterr().err
    assert train(config).step == 6, "started again it does no further step"


def test_figures_that_the_validation_does_not_have(tmp_path):
    with pytest.raises(ConfigError, match=r"best.figure is 'pixl'. Did you mean 'pixel'"):
        run_of(tmp_path, "best.figure=pixl")
    with pytest.raises(ConfigError, match=r"best.figure is 'si_sdr'; this run's validation has .*pixel.*psnr.*total"):
        train(run_of(tmp_path, "steps=2", "best.figure=si_sdr"))
    with pytest.raises(ConfigError, match="names no figure"):
        BestConfig(figure=None, patience=3)
    train(run_of(tmp_path, "steps=4", "best.figure=null"))
    assert not (tmp_path / "out/best").exists()


def test_curves_hold_training_and_validation(tmp_path):
    steps = range(1, 1001)
    rows = [{"step": s, "loss/total": 1 / s, "lr": 1e-3, "codebook/usage_0": 0.5, "codebook/usage_1": 0.5} for s in steps]
    rows += [{"step": s, "valid/total": 2 / s, "valid/psnr": float(s)} for s in (100, 500, 1000)]
    path = write_curves(write(tmp_path, rows))
    pixels = np.asarray(Image.open(path).convert("RGB"))
    blue, orange = ((pixels == colour).all(-1).sum() for colour in ((31, 90, 180), (214, 96, 20)))
    assert blue > 500 and orange > 100 and pixels.shape[1] > 1000
    assert write_curves(write(tmp_path / "short", rows[:1])) is None
    assert write_curves(write(tmp_path / "flat", [{"step": s, "loss/total": 1.0} for s in (1, 2)])) is not None


def test_psnr_and_si_sdr_are_what_their_papers_say():
    images = ImageDataConfig(crop=8).media(tokenzoo.build_tokenizer("vqgan").spec)
    low, high = images.value_range
    x = torch.full((2, 3, 8, 8), low)
    x_hat = x.clone()
    x_hat[0] += 0.1 * (high - low)
    x_hat[1] += 0.01 * (high - low)
    assert images.figures(x, x_hat)["psnr"] == pytest.approx((20 + 40) / 2, abs=1e-3)
    spec = AudioSpec(vocab_sizes=(2,), sample_rate_hz=16000, hop_samples=16)
    audio = AudioDataConfig(crop_seconds=0.1).media(spec)
    wave = torch.randn(1, 1, 1600)
    noise = torch.randn(1, 1, 1600)
    noise -= (noise * wave).sum() / wave.square().sum() * wave  # orthogonal to the signal
    noise *= wave.norm() / noise.norm() / 10
    for gain in (1.0, 0.3):
        assert audio.figures(wave, gain * (wave + noise))["si_sdr"] == pytest.approx(20, abs=1e-3)
    assert audio.figures(wave * 0, wave) == {}


def test_crops_of_the_size_that_a_tokenizer_takes():
    for family, side in (("titok", 256), ("vqgan", 256)):
        spec = tokenzoo.build_tokenizer(family).spec
        assert ImageDataConfig(crop=0).media(spec).shape[1:] == (spec.image_size or (side, side))


def test_the_run_ends_although_nothing_is_validated(tmp_path):
    config = run_of(tmp_path, "steps=1", "data.valid=[]", "best.patience=3")
    assert Trainer(config).run().step == 1
    assert not (tmp_path / "out/best").exists()
