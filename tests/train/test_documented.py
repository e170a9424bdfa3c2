"""What `train/README.md` and `train/__init__.py` show runs as it stands.

    pytest tests/train/test_documented.py
"""

import re
import shlex
import tarfile
import textwrap
from pathlib import Path

import pytest
import tokenzoo
import tokenzoo.train
import torch
from cli_runs import run
from tokenzoo.train import train_step
from tokenzoo.train.__main__ import main
from tokenzoo.train.files import load_run
from tokenzoo.train.loop import train
from train_media import write_pictures, write_sounds


def readme():
    return (Path(tokenzoo.train.__file__).parent / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder of a user's own with the media that the examples name."""
    monkeypatch.chdir(tmp_path)
    for part in ("train", "valid"):
        write_sounds(tmp_path / "speech" / part, 3, seconds=2.0, rate=16000)
    for number in range(2):
        with tarfile.open(tmp_path / f"shards-{number:03d}.tar", "w") as tar:
            tar.add(tmp_path / "speech" / "train" / "000.wav", f"{number}.wav")
    write_pictures(tmp_path / "photos", 3, size=(160, 160))
    return tmp_path


SMALL = ("steps=2", "batch_size=2", "device=cpu", "threads=1", "every.preview_items=1", "every.validate_items=2", "tensorboard=false")


def test_the_run_file_trains(place):
    text = re.search(r"```yaml\n(.*?)```", readme(), re.S)[1]
    (place / "my.yaml").write_text(text)
    run = load_run("my.yaml")
    assert (run.steps, run.adversarial_start, run.losses.keys()) == (
        100000, 20000, {"mel", "adversarial", "feature_matching", "quantizer"},
    )  # fmt: skip
    judges = ["adversarial_start=1", "discriminators.periods.channels=[4,8]", "discriminators.periods.periods=[2]"]
    result = train(load_run("my.yaml", [*SMALL, *judges, "model.config.width=16"]))
    assert result.step == 2 and not result.broken
    assert (place / "runs/mine/model/model.safetensors").is_file()
    assert (place / "runs/mine/previews/00000002/spectrograms.png").is_file()
    assert tokenzoo.load("file:runs/mine").spec.hop_samples == 320


def commands():
    block = re.match(r"# Training\n\n((?: {4}.*\n)+)", readme())[1]
    return [shlex.split(line, comments=True) for line in block.splitlines()]


def test_the_commands_run(place, capsys):
    (place / "my.yaml").write_text("base: image/_base.yaml\ndata: {train: photos, crop: 64}\noutput: runs/tuned\n")
    done = []
    for program, *words in commands():
        if program == "tokenzoo" and words == ["train"]:
            assert main([]) == 2
            assert "audio/encodec-24khz " in capsys.readouterr().out
        elif program == "tokenzoo":
            assert words[0] == "train"
            ran = run(*words, *SMALL)
            assert ran.code == 0, ran.err
            done.append(ran.out.strip())
        else:
            assert program == "accelerate" and words[-2:] == ["tokenzoo.train", "my.yaml"]
    assert done[:3] == ["runs/try/model", "runs/tuned/model", "runs/mine/model"] and "on noise" in done[3] and len(done) == 4
    assert tokenzoo.load("file:runs/tuned").config == tokenzoo.load("photo-f16-rvq7").config


def test_a_run_of_your_own(place):
    """Written out, changed, trained, prolonged and looked at, as the README has it."""
    block = re.search(r"```bash\n(tokenzoo configs image/convnet-debug .*?)```", readme(), re.S)[1]
    write, *trained, look = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert run(*write[1:]).code == 0
    text = Path("mine.yaml").read_text()
    assert "latent_dim: 16" in text
    Path("mine.yaml").write_text(text.replace("latent_dim: 16", "latent_dim: 8"))
    for words, steps in zip(trained, (2, 3), strict=True):
        ran = run(*words[1:], *SMALL, f"steps={steps}")
        assert ran.code == 0, ran.err
    assert "going on from runs/mine/checkpoint-00000002" in ran.err and tokenzoo.load("file:runs/mine").config.latent_dim == 8
    refused = run(*trained[0][1:], *SMALL, "steps=4", "optimizer.lr=0.1")
    assert refused.code == 2 and "(its value -> yours)" in refused.err and "optimizer.lr: 0.002 -> 0.1" in refused.err
    assert run(*look[1:]).code == 0 and len(list(Path("look").rglob("*.png"))) == 3


def test_the_bundled_recipe_on_a_published_model(place, capsys):
    """`model=from_init`, as the README has it of EnCodec; here of a shipped tokenizer."""
    assert "tokenzoo train audio/encodec-24khz init=encodec-24khz model=from_init" in readme()
    words = ["audio/speech-16khz-4kbps", "init=speech-16khz-4kbps", "model=from_init", "data.train=speech/train", "data.valid=[]"]
    code = main([*words, *SMALL])
    assert (code, capsys.readouterr().out.strip()) == (0, "runs/speech-16khz-4kbps/model")


def test_the_example_without_the_loop(place):
    text = tokenzoo.train.__doc__
    code = textwrap.dedent(re.search(r"the loop:\n\n(.*?)\n\nAn unknown key", text, re.S)[1])
    before = tokenzoo.load("speech-16khz-4kbps").state_dict()
    scope = {"batches": [0.1 * torch.randn(2, 1, 9600) for _ in range(2)]}
    exec(code, scope)
    state, mine = scope["state"], tokenzoo.load("file:mine").state_dict()
    assert state.step == 2
    assert all(torch.equal(value, mine[name]) for name, value in state.best().state_dict().items())
    assert any(not torch.equal(value, mine[name]) for name, value in before.items())
    assert "loss/mel" in scope["values"]
    train_step(state, scope["batches"][0])
    assert not (place / "runs").exists()
