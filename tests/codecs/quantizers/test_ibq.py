"""Index backpropagation against NumPy. Run: pytest tests/codecs/quantizers/test_ibq.py"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from quantizer_checks import check_contract, check_gradient, check_mask, latents
from tokenzoo.codecs.quantizers import build


def _q(**more):
    torch.manual_seed(0)
    return build("ibq", dim=6, codebook_size=20, **more)


def test_equals_plain_reference():
    q, z = _q(entropy_weight=0.5, beta=0.3), latents(2, 6, 9)
    out = q(z)
    rows, table = z.double().numpy().transpose(0, 2, 1).reshape(-1, 6), q.embed.detach().double().numpy()
    ids = (rows @ table.T).argmax(1)
    assert np.array_equal(out.ids.numpy().ravel(), ids)
    d = ((table[ids] - rows) ** 2).mean()
    s = rows @ table.T / 0.01
    p = np.exp(s - s.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    position = -(p * np.log(np.maximum(p, 1e-300))).sum(1).mean()
    batch = -(p.mean(0) * np.log(p.mean(0) + 1e-5)).sum()
    assert np.isclose(out.loss.item(), d * 2.3 + 0.5 * (position - batch), atol=1e-4)


def test_contract():
    q, z = _q(), latents(3, 6, 10)
    check_contract(q, z)
    check_gradient(q, z)
    check_mask(q, z)


def test_every_code_learns_from_one_picture():
    """The point of the paper: codes that nobody chose get a gradient too."""
    q, z = _q(entropy_weight=0.0), latents(1, 6, 4)
    out = q(z)
    (out.z_q * latents(1, 6, 4, seed=1)).sum().backward()
    assert len(out.ids.unique()) <= 4 and bool((q.embed.grad.abs().sum(1) > 0).sum() == 4) is False


@pytest.mark.parametrize("block", [1, 70, 10**9])
def test_gradients_in_blocks_equal_the_whole_formula(block, monkeypatch):
    """`(onehot + soft - sg(soft)) @ table` and the entropies with all logits at once, by automatic differentiation."""
    monkeypatch.setattr("tokenzoo.codecs.quantizers.ibq._BLOCK", block)
    q, z = _q(entropy_weight=0.5, entropy_temperature=0.7), latents(2, 6, 9).requires_grad_()
    weight = latents(2, 6, 9, seed=4)
    out = q(z)
    got = torch.autograd.grad(out.loss + (out.z_q * weight).sum(), (z, q.embed))

    rows, table = z.transpose(1, 2).reshape(-1, 6), q.embed
    logits = rows @ table.T
    soft, hard = logits.softmax(1), F.one_hot(logits.argmax(1), 20).float()
    z_q, e = (hard + soft - soft.detach()) @ table, hard @ table
    p = (logits / 0.7).softmax(1)
    entropy = -(p * p.log()).sum(1).mean() + (p.mean(0) * (p.mean(0) + 1e-5).log()).sum()
    loss = (z_q - rows).square().mean() + (e.detach() - rows).square().mean() + 0.25 * (e - rows.detach()).square().mean()
    total = loss + 0.5 * entropy + (z_q * weight.transpose(1, 2).reshape(-1, 6)).sum()
    for mine, plain in zip(got, torch.autograd.grad(total, (z, q.embed)), strict=True):
        torch.testing.assert_close(mine, plain, atol=1e-5, rtol=1e-4)
