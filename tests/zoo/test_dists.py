"""DISTS-HED: its arithmetic against NumPy, its files, and (with weights) its order. Run: pytest tests/zoo/test_dists.py

With TOKENZOO_CORPORA_CACHE=<the --cache of `python -m tokenzoo.zoo.evaluate.dists`> real weights are tested.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenzoo.zoo.evaluate import dists
from tokenzoo.zoo.evaluate.dists import CHANNELS, DistsHed, fetch_heads
from tokenzoo.zoo.evaluate.perceptual import WEIGHTS as TRUNK
from tokenzoo.zoo.evaluate.perceptual import LpipsHed


@pytest.fixture(scope="module", autouse=True)
def _weights_stay_as_they_are():
    """No start of 15 million weights that are replaced anyway."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.Conv2d, "reset_parameters", lambda self: None)
        yield


@pytest.fixture(scope="module")
def metric():
    """The network with random weights of a sensible size."""
    torch.manual_seed(0)
    trunk = LpipsHed()
    for value in trunk.state_dict().values():
        if value.ndim == 4:
            value.normal_(std=(2 / value[0].numel()) ** 0.5)
        else:
            value.uniform_(0, 0.1)
    return DistsHed(trunk, torch.rand(sum(CHANNELS)), torch.rand(sum(CHANNELS)))


def contiguous(module):
    return {n: v.contiguous() for n, v in module.state_dict().items()}


def test_the_distance_by_hand(metric):
    one, other = torch.rand(2, 2, 3, 20, 24)
    assert metric(one, one).abs().max() < 1e-5
    assert torch.allclose(metric(one, other), metric(other, one), atol=1e-5)
    at, total = 0, np.ones(2)
    for a, b in zip(metric.features(one), metric.features(other), strict=True):
        a, b = a.double().numpy(), b.double().numpy()
        for c in range(a.shape[1]):
            for i in range(2):
                p, q = a[i, c], b[i, c]
                cov = ((p - p.mean()) * (q - q.mean())).mean()
                means = (2 * p.mean() * q.mean() + 1e-6) / (p.mean() ** 2 + q.mean() ** 2 + 1e-6)
                total[i] -= float(metric.alpha[at]) * means + float(metric.beta[at]) * (2 * cov + 1e-6) / (p.var() + q.var() + 1e-6)
            at += 1
    assert at == sum(CHANNELS)
    assert metric(one, other).numpy() == pytest.approx(total, abs=1e-4)


def test_pooling_halves_and_keeps_a_constant(metric):
    x = torch.full((1, 4, 9, 12), 3.0)
    pooled = metric._pooled(x)
    assert pooled.shape == (1, 4, 5, 6) and pooled[:, :, 1:-1, 1:-1] == pytest.approx(3.0)
    assert [tuple(f.shape[1:]) for f in metric.features(torch.rand(1, 3, 32, 32))] == [
        (3, 32, 32), (64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2),
    ]  # fmt: skip


def test_weights_come_from_a_cache(metric, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="zoo.evaluate.dists --cache"):
        DistsHed.from_cache(tmp_path)
    (tmp_path / "package/DISTS_pytorch").mkdir(parents=True)
    torch.save({n: torch.rand(1, sum(CHANNELS), 1, 1) for n in ("alpha", "beta")}, tmp_path / "package/DISTS_pytorch/weights.pt")
    monkeypatch.setattr(dists, "unpack", lambda name, cache, offline: tmp_path / "package")
    monkeypatch.setattr(dists, "fetch_weights", lambda cache, offline: save_file(contiguous(metric.trunk), cache / TRUNK))
    fetch_heads(tmp_path)
    loaded, x = DistsHed.from_cache(tmp_path), torch.rand(1, 3, 16, 16)
    assert float(loaded.alpha.sum() + loaded.beta.sum()) == pytest.approx(1)
    assert 0 < float(loaded(x, torch.rand(1, 3, 16, 16))) < 2


@pytest.mark.skipif("TOKENZOO_CORPORA_CACHE" not in os.environ, reason="needs weights: python -m tokenzoo.zoo.evaluate.dists")
def test_real_weights_order_what_is_worse():
    metric = DistsHed.from_cache(Path(os.environ["TOKENZOO_CORPORA_CACHE"]))
    from small_runs import held_out

    x = held_out(1, 128)
    noisy = [(x + s * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1) for s in (0.05, 0.15)]
    values = [float(metric(y, x)) for y in (x, *noisy)]
    assert values[0] < 1e-3 and values[0] < values[1] < values[2]
