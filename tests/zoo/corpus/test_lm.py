"""A language model on shards: it learns a handful of clips by heart, and a whole run ends in sound or a picture.

    pytest tests/zoo/corpus/test_lm.py
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tokenzoo
import torch
import yaml
from corpus_cases import make, pictures, saved, sounds
from PIL import Image
from tokenzoo.codecs.config import ConfigError
from tokenzoo.zoo import demo
from tokenzoo.zoo.corpus import lm
from tokenzoo.zoo.corpus.sampling import SamplerConfig

pytest.importorskip("transformers")
GREEDY = SamplerConfig(temperature=0)
MEDIA = Path(demo.__file__).parent / "media"
SMALL = {"width": 64, "layers": 2, "heads": 2, "tokens": "", "output": "", "train": "", "valid": ""}


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
    config = lm.LMConfig(tokenizer=name, codebooks=2, steps=250, batch_size=4, lr=5e-3, block=128, **SMALL)
    data = lm.TokenDataset(tmp_path / "out", seed=0)
    model, loss = lm.fit(data, config)
    assert loss < 0.1
    for i in range(4):
        want = data.tokens(i)
        got = lm.sample(model, data.packing, 999, want.first(positions=2), config=GREEDY, seed=0).tokens
        assert torch.equal(got.ids, want.ids), "every id, and the end where it belongs"
        grid = want.grid
        back = tokenizer.decode(dataclasses.replace(got, grid=grid, scale=want.scale, sizes=want.sizes))
        whole = tokenizer.decode(dataclasses.replace(want, sample_rate_hz=None))
        assert torch.equal(back, whole)


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
    report = lm.main(str(tmp_path / "run.yaml"), ["steps=3", "width=16"])
    assert report == json.loads((tmp_path / "out/report.json").read_text())
    assert report["config"]["steps"] == 3 and len(report["bits_by_codebook"]) == 2
    assert 0 < report["unigram_bits"] <= 4 and np.isfinite(report["bits"])
    for i in range(2):
        if audio:
            wave, rate = soundfile.read(tmp_path / f"out/sample-{i}.wav")
            assert rate == 16000 and len(wave) % 20 == 0
        else:
            assert Image.open(tmp_path / f"out/sample-{i}.png").size == (16, 12)


def test_without_held_out_media_a_part_of_the_corpus_is_held_out(tmp_path, monkeypatch):
    monkeypatch.setattr(lm, "SHARES", {"train": 0.5, "valid": 0.5})
    folder = sounds(tmp_path / "in", 8)
    run = SMALL | {"tokenizer": saved("spectral", tmp_path / "model"), "train": str(folder), "valid": "", "codebooks": 1}
    run |= {"tokens": str(tmp_path / "tokens"), "output": str(tmp_path / "out"), "steps": 2, "samples": 0, "block": 32, "width": 16}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    report = lm.main(str(tmp_path / "run.yaml"), [])
    config = lm.LMConfig(**run)
    train, valid = lm.split_tokens(tmp_path / "tokens" / "train", config)
    keys = [{d.metadata(i)["key"] for i in range(d.documents)} for d in (train, valid)]
    assert all(keys) and not keys[0] & keys[1] and len(keys[0] | keys[1]) == 8
    assert 0 < report["valid_tokens"] <= sum(valid.steps())


def test_a_run_that_is_not_there_names_those_that_are():
    with pytest.raises(ConfigError, match="no run file 'lm/musik'.*bundled are lm/speech, lm/photos"):
        lm.main("lm/musik", [])


def test_bits_are_those_of_the_model_and_unigram_those_of_the_counts(tmp_path):
    """A model that says the same for every id has log2 V bits, and uniform ids an entropy of nearly that."""
    make(tokenzoo.load(saved("spectral", tmp_path / "model")), sounds(tmp_path / "in", 6), tmp_path / "out")
    config = lm.LMConfig(tokenizer="x", block=32, steps=1, batch_size=2, **SMALL)
    data = lm.TokenDataset(tmp_path / "out", block=32)

    class Flat(torch.nn.Module):
        def forward(self, input_ids, **_):
            return type("O", (), {"logits": torch.zeros(*input_ids.shape, data.packing.vocabulary.size)})()

    figures = lm.measure(Flat(), data, data, config)
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
    config = lm.LMConfig(tokenizer="x", **SMALL)
    data = lm.TokenDataset(tmp_path / "out", block=160, seed=0)
    model = lm.build_model(data.packing.vocabulary.size, config).eval()
    batch = next(b for b in data.loader(1) if int(b["document_ids"].max()) > 0)
    behind = (batch["document_ids"] > 0)[0, 1:] & (batch["labels"] != -100)[0, 1:]
    kept = behind[(batch["labels"] != -100)[0, 1:]]
    before = lm.losses(model, batch)[0][kept]
    other = {k: v.clone() for k, v in batch.items()}
    other["input_ids"][batch["document_ids"] == 0] = data.packing.pad_id
    assert torch.allclose(lm.losses(model, other)[0][kept], before, atol=1e-5)
