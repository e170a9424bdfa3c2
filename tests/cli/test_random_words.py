"""Random words after `tokenzoo`: no traceback, and an exit code with a meaning. Run: pytest tests/cli/test_random_words.py"""

import random

import numpy as np
import pytest
import soundfile
from cli_runs import run, saved
from PIL import Image
from tokenzoo.zoo import hub

VERBS = ("list", "info", "encode", "decode", "reconstruct", "eval", "tokenize", "quantize", "push", "train", "corpus", "data", "lm")
FLAGS = (
    *("--json", "--version", "-h", "--streamable", "--offline", "--private", "-V", "--", "-", "--colour", "--debug=1", "-O", "--out"),
    *("--device", "--codebooks", "--positions", "--limit", "--rate", "--licence", "--format", "--shard-mb", "--workers", "--folder"),
)
VALUES = (
    *("", "0", "1", "-1", "2", "nan", "1e9", "auto", "cpu", "gpu", "cuda:9", "float16", "x=y", "=", "num_codebooks=1", "resize=crop"),
    *("<1kbps", "24khz", "mit", "*", "[", "**", "~nobody/x", "\x00", "\udcff", "ü" * 300, "org/repo", "a/b/c", "hub:", "file:", "nope"),
    *("photo", "image/nope", "verify", "stats", "build", "parquet", "{1..3}", "https://x", "-O=1", "${HOME}", "steps=[1", "flat"),
)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Tokenizers, media, broken files and folders by name."""
    folder = tmp_path_factory.mktemp("words")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(folder / "p.png")
    soundfile.write(folder / "s.wav", rng.normal(size=4000) * 0.1, 16000)
    (folder / "broken.tok").write_bytes(b"no tokens")
    (folder / "broken.yaml").write_text("a: [")
    (folder / "list.txt").write_text("p.png\nnope.png\n")
    (folder / "empty").mkdir()
    models = [saved(label, folder / label) for label in ("convnet", "spectral")]
    files = [str(folder / name) for name in ("p.png", "s.wav", "broken.tok", "broken.yaml", "list.txt", "empty", "*.png", "gone.png")]
    return models, files


@pytest.mark.parametrize("seed", range(10))
def test_no_traceback_and_an_exit_code(words, tmp_path, monkeypatch, seed):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub._Remote, "file", _unreachable)
    models, files = words
    dice = random.Random(seed)
    for _ in range(24):
        verb = dice.choice(VERBS)
        line = [verb] if dice.random() < 0.95 else []
        if dice.random() < 0.7 and verb not in ("list", "train", "corpus", "data", "lm"):
            line.append(dice.choice(models))
        for _ in range(dice.randint(0, 4)):
            line.append(dice.choice(dice.choice((FLAGS, VALUES, files, files))))
        if verb == "tokenize":
            line += ["--workers", "0"]
        ran = run(*line)
        assert ran.code in (0, 1, 2), line
        assert "Traceback" not in ran.out + ran.err, line
        assert ran.code == 0 or ran.out or ran.err, line


def _unreachable(remote, name):
    raise hub.HubError(f"{name} of {remote.label} cannot be had in tests.")
