"""Codes by optimal transport. Run: pytest tests/codecs/quantizers/test_optvq.py"""

import numpy as np
import pytest
import torch
from quantizer_checks import check_contract, check_gradient, check_mask, latents
from tokenzoo.codecs.quantizers import build


def quantizer(**config):
    torch.manual_seed(1)
    q = build("optvq", **({"dim": 6, "codebook_size": 24} | config))
    with torch.no_grad():
        q.table.copy_(torch.randn_like(q.table))
        q.transform.weight.add_(0.2 * torch.randn_like(q.transform.weight))
    return q


def plan(rows, codes, *, iterations, sharpness):
    """Sinkhorn's algorithm in NumPy: alternately equal weights for the codes and for the rows."""
    d = np.sqrt(((rows[:, None] - codes) ** 2).sum(-1))
    p = np.exp(-sharpness * (d - d.min()))
    p /= p.sum()
    for _ in range(iterations):
        p = p / p.sum(0) / p.shape[1]
        p = p / p.sum(1, keepdims=True) / p.shape[0]
    return p


@pytest.mark.parametrize("config", [{}, {"normalize": False, "iterations": 3, "sharpness": 2.0}])
def test_equals_plain_reference(config):
    q, z = quantizer(**config), latents(2, 6, 9)
    c = q.config
    codes = q.codes().detach().double().numpy()
    rows = z.double().numpy().transpose(0, 2, 1)
    if c.normalize:
        rows = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
        assert np.linalg.norm(codes, axis=1) == pytest.approx(1)
    ids = np.stack([plan(r, codes, iterations=c.iterations, sharpness=c.sharpness).argmax(1) for r in rows])
    out = q(z)
    assert np.array_equal(out.ids[:, 0].numpy(), ids)
    np.testing.assert_allclose(out.z_q.detach().numpy().transpose(0, 2, 1), codes[ids], atol=1e-6)
    assert out.loss.item() == pytest.approx(1.25 * ((rows - codes[ids]) ** 2).mean(), rel=1e-5)


def test_contract():
    q, z = quantizer(), latents(3, 6, 30)
    check_contract(q, z)
    check_gradient(q, z)
    check_mask(q, z)


def test_rows_spread_over_the_table():
    """What the nearest code does not do: rows that are all close to one code still get many."""
    q = quantizer(codebook_size=16, iterations=20)
    z = q.codes()[:1].t()[None] + 0.05 * latents(1, 6, 64)
    assert len(q.encode(z).unique()) >= 12
    nearest = torch.cdist(torch.nn.functional.normalize(z[0].t(), dim=1), q.codes()).argmin(1)
    assert len(nearest.unique()) <= 3


def test_training_may_plan_over_the_batch_and_encoding_never_does():
    q, z = quantizer(training_plan="batch").train(), latents(4, 6, 12)
    alone = torch.cat([q.encode(item[None]) for item in z])
    assert torch.equal(q.encode(z), alone)
    joint = q(z).ids
    assert not torch.equal(joint, alone)
    rows = torch.nn.functional.normalize(z.transpose(1, 2).reshape(-1, 6).double(), dim=1).numpy()
    whole = plan(rows, q.codes().detach().double().numpy(), iterations=5, sharpness=10.0).argmax(1)
    assert np.array_equal(joint.flatten().numpy(), whole)
    with torch.no_grad():
        assert torch.equal(q(z).ids, alone)
