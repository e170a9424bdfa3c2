"""A language model on shards: it learns a handful of clips by heart, and a whole run ends in sound or a picture.

    pytest tests/zoo/corpus/test_lm.py
"""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tokenzoo
import torch
import yaml
from corpus_cases import lively, make, pictures, saved, sounds
from PIL import Image
from tokenzoo.codecs.config import ConfigError, from_mapping
from tokenzoo.train.files import find, read_mapping
from tokenzoo.zoo import demo
from tokenzoo.zoo.corpus import lm
from tokenzoo.zoo.corpus.models.base import GeneratorConfig, load_generator
from tokenzoo.zoo.corpus.models.kinds import MODELS
from tokenzoo.zoo.corpus.sampling import SamplerConfig

pytest.importorskip("transformers")
GREEDY = SamplerConfig(temperature=0)
MEDIA = Path(demo.__file__).parent / "media"
MODEL = {"kind": "llama", "width": 64, "layers": 2, "heads": 2}
SMALL = {"model": MODEL, "tokens": "", "output": "", "train": "", "valid": ""}


def handful(name: str, folder) -> None:
    """Four clips of 0.4 s, or four tiles of 64 x 64 pixels, of the demo's media."""
    folder.mkdir()
    for i in range(4):
        if name.startswith("speech"):
            wave, rate = soundfile.read(MEDIA / "speech.flac", start=8000 + 6400 * i, frames=6400)
            soundfile.write(folder / f"{i}.flac", wave, rate)
        else:
            tile = Image.open(MEDIA / "chelsea.png").convert("RGB").crop((100 + 64 * i, 100, 164 + 64 * i, 164))
            tile.save(folder / f"{i}.png")


@pytest.mark.parametrize("name", ["speech-16khz-4kbps", "photo-f16-rvq7"])
def test_a_handful_of_clips_is_learnt_to_the_id(name, tmp_path):
    handful(name, tmp_path / "in")
    tokenizer = tokenzoo.load(name)
    make(tokenizer, tmp_path / "in", tmp_path / "out", codebooks=2)
    run = SMALL | {"tokenizer": name, "codebooks": 2, "steps": 250, "batch_size": 4, "lr": 5e-3, "block": 128}
    config = from_mapping(lm.LMConfig, run)
    data = lm.TokenDataset(tmp_path / "out", seed=0)
    model, loss = lm.train_model(data, config)
    assert loss < 0.1
    for i in range(4):
        want = data.tokens(i)
        got = model.sample(999, want.first(positions=2), config=GREEDY, seed=0).tokens
        assert torch.equal(got.ids, want.ids), "every id, and the end where it belongs"
        grid = want.grid
        back = tokenizer.decode(dataclasses.replace(got, grid=grid, scale=want.scale, sizes=want.sizes))
        whole = tokenizer.decode(dataclasses.replace(want, sample_rate_hz=None))
        assert torch.equal(back, whole)


RUNS = {
    "per_dimension": {"kind": "per_dimension", "order": "frequency", "head_width": 32},
    "masked": {"kind": "masked"},
    "bits": {"kind": "bits", "group_bits": 5},  # ids of 10 bits
    "2^64": {"kind": "bits", "group_bits": 1, "inputs": "tiled"},
    "2^64 grouped": {"kind": "bits", "group_bits": 8, "head_layers": 1},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_run_of_each_kind_learns_a_photograph(name, tmp_path):
    """Four tiles of the photograph, by heart: far fewer bits than their frequencies need; samples decode, and the model loads."""
    handful("photo", tmp_path / "in")
    wide = "64" in name
    if wide:
        tokenizer = lively("instella", {"quantizer": {"kind": "bernoulli", "bits": 64}})
        tokenzoo.save_pretrained(tokenizer, tmp_path / "tokenizer")
    run = SMALL | {
        "tokenizer": f"file:{tmp_path / 'tokenizer'}" if wide else "photo-f16-rvq7",
        "train": str(tmp_path / "in"),
        "valid": str(tmp_path / "in"),
        "tokens": str(tmp_path / "tokens"),
        "output": str(tmp_path / "out"),
        "model": {"width": 64, "layers": 2, "heads": 2} | RUNS[name],
        "window": [] if wide else [4, 4],
        "block": 0,
        "codebooks": 0 if wide else 2,
        "decode": {"size": "24,28"} if wide else {},
        "steps": 900 if name == "masked" else 300,
        "batch_size": 4,
        "lr": 5e-3,
        "samples": 2,
        "positions": 5 if wide else 16,
        "prompt": 2,
        "sampler": {"temperature": 0},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    report = lm.main(str(tmp_path / "run.yaml"), [])
    assert report == json.loads((tmp_path / "out/report.json").read_text())
    without = report.get("bitwise_bits", report["unigram_bits"])
    print(f"{name}: {report['bits']:.3f} bits an id ({report['bits_mean']}), without context {without:.3f}")
    assert report["bits"] < 0.3 * without
    assert all(min(Image.open(tmp_path / f"out/sample-{i}.png").size) >= 24 for i in range(2))
    model, data = load_generator(tmp_path / "out/model"), lm.open_tokens(tmp_path / "tokens/valid", from_mapping(lm.LMConfig, run))
    same = []
    for i in range(4):
        want = data.tokens(i).first(codebooks=run["codebooks"] or None)
        got = model.sample(run["positions"], want.first(positions=2), config=GREEDY, seed=0).tokens
        same.append(float((got.ids == want.ids).double().mean()))
    print(f"share of ids that two positions recall: {same}")
    assert min(same) == 1
    if name == "per_dimension":
        assert sorted(model.config.order) == [0, 1], "found in the data"


@pytest.mark.parametrize("label", ["spectral", "convnet"])
def test_a_whole_run(label, tmp_path):
    audio = label == "spectral"
    (sounds if audio else pictures)(tmp_path / "train", 8)
    (sounds if audio else pictures)(tmp_path / "valid", 4, seed=1)
    run = SMALL | {
        "tokenizer": saved(label, tmp_path / "model"),
        "train": str(tmp_path / "train"),
        "valid": str(tmp_path / "valid"),
        "tokens": str(tmp_path / "tokens"),
        "output": str(tmp_path / "out"),
        "window": [] if audio else [3, 4],
        "codebooks": 2,
        "block": 32,
        "steps": 4,
        "batch_size": 2,
        "valid_samples": 5,
        "samples": 2,
        "positions": 30 if audio else 12,
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    report = lm.main(str(tmp_path / "run.yaml"), ["steps=3", "model.width=16"])
    assert report == json.loads((tmp_path / "out/report.json").read_text())
    assert report["config"]["steps"] == 3 and len(report["bits_by_codebook"]) == 2
    assert 0 < report["unigram_bits"] <= 4 and np.isfinite(report["bits"])
    for i in range(2):
        if audio:
            wave, rate = soundfile.read(tmp_path / f"out/sample-{i}.wav")
            assert rate == 16000 and len(wave) % 20 == 0
        else:
            assert Image.open(tmp_path / f"out/sample-{i}.png").size == (16, 12)


@pytest.mark.parametrize(("label", "grids"), [("vidtok", {3: (1, 2, 3), 12: (2, 2, 3)}), ("convnet", {3: (2, 3), 12: (2, 3)})])
def test_a_sample_of_a_window_is_filled_to_whole_frames(label, grids, tmp_path):
    tokenizer = lively(label)
    c = from_mapping(lm.LMConfig, {"tokenizer": "x", "train": "x", "tokens": "x", "output": "x", "window": [2, 3]})
    for count, grid in grids.items():
        ids = torch.arange(count).expand(1, tokenizer.spec.num_codebooks, count) % 4
        tokens = tokenizer.tokens(ids, grid=(1, 1, count) if tokenizer.spec.clips else (1, count))
        picture = Image.open(lm.write_sample(tokenizer, tokens, c, tmp_path / "sample"))
        frames = tokenizer.decode(tokenizer.tokens(ids[..., :1].expand(-1, -1, math.prod(grid)), grid=grid))[0]
        assert getattr(picture, "n_frames", 1) == (len(frames) if tokenizer.spec.clips else 1)
        assert picture.size == (3 * tokenizer.spec.stride, 2 * tokenizer.spec.stride)
    with pytest.raises(ConfigError, match="window is \\[3, 2, 3\\]; give two positive numbers"):
        dataclasses.replace(c, window=(3, 2, 3))


def test_without_held_out_media_a_part_of_the_corpus_is_held_out(tmp_path, monkeypatch):
    monkeypatch.setattr(lm, "SHARES", {"train": 0.5, "valid": 0.5})
    folder = sounds(tmp_path / "in", 8)
    run = SMALL | {"tokenizer": saved("spectral", tmp_path / "model"), "train": str(folder), "valid": "", "codebooks": 1}
    run |= {"tokens": str(tmp_path / "tokens"), "output": str(tmp_path / "out"), "steps": 2, "samples": 0, "block": 32}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    report = lm.main(str(tmp_path / "run.yaml"), [])
    config = from_mapping(lm.LMConfig, run)
    train, valid = lm.split_tokens(tmp_path / "tokens" / "train", config)
    keys = [{d.metadata(i)["key"] for i in range(d.documents)} for d in (train, valid)]
    assert all(keys) and not keys[0] & keys[1] and len(keys[0] | keys[1]) == 8
    assert 0 < report["valid_tokens"] <= sum(valid.steps())


def test_the_bundled_runs_are_those_of_the_folder():
    files = {f"lm/{p.stem}" for p in (Path(tokenzoo.__file__).parent / "configs/lm").glob("*.yaml")}
    assert files == {*lm.BUNDLED}
    runs = [from_mapping(lm.LMConfig, read_mapping(find(name, among=lm.BUNDLED))) for name in lm.BUNDLED]
    assert len({r.output for r in runs}) == len(runs) and {r.model.kind for r in runs} == {*MODELS.names()}
    with pytest.raises(ConfigError, match="kind masked follows only .*passes"):
        from_mapping(lm.LMConfig, read_mapping(find("lm/photos-masked"), ["sampler.draft=3"]))


def test_a_run_that_is_not_there_names_those_that_are():
    with pytest.raises(ConfigError, match="no run file 'lm/musik'.*bundled are lm/speech, lm/photos, "):
        lm.main("lm/musik", [])


def test_bits_are_those_of_the_model_and_unigram_those_of_the_counts(tmp_path):
    """A model that says the same for every id has log2 V bits, and uniform ids an entropy of nearly that."""
    make(tokenzoo.load(saved("spectral", tmp_path / "model")), sounds(tmp_path / "in", 6), tmp_path / "out")
    config = from_mapping(lm.LMConfig, SMALL | {"tokenizer": "x", "block": 32, "steps": 1, "batch_size": 2})
    data = lm.TokenDataset(tmp_path / "out", block=32)

    class Flat(torch.nn.Module):
        def forward(self, input_ids, **_):
            return type("O", (), {"logits": torch.zeros(*input_ids.shape, data.packing.vocabulary.size)})()

    model = config.model.build(data.packing)
    model.net = Flat()
    figures = lm.measure_model(model, data, data, config)
    assert figures["bits"] == pytest.approx(np.log2(data.packing.vocabulary.size), abs=1e-4)
    counts = np.zeros((3, 16))
    labels = torch.cat([data[p]["labels"][1:] for p in range(min(len(data), config.valid_samples))])
    own, book = data.packing.vocabulary.from_ids(data.packing.config.tokenizer, labels)
    for k in range(3):
        counts[k] = np.bincount(own[book == k].numpy(), minlength=16)
    p = counts / counts.sum(1, keepdims=True)
    want = -(p * np.log2(np.where(p > 0, p, 1))).sum(1)
    assert figures["unigram_bits_by_codebook"] == pytest.approx(want.tolist())
    assert figures["unigram_bits"] <= figures["unigram_train_bits"]


def test_no_step_sees_another_document(tmp_path):
    """Ids of the document before, in the same block, change no loss."""
    make(tokenzoo.load(saved("spectral", tmp_path / "model")), sounds(tmp_path / "in", 6), tmp_path / "out")
    data = lm.TokenDataset(tmp_path / "out", block=160, seed=0)
    torch.manual_seed(0)
    model, generator = from_mapping(GeneratorConfig, MODEL).build(data.packing).eval(), torch.Generator()
    batch = next(b for b in data.loader(1) if int(b["document_ids"].max()) > 0)
    behind = (batch["document_ids"] > 0)[0, 1:] & (batch["labels"] != -100)[0, 1:]
    kept = behind[(batch["labels"] != -100)[0, 1:]]
    before = model.losses(batch, generator)[0][kept]
    other = {k: v.clone() for k, v in batch.items()}
    other["input_ids"][batch["document_ids"] == 0] = data.packing.pad_id
    assert torch.allclose(model.losses(other, generator)[0][kept], before, atol=1e-5)
