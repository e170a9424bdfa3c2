"""What docs/fine-tuning.md shows, in a folder with a user's pictures: each command, shortened.

    pytest tests/train/test_fine_tuning.py
"""

import re
import shlex
from pathlib import Path

import pytest
import tokenzoo
import torch
from cli_runs import run
from contract_cases import build
from safetensors.torch import load_file
from small_runs import write_photo
from train_media import write_sounds

PAGE = (Path(tokenzoo.__file__).parent / "docs/fine-tuning.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.S) for line in block.splitlines()]
SHORT = ("data.crop=32", "batch_size=2", "steps=2", "every.log=1", "every.validate=1", "every.validate_items=2", "every.preview=2",
         "every.preview_items=1", "every.checkpoint=2", "tensorboard=false", "threads=1")  # fmt: skip


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_photo(tmp_path / "photos")
    write_photo(tmp_path / "held_out")
    (tmp_path / "judged.yaml").write_text(re.search(r"```yaml\n(.*?)```", PAGE, re.S)[1])
    return tmp_path


def do(line: str):
    words = shlex.split(line, comments=True)
    assert words[0] == "tokenzoo"
    ran = run(*words[1:], *(SHORT if words[1] == "train" else ()))
    assert ran.code == 0, ran.err
    return ran


def weights(name: str) -> dict[str, torch.Tensor]:
    return tokenzoo.load(name).state_dict()


def moved(name: str) -> set[str]:
    """Parts whose weights are not those of the published tokenizer."""
    before = weights("photo-f16-rvq7")
    return {n.split(".")[0] for n, w in weights(name).items() if not torch.equal(w, before[n])}


def test_the_page_is_run_as_it_stands(place):
    dry, train, look, decoder, judge, judged = COMMANDS
    do(dry)
    assert not (place / "runs").exists()
    do(train)
    do(look)
    assert (place / "runs/mine/curves.png").is_file() and any((place / "look").rglob("*.png"))
    assert moved("file:runs/mine") == {"encoder", "quantizer", "decoder"}
    do(decoder)
    assert moved("file:runs/decoder") == {"decoder"}
    picture = next((place / "photos").glob("*.png"))
    ids = [tokenzoo.load(n).encode([picture]).ids for n in ("file:runs/decoder", "photo-f16-rvq7")]
    assert torch.equal(*ids), "the ids are as they were"
    do(judge)
    assert not moved("file:runs/judge"), "only the discriminators have learnt"
    ran = do(judged)
    assert moved("file:runs/judged") and "adversarial" in ran.err
    exec(re.search(r"```python\n(.*?)```", PAGE, re.S)[1], {})
    assert weights("file:mine").keys() == weights("photo-f16-rvq7").keys()


def test_discriminators_come_along(place):
    from tokenzoo.train.pretrained import open_pretrained

    do(COMMANDS[4])
    first = open_pretrained("runs/judge/checkpoint-00000002").discriminators
    for name in ("runs/judge", "file:runs/judge"):
        found = open_pretrained(name).discriminators
        assert found is not None and all(torch.equal(v, found[k]) for k, v in first.items()), "of the newest checkpoint"


def test_other_discriminators_than_those_of_the_run_say_what_to_do(place):
    do(COMMANDS[4])
    other = ["train", "judged.yaml", "data.train=photos", "discriminators.patch.layers=2", "output=runs/other", *SHORT]
    ran = run(*other, "--from", "runs/judge")
    assert ran.code == 1 and "name the tokenizer alone: the folder `model`" in ran.err
    ran = run(*other, "--from", "runs/judge/model")
    assert ran.code == 0, ran.err


def test_a_layout_of_the_authors_goes_out_as_it_came_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_sounds(tmp_path / "clips", 2, seconds=1.0, rate=16000)
    published = build("dac")
    tokenizer = tokenzoo.save_pretrained(published, tmp_path / "published", layout="dac-hf")
    assert tokenizer
    short = [s for s in SHORT if not s.startswith("data.crop=")]
    ran = run("train", "--from", "file:published", "data.train=clips", "output=mine", *short)
    assert ran.code == 0, ran.err
    mine = tokenzoo.load("file:mine")
    mine.save_pretrained("back", layout="dac-hf")
    names = [set(load_file(tmp_path / f / "model.safetensors")) for f in ("published", "back")]
    assert names[0] == names[1]
    again = tokenzoo.load("file:back")
    wave = torch.randn(1, 1, 640) * 0.1
    assert torch.equal(again.encode(wave).ids, mine.encode(wave).ids)
    old, new = published.state_dict(), mine.state_dict()
    assert any(n.startswith("decoder.") and not torch.equal(w, old[n]) for n, w in new.items())
