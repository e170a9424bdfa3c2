"""Memory codes against NumPy. Run: pytest tests/codecs/quantizers/test_memcodes.py"""

import numpy as np
import pytest
import torch
from quantizer_checks import check_contract, check_gradient, latents
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.quantizers import build


def _q(**more):
    torch.manual_seed(0)
    return build("memcodes", dim=12, codebooks=3, codebook_size=20, **more)


def test_equals_plain_reference():
    q, z = _q(), latents(2, 12, 9)
    ids, z_q = q.encode(z), q.eval()(z).z_q
    for k in range(3):
        part = z[:, 4 * k : 4 * k + 4].double().numpy()
        codes = q.codes[k].detach().double().numpy()
        scores = np.einsum("bdl,vd->blv", part, codes @ q.to_keys[k].detach().double().numpy())
        assert np.array_equal(ids[:, k].numpy(), scores.argmax(-1))
        values = (codes @ q.to_values[k].detach().double().numpy())[scores.argmax(-1)]
        assert np.allclose(z_q[:, 4 * k : 4 * k + 4].detach().numpy(), values.transpose(0, 2, 1), atol=1e-5)


def test_contract():
    q, z = _q(), latents(3, 12, 10)
    check_contract(q, z)
    check_gradient(q, z)


def test_noise_in_training_alone():
    q, z = _q(), 0.1 * latents(2, 12, 50)
    plain = q.encode(z)
    torch.manual_seed(1)
    noisy = q.train()(z)
    assert not torch.equal(noisy.ids, plain) and torch.equal(q.encode(z), plain)
    assert torch.equal(_q(sample=False).train()(z).ids, plain)
    weight = latents(2, 12, 50, seed=4)
    (noisy.z_q * weight).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in q.parameters())


def test_settings():
    with pytest.raises(ConfigError, match="multiple of codebooks"):
        build("memcodes", dim=10, codebooks=3)
    with pytest.raises(ConfigError, match="temperature"):
        build("memcodes", dim=12, codebooks=3, temperature=0.0)
