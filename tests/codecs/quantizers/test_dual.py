"""Two quantizers side by side. Run: pytest tests/codecs/quantizers/test_dual.py"""

import pytest
import torch
from quantizer_checks import check_contract, check_gradient, check_mask, latents
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.quantizers import build

RESIDUAL = {"kind": "residual_vq", "num_codebooks": 2, "codebook_size": 16, "kmeans_init": False, "update": "gradient"}


def quantizer(dim=7, **config):
    torch.manual_seed(1)
    defaults = {"first": RESIDUAL | {"dim": 3}, "second": {"kind": "fsq", "levels": [5, 3, 3, 4]}}
    q = build("dual", dim=dim, **(defaults | config))
    with torch.no_grad():
        for p in q.parameters():
            p.normal_()
    return q


def test_equals_its_parts():
    q, z = quantizer().eval(), latents(2, 7, 9)
    a, b = q.first(z[:, :3]), q.second(z[:, 3:])
    out = q(z)
    assert torch.equal(out.ids, torch.cat((a.ids, b.ids), dim=1))
    assert torch.equal(out.z_q, torch.cat((a.z_q, b.z_q), dim=1))
    assert torch.equal(out.loss, a.loss + b.loss)
    assert q.codebook_sizes == (16, 16, 180)
    assert torch.equal(out.metrics["first_commitment"], a.metrics["commitment"])
    q = quantizer(first=RESIDUAL, second=RESIDUAL, dim=6).eval()
    losses = [part(x).loss.item() for part, x in ((q.first, z[:, :3]), (q.second, z[:, 3:6]))]
    assert min(losses) > 0
    assert q(z[:, :6]).loss.item() == pytest.approx(sum(losses))


def test_contract():
    q, z = quantizer(), latents(3, 7, 20)
    check_contract(q, z)
    check_gradient(q, z)
    check_mask(q, z)


def test_both_learn_and_both_freeze():
    q = quantizer(first=RESIDUAL | {"update": "ema"}, second=RESIDUAL | {"update": "ema"}, dim=6).train()
    assert (q.first.dim, q.second.dim) == (3, 3)
    books = q.first.codebooks() + q.second.codebooks()
    before = [b.embed.clone() for b in books]
    q(latents(2, 6, 30))
    assert all(not torch.equal(b.embed, x) for b, x in zip(books, before, strict=True))
    q.freeze()
    before = [b.embed.clone() for b in books]
    q(latents(2, 6, 30))
    assert all(torch.equal(b.embed, x) for b, x in zip(books, before, strict=True))


def test_errors():
    with pytest.raises(ConfigError, match="add up to dim = 7"):
        quantizer(first=RESIDUAL | {"dim": 7})
    with pytest.raises(ConfigError, match="first.num_codebook"):
        quantizer(first={"kind": "residual_vq", "num_codebook": 3})
    q = build("dual", dim=4, first={"kind": "vq"}, second={"kind": "multiscale_vq", "scales": [[1, 1], [2, 2]]})
    with pytest.raises(ValueError, match="4 and 5 positions"):
        q.eval().encode(latents(1, 4, 4), grid=(2, 2))
