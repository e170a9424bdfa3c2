"""The scripts of docs/examples, each with a few steps. Run: pytest -m "slow or not slow" tests/docs/test_examples.py"""

import importlib.util
import math

import pytest
import soundfile
import torch
from page_blocks import ROOT
from PIL import Image
from small_runs import write_photo

FOLDER = ROOT / "docs/examples"
if not FOLDER.is_dir():
    pytest.skip("not a checkout", allow_module_level=True)


@pytest.fixture
def script(request, tmp_path, monkeypatch):
    """The module of a script, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location(request.param, FOLDER / f"{request.param}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_script_has_a_test_and_a_row():
    names = {p.name for p in FOLDER.glob("*.py")}
    page, own = (ROOT / "docs/examples.md").read_text(), (ROOT / "tests/docs/test_examples.py").read_text()
    assert len(names) == 5
    assert all(f"(examples/{name})" in page and f'"{name.removesuffix(".py")}"' in own for name in names)


@pytest.mark.parametrize("script", ["hear_and_see_tokens"], indirect=True)
def test_hear_and_see(script, tmp_path, capsys):
    photo = tmp_path / "small.png"
    Image.open(script.MEDIA / "chelsea.png").crop((100, 60, 212, 156)).save(photo)
    script.main(["--photo", str(photo), "-o", "out"])
    said = [line for line in capsys.readouterr().out.splitlines() if "PSNR" in line]
    quality = [float(line.split("PSNR ")[1].split()[0]) for line in said]
    assert quality == sorted(quality) and quality[-1] - quality[0] > 3, "every codebook adds"
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"from_1.png", "from_7.png", "from_8.wav", "ids.png", "changed.png"}
    assert Image.open(tmp_path / "out/from_7.png").size == Image.open(photo).size


@pytest.mark.parametrize("script", ["compare_quantizers"], indirect=True)
def test_compare(script, capsys):
    found = script.main(["--steps", "3"])
    assert set(found) == set(script.QUANTIZERS) and len(set(found.values())) == 4
    assert all(math.isfinite(v) for v in found.values()) and len(capsys.readouterr().out.splitlines()) == 5


@pytest.mark.slow
@pytest.mark.parametrize("script", ["next_scale_model"], indirect=True)
def test_next_scale(script, tmp_path):
    before, after = script.main(["--steps", "25", "-o", "out"])
    assert after < before - 0.3
    assert Image.open(tmp_path / "out/drawn.png").size == (8 * 64, 64)


@pytest.mark.parametrize("script", ["next_scale_model"], indirect=True)
def test_a_scale_knows_nothing_of_finer_ones(script):
    model, ids = script.NextScale().eval(), torch.randint(0, script.CODES, (1, 85), generator=torch.Generator().manual_seed(0))
    other = ids.clone()
    other[:, 5:] = (other[:, 5:] + 1) % script.CODES
    with torch.no_grad():
        a, b = model(ids), model(other)
    assert torch.allclose(a[:, :21], b[:, :21], atol=1e-6) and not torch.allclose(a[:, 21:], b[:, 21:], atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("script", ["speech_language_model"], indirect=True)
def test_speech(script, tmp_path):
    before, after = script.main(["--steps", "12", "--positions", "10", "-o", "out"])
    assert after < before - 0.5
    assert soundfile.info(tmp_path / "out/drawn.wav").frames == 10 * 320


@pytest.mark.parametrize("script", ["fine_tune_on_your_folder"], indirect=True)
def test_fine_tune(script, tmp_path):
    write_photo(tmp_path / "photos")
    short = ["data.crop=32", "batch_size=2", "every.preview=0", "every.validate=0", "optimizer.schedule.warmup_steps=0"]
    before, after = script.main([str(tmp_path / "photos"), "--steps", "2", "--set", *short])
    assert before != after and abs(after - before) < before
    with pytest.raises(SystemExit, match="at least 2"):
        (tmp_path / "empty").mkdir()
        script.main([str(tmp_path / "empty")])
