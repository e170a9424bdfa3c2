"""KID-HED: the kernel distance against its definition, and where it stands in an evaluation. Run: pytest tests/zoo/test_kernel.py"""

import numpy as np
import pytest
import tokenzoo
import torch
from families import TINY
from PIL import Image
from tokenzoo.zoo.evaluate import Perturb, evaluate, kernel
from tokenzoo.zoo.evaluate.perceptual import LpipsHed

RNG = np.random.default_rng(0)


def unit(n: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    x = torch.randn(n, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x[:, 0] += shift
    return x / x.norm(dim=1, keepdim=True)


def test_the_distance_by_its_definition():
    a, b = unit(5, 0), unit(7, 1)
    within = [np.mean([(float(x[i] @ x[j]) + 1) ** 3 for i in range(len(x)) for j in range(len(x)) if i != j]) for x in (a, b)]
    across = np.mean([(float(x @ y) + 1) ** 3 for x in a for y in b])
    assert kernel.kernel_distance(a, b) == pytest.approx(sum(within) - 2 * across)


def test_no_bias_by_the_number_of_pictures_and_a_rise_with_the_difference():
    """Of one distribution about 0 for few and many; a Frechet distance of 20 pictures would be far above that of 200."""
    for n in (20, 200):
        alike = [kernel.kernel_distance(unit(n, 10 * s), unit(n, 10 * s + 1)) for s in range(30)]
        assert abs(np.mean(alike)) < 3 * np.std(alike) / len(alike) ** 0.5 and min(alike) < 0 < max(alike)
    apart = [kernel.kernel_distance(unit(100, 1), unit(100, 2, shift)) for shift in (0.0, 1.0, 2.0)]
    assert apart[0] < 0.05 < apart[1] < apart[2]


def test_an_evaluation_has_it_where_there_are_enough_pictures(monkeypatch, tmp_path):
    torch.manual_seed(0)
    net = LpipsHed()
    for value in net.parameters():
        value.copy_(torch.rand_like(value) if value.ndim == 1 else torch.randn_like(value) * (2 / value[0].numel()) ** 0.5)
    monkeypatch.setattr(LpipsHed, "from_cache", classmethod(lambda cls, cache: net))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "none"))
    monkeypatch.setattr(kernel, "MIN_ITEMS", 3)
    for i in range(3):
        Image.fromarray(RNG.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    tokenizer = tokenzoo.build_tokenizer(*TINY["convnet"]).eval()
    report = evaluate(tokenizer, tmp_path)
    assert {"LPIPS-HED", "KID-HED"} <= set(report.metrics) and any(n.startswith("KID-HED: ") for n in report.notes)
    assert report.metrics["KID-HED"] > 0.01, "of an untrained network"
    assert "KID-HED" not in evaluate(tokenizer, tmp_path, limit=2).metrics
    assert "pKID-HED" in evaluate(tokenizer, tmp_path, perturb=Perturb(neighbours=2)).metrics
