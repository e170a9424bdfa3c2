"""Two tables, one id. Run: pytest tests/codecs/quantizers/test_paired_vq.py"""

import numpy as np
import pytest
import torch
from quantizer_checks import check_contract, check_gradient, check_mask, latents
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.quantizers import build


def quantizer(**config):
    torch.manual_seed(1)
    q = build("paired_vq", **({"dim": 7, "semantic_dim": 4, "codebook_size": 30} | config))
    with torch.no_grad():
        q.codebook.embed.copy_(torch.randn(30, 7) * (0.5 + torch.rand(30, 1)))
    return q


def one(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("normalize, weight", [(True, 1.0), (True, 3.0), (False, 0.5)])
def test_equals_plain_reference(normalize, weight):
    returns = "normalized" if normalize else "raw"
    q, z = quantizer(normalize=normalize, returns=returns, semantic_weight=weight), latents(2, 7, 9)
    out = q(z)
    rows, table = z.double().numpy().transpose(0, 2, 1).reshape(-1, 7), q.codebook.embed.detach().double().numpy()
    parts = [(rows[:, :4], table[:, :4]), (rows[:, 4:], table[:, 4:])]
    if normalize:
        parts = [(one(a), one(b)) for a, b in parts]
    semantic, pixel = (((a[:, None] - b) ** 2).sum(-1) for a, b in parts)
    ids = (weight * semantic + pixel).argmin(1)
    assert np.array_equal(out.ids.numpy().ravel(), ids)
    assert not np.array_equal(ids, pixel.argmin(1)) and not np.array_equal(ids, semantic.argmin(1))
    values = np.concatenate([b[ids] for _, b in parts], 1)
    np.testing.assert_allclose(out.z_q.detach().numpy().transpose(0, 2, 1).reshape(-1, 7), values, atol=1e-6)
    assert out.loss.item() == pytest.approx(1.25 * sum(((a - b[ids]) ** 2).mean() for a, b in parts), rel=1e-5)


@pytest.mark.parametrize("config", [{}, {"gradient": "rotation", "update": "ema"}])
def test_contract(config):
    q, z = quantizer(**config), latents(3, 7, 30)
    check_contract(q, z, compiled=not config)
    check_gradient(q, z)
    check_mask(q, z)


def test_running_means_keep_pairs_together():
    """Dead codes move to a row as a whole; the parts of a code stay parts of the same rows."""
    q = quantizer(update="ema", kmeans_init=True, decay=0.5, replace_below=0.3).train()
    kinds = torch.randn(30, 7)
    z = (kinds.repeat(20, 1) + 0.01 * torch.randn(600, 7)).T[None]
    for _ in range(30):
        out = q(z)
    assert len(out.ids.unique()) >= 28
    parts = [torch.nn.functional.normalize(z[:, s], dim=1) for s in (slice(0, 4), slice(4, 7))]
    assert (out.z_q - torch.cat(parts, 1)).square().mean() < 0.05  # parts of different rows: 0.3


def test_errors():
    with pytest.raises(ConfigError, match="leave some of the 7"):
        quantizer(semantic_dim=7)
    with pytest.raises(ConfigError, match="codebook_dim"):
        quantizer(codebook_dim=2)
    with pytest.raises(ConfigError, match="semantic_weight"):
        quantizer(semantic_weight=0.0)
