"""tokenize, corpus, data. Run: pytest tests/cli/test_corpora.py"""

import json

import numpy as np
import pytest
from cli_runs import run, saved
from PIL import Image
from tokenzoo.zoo import training_data
from tokenzoo.zoo.corpus import generated


@pytest.fixture
def corpus(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for i in range(3):
        Image.fromarray(rng.integers(0, 255, (30, 20 + i, 3), dtype=np.uint8)).save(tmp_path / f"in/p{i}.png")
    model = saved("convnet", tmp_path / "model")
    ran = run("tokenize", model, tmp_path / "in", "-o", tmp_path / "out", "--workers", 0)
    assert ran.code == 0 and "3 items" in ran.out and "in 1 shard\n" in ran.out
    return tmp_path


def test_stats_and_verify_for_people_and_for_programs(corpus):
    text, found = run("corpus", "stats", corpus / "out").out, json.loads(run("corpus", "stats", corpus / "out", "--json").out)
    assert "3 codebooks x" in text and found["items"] == 3 and found["modality"] == "image"
    assert json.loads(run("corpus", "verify", corpus / "out", "--json").out)["whole"] is True
    (shard,) = (corpus / "out").glob("*.parquet")
    shard.write_bytes(shard.read_bytes()[:-1])
    ran = run("corpus", "verify", corpus / "out", "--json")
    found = json.loads(ran.out)
    assert ran.code == 1 and found["whole"] is False and shard.name in found["problems"][0] and not ran.err
    ran = run("corpus", "verify", corpus / "out")
    assert (ran.code, ran.out) == (1, "") and shard.name in ran.err


def test_options_of_the_model_are_part_of_the_job(corpus):
    model = str(corpus / "model")
    ran = run("tokenize", model, corpus / "in", "-o", corpus / "out", "--workers", 0, "--codebooks", 1)
    assert ran.code == 1 and "codebooks" in ran.err, "another request than the folder's"
    ran = run("tokenize", model, corpus / "in", "-o", corpus / "other", "--workers", 0, "-O", "sise=crop")
    assert ran.code == 1 and "no option 'sise'. Did you mean 'resize'" in ran.err
    titok = saved("titok", corpus / "titok")
    ran = run("tokenize", titok, corpus / "in", "-o", corpus / "titok-out", "--workers", 0, "-O", "resize=squash")
    assert ran.code == 0 and "3 items" in ran.out


def test_generated_ids_are_written_with_the_flags_of_the_command(monkeypatch, tmp_path):
    asked = {}

    def generate(lm, tokens, out, **options):
        asked.update(options, lm=lm, tokens=tokens, out=out)
        return generated.Generated(items=7, changed=0.25)

    monkeypatch.setattr(generated, "generate", generate)
    flags = ["--keep", 0.5, "--temperature", 2, "--top-k", 9, "--seed", 3, "--batch", 4, "--limit", 7, "--device", "cpu"]
    ran = run("corpus", "generate", tmp_path / "lm", tmp_path / "tokens", "-o", tmp_path / "ids", *flags)
    assert ran.code == 0 and "ids of 7 items, of which 25.0% are not the true ones" in ran.out
    config = generated.GeneratedConfig(keep=0.5, temperature=2.0, top_k=9, seed=3, batch=4)
    assert str(asked.pop("device")) == "cpu"
    assert asked == {"lm": tmp_path / "lm", "tokens": tmp_path / "tokens", "out": tmp_path / "ids", "config": config, "limit": 7}
    ran = run("corpus", "generate", tmp_path / "lm", tmp_path / "tokens", "-o", tmp_path / "ids", "--keep", 2)
    assert ran.code == 1 and "keep is 2.0" in ran.err


def test_training_data_are_built_with_the_flags_of_the_command(monkeypatch, tmp_path):
    asked = {}

    def build(name, out, **options):
        asked.update(options, name=name, out=out)
        return tmp_path

    monkeypatch.setattr(training_data, "build", build)
    monkeypatch.setattr(training_data, "report", lambda folder: f"{folder}: made")
    ran = run("data", "build", "photos", "-o", tmp_path / "d", "--cache", tmp_path / "c", "--offline", "--any-version", "--workers", 3)
    assert ran.code == 0 and ran.out == f"{tmp_path}: made\n"
    assert asked == {
        "name": "photos", "out": tmp_path / "d", "cache": tmp_path / "c",
        "workers": 3, "offline": True, "strict": False, "progress": True,
    }  # fmt: skip


def test_training_data_that_cannot_be_had(tmp_path):
    ran = run("data", "build", "films")
    assert ran.code == 1 and "photos, pages, speech, music" in ran.err
    ran = run("data", "build", "photos", "--offline", "--cache", tmp_path, "-o", tmp_path)
    assert ran.code == 1 and ran.err.startswith("error: ") and "not in the cache" in ran.err and ran.err.count("\n") == 1
