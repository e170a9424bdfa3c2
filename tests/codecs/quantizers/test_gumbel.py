"""Gumbel-softmax codes against NumPy. Run: pytest tests/codecs/quantizers/test_gumbel.py"""

import numpy as np
import pytest
import torch
from quantizer_checks import check_contract, check_gradient, check_mask, latents
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.quantizers import build


def _q(**more):
    torch.manual_seed(0)
    return build("gumbel", dim=6, codebook_size=20, **more)


def test_equals_plain_reference():
    q, z = _q(kl_weight=1.0).eval(), latents(2, 6, 9)
    out = q(z)
    w, b = q.scores.weight.detach().double().numpy(), q.scores.bias.detach().double().numpy()
    logits = np.einsum("vd,bdl->bvl", w, z.double().numpy()) + b[:, None]
    assert np.array_equal(out.ids[:, 0].numpy(), logits.argmax(1))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.isclose(out.loss.item(), (p * np.log(p * 20)).sum(1).mean(), atol=1e-5)


def test_contract():
    q, z = _q(), latents(3, 6, 10)
    check_contract(q, z)
    check_gradient(q, z)
    check_mask(q, z)


def test_draws_follow_the_softmax():
    q = _q()
    z = latents(1, 6, 1).expand(-1, -1, 20000)
    ids = q.draw(z, generator=torch.Generator().manual_seed(0))
    share = torch.bincount(ids.flatten(), minlength=20) / 20000
    assert torch.allclose(share, q.logits(z[..., :1])[0, :, 0].softmax(0), atol=0.015)


def test_training_draws_and_encode_does_not():
    q, z = _q(temperature=0.5).train(), latents(1, 6, 200)
    a, b = q(z).ids, q(z).ids
    assert not torch.equal(a, b) and torch.equal(q.encode(z), q.encode(z))
    with pytest.raises(ConfigError, match="temperature"):
        _q(temperature=0.0)
