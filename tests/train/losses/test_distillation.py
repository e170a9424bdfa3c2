"""Distillation from a teacher against plain NumPy. Run: pytest tests/train/losses/test_distillation.py"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from loss_cases import IMAGE, inputs, loss, loss_of
from tokenzoo.codecs.config import ConfigError
from torch.nn import functional as F


@pytest.mark.parametrize("along", ["frames", "channels", "mse"])
def test_distillation(along):
    rng = np.random.default_rng(4)
    ours, target = rng.normal(size=(2, 3, 8)), rng.normal(size=(2, 3, 8))
    out = SimpleNamespace(z=None, quantized=SimpleNamespace(z_q=None), features={"semantic": torch.from_numpy(ours)})
    axis = 1 if along == "frames" else 2
    norm = np.linalg.norm(ours, axis=axis) * np.linalg.norm(target, axis=axis)
    cosine = (ours * target).sum(axis) / norm
    expected = {
        "frames": (1 - cosine).mean(),
        "channels": np.log1p(np.exp(-cosine)).mean(),
        "mse": ((ours - target) ** 2).mean(),
    }[along]
    module = loss("distillation", teacher="t", feature="semantic", along=along)
    targets = {"t": torch.from_numpy(target)}
    assert float(module(inputs([0], [0], out=out, targets=targets))) == pytest.approx(expected, rel=1e-5)


def test_distillation_projects_and_explains_widths():
    out = SimpleNamespace(z=torch.rand(1, 4, 6), quantized=SimpleNamespace(z_q=torch.rand(1, 4, 6)), features={})
    targets = {"t": torch.rand(1, 7, 12)}
    with pytest.raises(ConfigError, match="project to 7"):
        loss("distillation", teacher="t")(inputs([0], [0], out=out, targets=targets))
    module = loss("distillation", teacher="t", project=7)
    module.prepare({"z": 4, "z_q": 4})
    module(inputs([0], [0], out=out, targets=targets)).backward()
    assert sum(p.numel() for p in module.parameters()) == 4 * 7 + 7
    deep = loss("distillation", teacher="t", project=7, hidden=[5, 3])
    deep.prepare({"z": 4, "z_q": 4})
    deep(inputs([0], [0], out=out, targets=targets)).backward()
    assert [tuple(p.shape[:2]) for p in deep.parameters() if p.ndim == 3] == [(5, 4), (3, 5), (7, 3)]
    assert all(p.grad is not None for p in deep.parameters())
    with pytest.raises(ConfigError, match="need project"):
        loss("distillation", teacher="t", hidden=[5])
    with pytest.raises(ConfigError, match="no feature 'hubert'; it has z, z_q"):
        loss("distillation", teacher="t", feature="hubert")(inputs([0], [0], out=out, targets=targets))


def test_one_vector_teaches_all_positions():
    torch.manual_seed(0)
    ours, target = torch.randn(2, 5, 7), torch.randn(2, 5, 1)
    a, b = ours.numpy(), np.repeat(target.numpy(), 7, axis=2)
    cosine = (a * b).sum(2) / np.linalg.norm(a, axis=2) / np.linalg.norm(b, axis=2)
    assert float(loss_of(ours, target)) == pytest.approx(float(np.log1p(np.exp(-cosine)).mean()), rel=1e-5)
    assert float(loss_of(ours, target, IMAGE)) == float(loss_of(ours, target))


def test_grids_of_pictures_are_resized_in_two_directions():
    coarse = torch.arange(4.0).view(1, 1, 2, 2)
    fine = F.interpolate(coarse, size=(4, 4), mode="bilinear")
    assert float(loss_of(fine.flatten(2), coarse.flatten(2), IMAGE, along="mse")) < 1e-10
    with pytest.raises(ConfigError, match="no two square grids"):
        loss_of(torch.randn(1, 1, 5), coarse.flatten(2), IMAGE)
