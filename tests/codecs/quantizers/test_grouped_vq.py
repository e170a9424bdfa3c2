"""Grouped residual quantization against plain NumPy, its layout and its training.

    pytest tests/codecs/quantizers/test_grouped_vq.py
"""

import numpy as np
import pytest
import torch
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.quantizers import build


def quantizer(**config):
    torch.manual_seed(0)
    return build("grouped_vq", dim=6, groups=2, levels=3, codebook_size=8, kmeans_init=False, **config)


def test_numpy_reference() -> None:
    q = quantizer(update="gradient").eval()
    with torch.no_grad():
        for stack in q.stacks:
            for level in stack.levels:
                level.codebook.embed.normal_()
    z = torch.randn(2, 6, 5)
    ids = q.encode(z).numpy()
    for b in range(2):
        for position in range(5):
            for g in range(2):
                left = z[b, 3 * g : 3 * g + 3, position].numpy().astype(np.float64)
                for level in range(3):
                    table = q.stacks[g].levels[level].codebook.embed.detach().numpy().astype(np.float64)
                    best = int(((table - left) ** 2).sum(1).argmin())
                    assert ids[b, level * 2 + g, position] == best  # all groups of a level stand together
                    left = left - table[best]
                got = q.decode(torch.from_numpy(ids))[b, 3 * g : 3 * g + 3, position].detach().numpy()
                np.testing.assert_allclose(got, z[b, 3 * g : 3 * g + 3, position].numpy() - left, atol=1e-5)


def test_forward_equals_encode_then_decode_and_reaches_the_latents() -> None:
    q = quantizer(update="gradient")
    z = torch.randn(2, 6, 5, requires_grad=True)
    out = q(z)
    assert torch.equal(out.ids, q.encode(z.detach()))
    torch.testing.assert_close(out.z_q, q.decode(out.ids))
    out.loss.backward()
    assert z.grad is not None
    assert (z.grad.abs().sum((0, 2)) > 0).all()
    assert all(level.codebook.embed.grad.abs().sum() > 0 for stack in q.stacks for level in stack.levels)


def test_tables_learn() -> None:
    q = quantizer(decay=0.8, replace_below=0.1)
    z = torch.randn(4, 6, 64)
    first = (q(z).z_q - z).square().mean()
    for _ in range(30):
        q(z)
    assert (q(z).z_q - z).square().mean() < 0.5 * first
    q.freeze()
    before = q.stacks[0].levels[0].codebook.embed.clone()
    q(z)
    assert torch.equal(before, q.stacks[0].levels[0].codebook.embed)


def test_groups_must_divide_the_width() -> None:
    with pytest.raises(ConfigError, match="multiple of groups"):
        build("grouped_vq", dim=7, groups=2)
