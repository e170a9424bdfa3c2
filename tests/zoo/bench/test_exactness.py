"""Which ways of encoding change ids. Run: pytest tests/zoo/bench/test_exactness.py"""

import json
from types import SimpleNamespace

import pytest
import tokenzoo
import torch
from cli_runs import run, saved
from families import TINY
from PIL import Image
from tokenzoo.codecs.media import Waveform
from tokenzoo.zoo.bench import exactness
from tokenzoo.zoo.bench.exactness import Change, NotTried

WAYS = exactness.WAYS
EXACT = ("again", "batch", "pieces or tiles", "threads", "PyTorch's kernels")


@pytest.fixture(autouse=True)
def _without_the_compiler(monkeypatch):
    """It and the exporter take longer than all other ways together; slow tests have them."""
    monkeypatch.setattr(exactness, "WAYS", {n: way for n, way in exactness.WAYS.items() if n not in ("compiled", "export")})


@pytest.mark.parametrize("label", ["convnet", "mimi"])
def test_only_precision_changes_ids(label):
    tokenizer = tokenzoo.build_tokenizer(*TINY[label]).eval()
    pieces, weights = tokenizer.piece_positions, next(tokenizer.parameters()).clone()
    if label == "mimi":
        rate = tokenizer.spec.sample_rate_hz
        media = [Waveform(torch.randn(1, n) * 0.1, rate) for n in (1500, 2001)]
    else:
        media = [torch.randint(0, 255, (3, 40, 4 * n), dtype=torch.uint8) for n in (20, 21)]
    found = exactness.exactness(tokenizer, media)
    assert {n: c.share for n, c in found.items() if n in EXACT} == dict.fromkeys(EXACT, 0.0)
    assert {c.ids for c in found.values() if not c.reason} == {sum(tokenizer.encode(x).ids.numel() for x in media)}
    assert found["stream"] == (Change(0.0, found["batch"].ids) if label == "mimi" else Change(reason="does not stream"))
    assert 0 < found["bfloat16"].share < 0.5
    assert tokenizer.piece_positions == pieces and torch.equal(next(tokenizer.parameters()), weights)


def test_a_change_is_counted(monkeypatch):
    def tokens(*ids):
        return SimpleNamespace(ids=torch.tensor([ids]))

    a, b = tokens([1, 2, 3, 4], [1, 2, 3, 4]), tokens([1, 2, 3, 5], [0, 2, 3, 4])
    assert exactness._change([a], [b]) == Change(2 / 8, 8)
    assert exactness._change([a], [tokens([1, 2], [1, 2])]) == Change(4 / 8, 8), "what is missing is different"

    def untried(*_):
        raise NotTried("no such way")

    def fails(*_):
        raise RuntimeError("not implemented for 'Half'\nmore")

    monkeypatch.setattr(exactness, "WAYS", {"one": untried, "other": fails, "all": lambda t, m: [t.encode(x) for x in m]})
    found = exactness.exactness(SimpleNamespace(encode=lambda x: x), [a])
    assert [c.reason for c in found.values()] == ["no such way", "RuntimeError: not implemented for 'Half'", ""]
    assert "not tried because" in exactness.text("m", found, "2 items") and "0 %" in exactness.text("m", found, "2 items")


def test_the_command(tmp_path):
    Image.new("RGB", (24, 16), (200, 10, 90)).save(tmp_path / "p.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    ran = run("bench", "--exactness", saved("convnet", tmp_path / "m"), "--data", tmp_path, "-o", tmp_path / "out", "--json")
    (found,) = json.loads(ran.out)
    assert ran.code == 1 and list(found["failed"]) == [str(tmp_path / "bad.png")]
    assert found["ways"]["batch"] == {"share": 0.0, "ids": 3 * 4 * 6} and found["corpus"]["items"] == 2
    assert json.loads((tmp_path / "out/exactness.json").read_text()) == [found]


@pytest.mark.slow
@pytest.mark.parametrize("label", ["convnet", "encodec"])
def test_the_exported_encoder(monkeypatch, label):
    """Items are cut to what the file takes; without ONNX Runtime the way is left out with a note."""
    monkeypatch.setattr(exactness, "WAYS", {"export": WAYS["export"]})
    tokenizer = tokenzoo.build_tokenizer(*TINY[label]).eval()
    if label == "encodec":
        media = [Waveform(torch.randn(1, n) * 0.1, tokenizer.spec.sample_rate_hz) for n in (1503, 2000)]
    else:
        media = [torch.randint(0, 255, (3, 40, 4 * n), dtype=torch.uint8) for n in (20, 21)]
    found = exactness.exactness(tokenizer, media)["export"]
    assert not found.reason and found.share <= 0.01
    assert found.ids == {"encodec": 3 * (150 + 200), "convnet": sum(tokenizer.encode(x).ids.numel() for x in media)}[label]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'tokenzoo[export]'" in exactness.exactness(tokenizer, media)["export"].reason
