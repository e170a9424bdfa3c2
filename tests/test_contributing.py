"""The example of CONTRIBUTING.md, followed to the letter in a copy of the repository: its files, its commands, its tokenizer.

    pytest -m "slow or not slow" tests/test_contributing.py
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import write_photo

ROOT = Path(__file__).resolve().parents[1]
#: What of the repository's folder is not copied: what is no part of it, and what is large.
LEFT_OUT = (".*", "venv", "*.egg-info", "runs", "data", "build", "dist", "demo_out", "benchmarks")
LARGE = ("__pycache__", "checkpoints")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

#: What a user does with the finished tokenizer: the run folder's model, the card by name, equal ids from the authors' layout.
USE = """
import json, sys, tokenzoo, torch
from pathlib import Path
trained = tokenzoo.load(f"file:{sys.argv[1]}/model")
picture = torch.randint(0, 256, (1, 3, 40, 56), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
tokens = trained.encode(picture)
assert tokens.ids.shape == (1, 16, 35) and len(tokens.ids.unique()) == 3
trained.save_pretrained(sys.argv[2], layout="linear-patches")
config = json.loads((Path(sys.argv[2]) / "config.json").read_text())
assert (config["patch"], config["width"]) == (8, 16) and "quantizer" not in config
again = tokenzoo.load("linear-patches-8", folder=sys.argv[2])
assert again.family == "patches" and torch.equal(again.encode(picture).ids, tokens.ids)
assert torch.equal(again.decode(tokens), trained.decode(tokens))
"""


def blocks() -> list[tuple[str, str]]:
    """(language, text) of every block of code."""
    return BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text())


def follow(tree: Path, text: str) -> None:
    """Write the file that a block names in its first line, or add its lines to the table that it names."""
    first, _, rest = text.partition("\n")
    if match := re.fullmatch(r"# to (\w+) in (\S+)", first):
        table, path = match[1], tree / match[2]
        old = path.read_text()
        new = re.sub(rf"(?ms)^({table}\b[^\n]*[\[{{(]\n.*?)^([\]}}])", lambda m: f"{m[1]}    {rest}{m[2]}", old, count=1)
        assert new != old, f"{match[2]} has no table {table}"
        path.write_text(new)
        return
    path = tree / first.removeprefix("# ")
    assert not path.exists(), f"{path} exists; the example must be new"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(rest if path.suffix != ".yaml" else rest.removeprefix("\n"))


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A copy of the repository with the example in it."""
    copy = tmp_path_factory.mktemp("site") / "tokenzoo"
    top = shutil.ignore_patterns(*LEFT_OUT, *LARGE)
    shutil.copytree(ROOT, copy, ignore=lambda at, names: (top if Path(at) == ROOT else shutil.ignore_patterns(*LARGE))(at, names))
    for language, text in blocks():
        if language != "sh":
            follow(copy, text)
    return copy


def test_the_example_names_its_files():
    """Each of the five parts is there, in the folders they belong to."""
    named = [text.split("\n")[0] for language, text in blocks() if language != "sh"]
    for start in ("codecs/quantizers/", "codecs/image/", "train/losses/", "zoo/cards/", "tests/published/", "configs/image/"):
        assert any(start in line for line in named), start
    assert sum(line.startswith("# to ") for line in named) == 6
    assert sum(line.endswith("layouts.py") for line in named) == 1


@pytest.mark.slow
def test_the_example_works(tree, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(tree.parent)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def run(*command: str) -> None:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"

    pictures = write_photo(tmp_path / "pictures")
    (script,) = [text for language, text in blocks() if language == "sh"]
    for line in script.replace("\\\n", " ").splitlines():
        words = [str(pictures).join(word.split("PICTURES")) for word in shlex.split(line)]
        words[0] = sys.executable
        run(*words, *(["-p", "no:cacheprovider"] if "pytest" in words else []))
    rows = [json.loads(line) for line in (tree / "runs/patches-debug/metrics.jsonl").read_text().splitlines()]
    for loss in ("pixel", "gradient"):
        values = [row[f"loss/{loss}"] for row in rows if f"loss/{loss}" in row]
        assert values[-1] < 0.7 * values[0], (loss, values)
    run(sys.executable, "-c", USE, "runs/patches-debug", str(tmp_path / "authors"))
