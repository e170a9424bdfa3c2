"""Nearest anchors. Run: pytest tests/codecs/quantizers/test_anchors.py"""

import numpy as np
import pytest
import torch
from quantizer_checks import check_contract, check_gradient, latents
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.quantizers import build


def fitted(**config):
    q = build("anchors", **({"dim": 6, "num_codebooks": 3, "codebook_size": 20} | config))
    q.fit(latents(4, 6, 100))
    return q


def test_ids_are_the_nearest_anchors_in_order():
    q, z = fitted(), latents(2, 6, 9, seed=3)
    rows, anchors = z.double().numpy().transpose(0, 2, 1).reshape(-1, 6), q.anchors.double().numpy()
    order = ((rows[:, None] - anchors) ** 2).sum(-1).argsort(1)[:, :3]
    assert np.array_equal(q.encode(z).permute(0, 2, 1).reshape(-1, 3).numpy(), order)
    expected = (anchors[order] * q.weights.double().numpy()[None, :, None]).sum(1)
    np.testing.assert_allclose(q(z).z_q.transpose(1, 2).reshape(-1, 6).numpy(), expected, atol=1e-5)


def test_contract():
    q, z = fitted(), latents(3, 6, 20)
    check_contract(q, z)
    check_gradient(q, z)


def test_anchors_are_distinct_features_and_more_of_them_describe_better():
    z = latents(4, 6, 100)
    rows = z.transpose(1, 2).flatten(0, 1)
    errors = []
    for number in (1, 3):
        q = build("anchors", dim=6, num_codebooks=number, codebook_size=20)
        errors.append(q.fit(rows))
        assert errors[-1] == pytest.approx(float((q(z).z_q - z).square().mean()), rel=1e-4)
    apart = torch.cdist(q.anchors, rows, compute_mode="donot_use_mm_for_euclid_dist").amin(1)
    assert apart.max() == 0 and len(q.anchors.unique(dim=0)) == 20
    assert errors[1] < 0.9 * errors[0]


def test_refused():
    with pytest.raises(ValueError, match="no anchors yet"):
        build("anchors", dim=6).encode(latents(1, 6, 4))
    with pytest.raises(ValueError, match="at least codebook_size = 256 features"):
        build("anchors", dim=6).fit(torch.zeros(10, 6))
    with pytest.raises(ConfigError, match="num_codebooks is 9; allowed: 1 to codebook_size = 8"):
        build("anchors", dim=6, num_codebooks=9, codebook_size=8)
