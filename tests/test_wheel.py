"""The wheel holds what it needs and nothing else, and its demo runs outside the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import tokenzoo
from waiting import PATIENCE_SECONDS

ROOT = Path(tokenzoo.__file__).resolve().parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("not a checkout")
    out = tmp_path_factory.mktemp("wheel")
    source = out / "source"  # a clean copy: a build leaves folders behind
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in (Path(os.fsdecode(n)) for n in listed if n and not n.startswith((b"tests/", b"benchmarks/"))):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(out), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_SECONDS)
    return next(out.glob("*.whl"))


def test_contents(wheel):
    assert wheel.stat().st_size < 60_000_000
    names = zipfile.ZipFile(wheel).namelist()
    for need in (
        "tokenzoo/__init__.py",
        "tokenzoo/py.typed",
        "tokenzoo/codecs/quantizers/vq.py",
        "tokenzoo/configs/audio/_base.yaml",
        "tokenzoo/zoo/cards/tokenzoo.yaml",
        "tokenzoo/zoo/published/index.yaml",
        "tokenzoo/zoo/published/speech.yaml",
        "tokenzoo/zoo/bench/page/page.css",
        "tokenzoo/zoo/bench/page/page.js",
        "tokenzoo/zoo/demo/media/chelsea.png",
    ):
        assert need in names
    assert any(n.startswith("tokenzoo/zoo/checkpoints/") and n.endswith("model.safetensors") for n in names)
    assert not [n for n in names if n.startswith(("tests/", "tokenzoo/tests/", "tokenzoo/benchmarks/", "tokenzoo/docs/", "docs/"))]
    assert any(n.endswith("LICENSE") for n in names)


def test_demo_runs_from_the_wheel(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    env = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "HF_HUB_OFFLINE": "1"}
    code = (
        "import tokenzoo, sys; assert tokenzoo.__file__.startswith(sys.argv[1]), tokenzoo.__file__\n"
        "from tokenzoo.zoo.demo import run; run('out')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "site")],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert result.returncode == 0, result.stderr
    made = {p.name for p in (tmp_path / "out").iterdir()}
    shipped = [c for c in tokenzoo.list_models() if c.shipped]
    assert {c.modality for c in shipped} == {"audio", "image"}
    for card in shipped:
        assert {f"{card.name}.tok", f"{card.name}.{'wav' if card.modality == 'audio' else 'png'}"} <= made
        assert card.name in result.stdout
    assert "overview.png" in made
