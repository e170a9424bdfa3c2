"""Metrics of speech by networks of optional packages, with packages made here. Run: pytest tests/zoo/test_speech_models.py"""

import importlib
import sys

import numpy as np
import pytest
import soundfile
import tokenzoo
import torch
from families import TINY
from tokenzoo.codecs.config import ConfigError
from tokenzoo.train.figures.base import Unfit
from tokenzoo.zoo.evaluate import evaluate
from tokenzoo.zoo.evaluate.speech_models import EXTRA, WHISPER, SpeakerNet, judges, word_errors, words

DISTILLMOS = """
import torch
class ConvTransformerSQAModel(torch.nn.Module):
    def forward(self, x):
        return 3 + x.abs().mean(-1, keepdim=True)
"""
WHISPER_CODE = """
from types import SimpleNamespace
class WhisperModel:
    def __init__(self, folder, **options):
        assert options["local_files_only"]
    def transcribe(self, x, **options):
        said = "Good morning, dear reader." if x.mean() > .5 else "Good evening dear" if x.mean() > -.5 else ""
        return iter([SimpleNamespace(text=part) for part in said.split(",")]), None
"""


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Makes packages that can be imported in this test."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name: str, code: str = "raise ImportError('its code is not needed')"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code)
        monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        return tmp_path / name

    yield make
    for name in ("distillmos", "faster_whisper", "resemblyzer"):
        sys.modules.pop(name, None)


@pytest.fixture
def no_packages(monkeypatch):
    real = importlib.util.find_spec
    ours = ("distillmos", "faster_whisper", "resemblyzer")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in ours else real(name, *a))


def test_missing_packages_are_notes(no_packages, tmp_path):
    soundfile.write(tmp_path / "s.wav", np.random.default_rng(0).normal(size=9000) * 0.1, 16000)
    report = evaluate(tokenzoo.build_tokenizer(*TINY["spectral"]).eval(), tmp_path, extra=tuple(EXTRA))
    assert report.items == 1 and not report.failed and not {shown for shown, _ in EXTRA.values()} & set(report.metrics)
    for name, package in (("DistillMOS", "distillmos"), ("speaker similarity", "resemblyzer"), ("dWER", "faster-whisper")):
        (note,) = [n for n in report.notes if n.startswith(f"no {name}")]
        assert f"the package {package} is not installed; pip install" in note


def test_unknown_names_and_pictures():
    with pytest.raises(ConfigError, match="'speakers'.*speaker"):
        judges(["speakers"])
    with pytest.raises(ConfigError, match="are of speech"):
        evaluate(tokenzoo.build_tokenizer(*TINY["convnet"]), tokenzoo.__path__[0] + "/zoo/demo/media", extra=("speaker",))


def test_predicted_mos_is_that_of_the_reconstruction(packages):
    packages("distillmos", DISTILLMOS)
    found, notes = judges(["distillmos"])
    assert found["DistillMOS"](torch.zeros(99), torch.full((99,), 0.5)) == pytest.approx(3.5) and not notes


def test_speakers(packages):
    torch.manual_seed(0)
    net, folder = SpeakerNet(), packages("resemblyzer")
    state = {n: v for n, v in net.state_dict().items() if not n.startswith("mel.")}
    torch.save({"model_state": state | {"similarity_bias": torch.ones(1)}, "step": 1}, folder / "pretrained.pt")
    found, notes = judges(["speaker", "speaker"])
    judge = found["speaker similarity (Resemblyzer)"]
    x = torch.randn(40000) * 0.1
    assert not notes and judge(x, x) == pytest.approx(1, abs=1e-5) and judge(x[:300], x[:300]) == pytest.approx(1, abs=1e-5)
    assert judge(x, x.cumsum(0) * 0.01) < 0.99999
    assert net(x / 1000) == pytest.approx(net(x / 5000), abs=1e-5), "quiet clips are amplified to one level"
    with pytest.raises(Unfit, match="silent"):
        judge(x, torch.zeros(400))


def test_words(packages, tmp_path, monkeypatch):
    packages("faster_whisper", WHISPER_CODE)
    (note,) = judges(["dwer"])[1]
    assert WHISPER in note
    (tmp_path / "model.bin").touch()
    monkeypatch.setenv(WHISPER, str(tmp_path))
    judge = judges(["dwer"])[0]["dWER (Whisper)"]
    loud, middle, low = torch.ones(9), torch.zeros(9), -torch.ones(9)
    assert judge(loud, loud) == 0 and judge(loud, middle) == 2 / 4 and judge(loud, low) == 1
    with pytest.raises(Unfit, match="without words"):
        judge(low, loud)


def test_word_errors():
    assert words("It's 5 o'clock -- isn't it?") == ["it's", "5", "o'clock", "isn't", "it"]
    for a, b, errors in (("abc", "abc", 0), ("abc", "", 3), ("", "ab", 2), ("abcd", "bcd", 1), ("kitten", "sitting", 3)):
        assert word_errors(list(a), list(b)) == errors == word_errors(list(b), list(a))
