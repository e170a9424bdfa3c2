"""`benchmarks/training.py` in its tiny form, with the peers that are installed.

Run: pytest tests/train/test_training_benchmark.py
"""

import json
import sys
from pathlib import Path

import pytest

# For these imports alone: processes that later tests start get `sys.path`, where `benchmarks/audio.py` would hide `tests/audio`.
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    import training
    import training_images as training_images  # which `training` imports when it needs them
    import training_sound as training_sound


@pytest.mark.parametrize("name", ["plain-vq", "plain-residual-vq"])
def test_losses_of_the_first_step_are_those_of_the_peer(name):
    found = training.compare(training.CASES[name], {}, pairs=1, tiny=True)
    assert found["losses"].keys() == {"loss/pixel", "loss/quantizer", "loss/total"}
    assert all(theirs > 0.1 for theirs, _ in found["losses"].values())
    assert found["largest_difference"] < 1e-5
    assert training.row(name, found | {"theirs_mb": 1.0, "ours_mb": 1.0})[2:] != []


@pytest.mark.skipif(training.CASES["dac-44khz"].where({}) is None, reason="descript-audio-codec is not installed (see pyproject.toml)")
def test_dac_both_players():
    found = training.compare(training.CASES["dac-44khz"], {}, pairs=1, tiny=True)
    assert {"loss/mel", "loss/adversarial", "loss/feature_matching", "discriminator/adversarial"} < found["losses"].keys()
    assert all(abs(ours - theirs) < 1e-5 * abs(theirs) for name, (theirs, ours) in found["losses"].items() if "norm" not in name)


def test_a_missing_peer_is_a_row(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["training.py", "--tiny", "--only", "llamagen-vq16"])
    training.main()
    out, err = capsys.readouterr()
    assert json.loads(err.splitlines()[-1]) == {"case": "llamagen-vq16", "problem": "not installed"}
    assert "not installed" in out
