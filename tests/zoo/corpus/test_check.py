"""`verify` and `stats`. Run: pytest tests/zoo/corpus/test_check.py"""

import json

import numpy as np
import pytest
from corpus_cases import bad_sounds, lively, make, pictures, sounds
from tokenzoo.zoo.corpus import TokenDataset, stats, verify


@pytest.fixture
def folder(tmp_path):
    make(lively("spectral"), sounds(tmp_path / "in", 9), tmp_path / "out", shard_items=3)
    return tmp_path / "out"


def test_verify_finds_every_kind_of_damage(folder):
    assert verify(folder) == []
    second = folder / "shard-00001.parquet"
    whole = second.read_bytes()
    second.write_bytes(whole[:-1])
    assert verify(folder) == [f"shard-00001.parquet has {len(whole) - 1} bytes, the manifest has {len(whole)}"]
    second.write_bytes(whole[:50] + bytes([whole[50] ^ 1]) + whole[51:])
    assert verify(folder) == ["shard-00001.parquet was altered: its checksum does not match"]
    second.unlink()
    (folder / "more.parquet").write_bytes(b"")
    assert verify(folder) == ["shard-00001.parquet is missing", "more.parquet is not in the manifest"]


def test_verify_counts_items(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["shards"][0]["items"] = 4
    manifest["totals"]["items"] = 10
    (folder / "manifest.json").write_text(json.dumps(manifest))
    altered, *wrong = verify(folder)
    assert altered == "manifest.json was altered: its checksum does not match"
    assert wrong[0] == "shard-00000.parquet holds 3 items, the manifest has 4"
    assert "10 items and 0 failures do not make the 9 of the source" in wrong[1]


@pytest.mark.parametrize("label", ["spectral", "snac", "convnet"])
def test_stats_against_plain_counting(label, tmp_path):
    tokenizer = lively(label)
    audio = tokenizer.spec.modality == "audio"
    source = (sounds if audio else pictures)(tmp_path / "in", 7)
    if audio:
        bad_sounds(source)
    make(tokenizer, source, tmp_path / "out", max_seconds=10.0)
    data = TokenDataset(tmp_path / "out")
    items = [data.tokens(i) for i in range(7)]
    s = stats(tmp_path / "out")
    assert (s.items, s.failed) == (7, 11 if audio else 0)
    assert s.bits == sum(sum(t.bits()) for t in items)
    assert s.positions == sum(t.ids.shape[2] for t in items)
    lengths = sorted(t.ids.shape[2] for t in items)
    assert s.lengths == (lengths[0], lengths[3], lengths[-1])
    for k, stride in enumerate(data.layout.steps):
        ids = np.concatenate([t.ids[0, k, ::stride].numpy() for t in items])
        p = np.unique(ids, return_counts=True)[1] / len(ids)
        assert s.entropy_bits[k] == pytest.approx(-(p * np.log2(p)).sum())
        assert s.usage[k] == len(p) / data.layout.vocab_sizes[k]
    if audio:
        assert s.extent == pytest.approx(sum(int(t.sizes[0, 0]) / 16000 for t in items))
        assert f"{s.bits / 1000 / s.extent:.3f} kbit/s" in s.table()
    else:
        assert s.extent == sum(int(t.sizes[0].prod()) for t in items)
        assert f"{s.bits / s.extent:.4f} bits a pixel" in s.table()
    assert s.tokens == data.manifest["totals"]["tokens"]


def test_stats_of_an_empty_corpus(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.wav").write_bytes(b"")
    make(lively("spectral"), tmp_path / "in", tmp_path / "out")
    assert "1 failed" in stats(tmp_path / "out").table()
