"""The command `tokenzoo`, run in this process on tiny tokenizers. Run: pytest tests/test_cli.py"""

import json

import numpy as np
import pytest
import soundfile
import tokenzoo
import torch
from families import TINY
from PIL import Image
from tokenzoo import cli
from typer.testing import CliRunner

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of a tiny audio and a tiny image tokenizer, as the command names them."""
    out = {}
    for label in ("spectral", "convnet"):
        torch.manual_seed(0)
        folder = tmp_path_factory.mktemp(label)
        tokenzoo.save_pretrained(tokenzoo.build_tokenizer(*TINY[label]), folder)
        out[label] = f"file:{folder}"
    return out


@pytest.fixture
def media(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(2):
        Image.fromarray(RNG.integers(0, 255, (40 + i, 50, 3), dtype=np.uint8)).save(folder / f"p{i}.png")
        soundfile.write(folder / f"s{i}.wav", RNG.normal(size=9000 + i) * 0.1, 16000)
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments], catch_exceptions=False)
    return result.exit_code, result.output


def test_encode_then_decode_pictures(models, media, tmp_path):
    code, _ = run("encode", media / "p*.png", "-m", models["convnet"], "-o", tmp_path / "tok")
    assert code == 0
    assert sorted(p.name for p in (tmp_path / "tok").iterdir()) == ["p0.png.tok", "p1.png.tok"]
    code, _ = run("decode", tmp_path / "tok/*.tok", "-m", models["convnet"], "-o", tmp_path / "back")
    assert code == 0
    assert Image.open(tmp_path / "back/p1.png").size == (50, 41)


def test_reconstruct_sound_keeps_length_and_rate(models, media, tmp_path):
    code, _ = run("reconstruct", media / "s0.wav", media / "s1.wav", "-m", models["spectral"], "-o", tmp_path / "out")
    assert code == 0
    info = soundfile.info(tmp_path / "out/s1.wav")
    assert (info.frames, info.samplerate) == (9001, 16000)


def test_one_bad_file_is_reported_at_the_end_and_the_rest_is_done(models, media, tmp_path):
    code, text = run("encode", media / "*.png", media / "gone.png", "-m", models["convnet"], "-o", tmp_path / "tok")
    assert code == 1
    assert sorted(p.name for p in (tmp_path / "tok").iterdir()) == ["p0.png.tok", "p1.png.tok"]
    assert "2 of 4 files failed" in text
    assert "broken.png: cannot read" in text
    assert "gone.png: no such file" in text


def test_tokenizers_of_features_say_what_they_take(media, tmp_path):
    code, text = run("list", "levo*", "--modality", "latent")
    assert code == 0 and "2048 wide" in text and "latent" in text
    code, text = run("info", "levo-mix")
    assert code == 0 and "latents of 1024 channels" in text
    tok = tokenzoo.build_tokenizer(*TINY["levo"])
    tokenzoo.save_pretrained(tok, tmp_path / "levo")
    code, text = run("encode", media / "s0.wav", "-m", f"file:{tmp_path / 'levo'}", "-o", tmp_path / "tok")
    assert code == 1 and "levo takes float features" in text and "s0.wav" in text and "`hear(*tracks)`" in text
    (tmp_path / "tok").mkdir(exist_ok=True)
    tok.encode(torch.randn(1, 16, 5)).save(tmp_path / "tok" / "a.tok")
    code, text = run("decode", tmp_path / "tok" / "a.tok", "-m", f"file:{tmp_path / 'levo'}", "-o", tmp_path / "back")
    assert code == 1 and "gives features back" in text


def test_eval_as_table_and_json(models, media, tmp_path):
    code, text = run("eval", models["spectral"], media, "--json", tmp_path / "r.json")
    assert code == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["items"] == 2
    assert {"mel distance", "STFT distance", "SI-SDR dB"} <= set(report["metrics"])
    assert report["tokens"]["kbit/s"] == pytest.approx(3 * 4 * 800 / 1000, rel=0.01)
    assert len(report["tokens"]["usage"]) == 3
    assert "mel distance" in text
    code, _ = run("eval", models["convnet"], media, "--json", tmp_path / "r.json")
    report = json.loads((tmp_path / "r.json").read_text())
    assert code == 1, "one file is broken"
    assert report["items"] == 2
    assert {"PSNR dB", "SSIM"} <= set(report["metrics"])
    assert list(report["failed"]) == [str(media / "broken.png")]


def test_info_and_unknown_names(capsys):
    name = tokenzoo.list_models()[0].name
    code, text = run("info", name)
    assert code == 0
    assert name in text
    with pytest.raises(SystemExit):
        import sys

        sys.argv = ["tokenzoo", "info", name + "x"]
        cli.main()
    assert f"'{name}'" in capsys.readouterr().err


def test_train_config_errors_are_one_line(capsys):
    code, _ = run("train", "no/such/config")
    assert code == 2
