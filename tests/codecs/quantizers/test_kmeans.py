"""Fitted centres. Run: pytest tests/codecs/quantizers/test_kmeans.py"""

import numpy as np
import pytest
import torch
from quantizer_checks import check_contract, check_gradient, latents
from tokenzoo.codecs.quantizers import build
from tokenzoo.codecs.quantizers.branches import Branches
from tokenzoo.codecs.quantizers.kmeans import KMeansConfig
from tokenzoo.codecs.quantizers.vq import VQConfig


def features(clusters=12, each=40, dim=6):
    """Well separated clusters, rows shuffled."""
    torch.manual_seed(1)
    rows = (6 * torch.randn(clusters, dim)).repeat(each, 1) + 0.1 * torch.randn(clusters * each, dim)
    return rows[torch.randperm(len(rows))]


def quantizer(**config):
    q = build("kmeans", **({"dim": 6, "codebook_size": 20, "iterations": 30} | config))
    q.fit(features())
    return q


@pytest.mark.parametrize("normalize", [False, True])
def test_equals_plain_reference(normalize):
    q, z = quantizer(normalize=normalize), latents(2, 6, 9)
    rows, centres = z.double().numpy().transpose(0, 2, 1).reshape(-1, 6), q.centres.double().numpy()
    if normalize:
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1, atol=1e-5)
    ids = ((rows[:, None] - centres) ** 2).sum(-1).argmin(1)
    out = q(z)
    assert np.array_equal(out.ids.numpy().ravel(), ids)
    np.testing.assert_allclose(out.z_q.numpy().transpose(0, 2, 1).reshape(-1, 6), centres[ids], atol=1e-6)
    assert out.loss.item() == 0


def test_contract():
    q, z = quantizer(), latents(3, 6, 20)
    check_contract(q, z)
    check_gradient(q, z)


def test_fit_finds_clusters_and_centres_are_means():
    rows = features()
    q = build("kmeans", dim=6, codebook_size=20, iterations=40)
    error = q.fit(rows)
    assert error < 0.3 * rows.var().item()
    ids = q.encode(rows.T[None]).flatten()
    means = torch.stack([rows[ids == k].mean(0) for k in ids.unique()])
    torch.testing.assert_close(q.centres[ids.unique()], means, atol=1e-4, rtol=1e-4)
    assert error == pytest.approx(((q.decode(ids.view(1, 1, -1))[0].T - rows) ** 2).mean().item(), rel=1e-4)
    same = build("kmeans", dim=6, codebook_size=20, iterations=40)
    same.fit(rows.T[None])  # as latents [B, D, L]
    assert torch.equal(q.centres, same.centres)


def test_training_does_not_move_it():
    q = quantizer().train()
    before = q.centres.clone()
    z = latents(2, 6, 9).requires_grad_()
    q(z).z_q.sum().backward()
    assert torch.equal(before, q.centres)
    assert torch.equal(z.grad, torch.ones_like(z))


def test_errors():
    q = build("kmeans", dim=6, codebook_size=20)
    with pytest.raises(ValueError, match="call fit"):
        q.encode(latents(1, 6, 3))
    with pytest.raises(ValueError, match="19 features cannot fill 20"):
        q.fit(torch.randn(19, 6))
    with pytest.raises(ValueError, match=r"\[N, D=6\]"):
        q.fit(torch.randn(19, 5))
    with pytest.raises(ValueError, match=r"\[V=20, D=6\]"):
        q.use(torch.zeros(20, 5))
    with pytest.raises(ValueError, match="NaN"):
        q.use(torch.full((20, 6), torch.nan))
    other = quantizer()
    q.load_state_dict(other.state_dict())
    assert torch.equal(q.encode(latents(1, 6, 30)), other.encode(latents(1, 6, 30)))


def test_centres_of_others():
    q, table = build("kmeans", dim=6, codebook_size=20, normalize=True), torch.randn(20, 6, dtype=torch.float64)
    q.use(table)
    assert torch.allclose(q.centres, torch.nn.functional.normalize(table.float(), dim=1))
    assert torch.equal(q.encode(3 * table.float().t()[None])[0, 0], torch.arange(20))


def test_branches_are_fitted_each_to_its_own_channels():
    config = KMeansConfig(dim=6, codebook_size=5)
    both, rows = Branches(config, 2), latents(1, 12, 80)[0].t()
    error = both.fit(rows)
    alone = [config.build() for _ in range(2)]
    errors = [q.fit(part) for q, part in zip(alone, rows.chunk(2, dim=1), strict=True)]
    assert error == pytest.approx(sum(errors) / 2)
    assert torch.equal(both.encode(rows.t()[None]), torch.cat([q.encode(p.t()[None]) for q, p in zip(alone, rows.chunk(2, 1))], 1))
    assert both.fit(rows.t()[None]) == pytest.approx(error)
    with pytest.raises(ValueError, match=r"\[N, 12\]"):
        both.fit(rows[:, :6])
    with pytest.raises(ValueError, match="trained, not fitted"):
        Branches(VQConfig(dim=6), 2).fit(rows)
