"""eval: figures with their directions, what could not be measured, JSON. Run: pytest tests/cli/test_eval.py"""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from cli_runs import run, saved
from PIL import Image

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return {label: saved(label, tmp_path_factory.mktemp(label)) for label in ("spectral", "convnet", "levo")}


def pictures(folder, *sizes):
    folder.mkdir(exist_ok=True)
    for i, (height, width) in enumerate(sizes):
        Image.fromarray(RNG.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(folder / f"p{i}.png")
    return folder


def sounds(folder, *lengths):
    folder.mkdir(exist_ok=True)
    for i, length in enumerate(lengths):
        soundfile.write(folder / f"s{i}.wav", RNG.normal(size=length) * 0.1, 16000)
    return folder


def test_small_pictures_and_short_clips_are_counted_not_fatal(models, tmp_path):
    ran = run("eval", models["convnet"], pictures(tmp_path / "p", (7, 5), (10, 40), (32, 32), (40, 50)), "--json")
    assert ran.code == 0 and not ran.err
    found = json.loads(ran.out)
    assert found["items"] == found["metrics"]["PSNR dB"]["items"] == 4
    assert found["metrics"]["SSIM"]["items"] == 2
    assert ("SSIM", "too small", 2) in [(o["metric"], o["why"], o["items"]) for o in found["left_out"]]
    assert "note: 2 of 4 items too small for SSIM" in run("eval", models["convnet"], tmp_path / "p").out

    ran = run("eval", models["spectral"], sounds(tmp_path / "s", 1, 100, 512, 600, 20000), "--json")
    assert ran.code == 0 and not ran.err
    found = json.loads(ran.out)
    assert found["items"] == 5 and not found["failed"]
    assert found["metrics"]["mel distance"]["items"] == 2, "its window is centred on the first sample"
    assert ("mel distance", "too short", 3) in [(o["metric"], o["why"], o["items"]) for o in found["left_out"]]


def test_silence_is_measured_as_far_as_it_can_be(models, tmp_path):
    (tmp_path / "s").mkdir()
    soundfile.write(tmp_path / "s/silence.wav", np.zeros(20000), 16000)
    ran = run("eval", models["spectral"], tmp_path / "s", "--json")
    assert ran.code == 0
    assert json.loads(ran.out)["metrics"]["mel distance"]["mean"] >= 0
    assert "NaN" not in ran.out


def test_a_file_that_fails_is_listed_and_the_others_are_measured(models, tmp_path):
    pictures(tmp_path, (32, 32), (40, 50))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    ran = run("eval", models["convnet"], tmp_path, "--json")
    assert ran.code == 1
    found = json.loads(ran.out)
    assert found["items"] == 2 and list(found["failed"]) == [str(tmp_path / "broken.png")]
    ran = run("eval", models["convnet"], tmp_path)
    assert ran.code == 1 and f"failed: {tmp_path / 'broken.png'}: " in ran.out
    assert "Traceback" not in ran.err
    done = subprocess.run(
        [sys.executable, "-m", "tokenzoo", "eval", models["convnet"], tmp_path, "--debug"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stderr.count("Traceback") >= 1 and "MediaError" in done.stderr


def test_several_places_and_the_wrong_kind(models, tmp_path):
    pictures(tmp_path / "a", (32, 32))
    pictures(tmp_path / "b", (32, 32))
    sounds(tmp_path / "a", 9000)
    assert json.loads(run("eval", models["convnet"], tmp_path / "a", tmp_path / "b", "--json").out)["items"] == 2
    ran = run("eval", models["convnet"], tmp_path / "a/p0.png", tmp_path / "a/s0.wav", "--json")
    assert ran.code == 1 and "takes pictures, this is sound" in json.loads(ran.out)["failed"][str(tmp_path / "a/s0.wav")]
    assert json.loads(run("eval", models["convnet"], tmp_path / "a", tmp_path / "b", "--limit", 1, "--json").out)["items"] == 1


def test_every_figure_has_a_direction_and_json_has_the_same_with_units(models, tmp_path):
    for label, folder in (("spectral", sounds(tmp_path / "s", 20000)), ("convnet", pictures(tmp_path / "p", (64, 64)))):
        text, found = run("eval", models[label], folder).out, json.loads(run("eval", models[label], folder, "--json").out)
        figures = found["metrics"] | found["rate"]
        for name, figure in figures.items():
            assert figure["better"] in ("higher", "lower") and figure["unit"], name
            (line,) = [row for row in text.splitlines() if row.startswith(f"{name}  ")]
            arrow = {"higher": "↑ higher", "lower": "↓ lower"}[figure["better"]]
            assert arrow in line and f"{figure.get('mean', figure.get('value')):.4g}" in line
    assert text.splitlines()[0] == f"{models['convnet']}: 1 item of {tmp_path / 'p'}", "the title is one line, however long"


def test_usage_of_few_tokens_says_so(models, tmp_path):
    ran = run("eval", models["convnet"], pictures(tmp_path / "few", (8, 8)))
    assert "(needs more tokens)" in ran.out and "10 x V" in ran.out
    found = json.loads(run("eval", models["convnet"], tmp_path / "few", "--json").out)
    assert not any(book["enough_tokens"] for book in found["codebooks"])
    ran = run("eval", models["convnet"], pictures(tmp_path / "many", (96, 96)))
    assert "needs more tokens" not in ran.out


def test_codebooks_and_options_reach_the_model(models, tmp_path):
    sounds(tmp_path, 9000)
    found = json.loads(run("eval", models["spectral"], tmp_path, "--codebooks", 2, "--json").out)
    assert len(found["codebooks"]) == 2
    assert found["rate"]["kbit/s"]["value"] == pytest.approx(2 * 4 * 800 / 1000, rel=0.01)
    ran = run("eval", models["spectral"], tmp_path, "-O", "nonsense=1")
    assert ran.code == 1 and "no option 'nonsense'" in ran.err


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch, models, tmp_path):
    import sys

    monkeypatch.setitem(sys.modules, "pesq", None)
    ran = run("eval", models["spectral"], sounds(tmp_path, 9000))
    assert ran.code == 0
    assert "no PESQ-WB: the package pesq is not installed; pip install 'tokenzoo[eval]'" in ran.out


def test_features_are_not_measured(models, tmp_path):
    ran = run("eval", models["levo"], sounds(tmp_path, 9000) / "s0.wav")
    assert ran.code == 1 and "only sound and pictures are measured" in ran.err
