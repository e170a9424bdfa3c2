"""Two quantizers on grids of their own. Run: pytest tests/codecs/quantizers/test_two_grids.py"""

import pytest
import torch
from tokenzoo.codecs.quantizers.two_grids import TwoGrids
from tokenzoo.codecs.quantizers.vq import VQConfig


def build() -> TwoGrids:
    torch.manual_seed(0)
    table = {"update": "gradient", "kmeans_init": False, "replace_below": 0.0}
    coarse, fine = VQConfig(dim=3, codebook_size=4, **table), VQConfig(dim=2, codebook_size=8, **table)
    q = TwoGrids(coarse, fine, positions=lambda grid: (grid[0] // 2) * (grid[1] // 2), names=("semantic", "pixel"))
    with torch.no_grad():
        q.coarse.codebook.embed.normal_()
        q.fine.codebook.embed.normal_()
    return q


def test_each_part_sees_its_own_positions():
    q, z = build(), torch.randn(2, 5, 24)
    out = q(z, grid=(4, 6))
    want = torch.cdist(z[:, :3, :6].transpose(1, 2), q.coarse.codebook.embed).argmin(-1)
    assert torch.equal(out.ids[:, 0, :6], want) and not out.ids[:, 0, 6:].any()
    fine = torch.cdist(z[:, 3:].transpose(1, 2), q.fine.codebook.embed).argmin(-1)
    assert torch.equal(out.ids[:, 1], fine)
    assert torch.equal(q.encode(z, grid=(4, 6)), out.ids)
    assert torch.equal(q.decode(out.ids, grid=(4, 6)), out.z_q) and not out.z_q[:, :3, 6:].any()
    # what stands behind the coarse positions takes part in nothing
    other = z.clone()
    other[:, :3, 6:] = 9
    assert torch.equal(q(other, grid=(4, 6)).loss, out.loss)
    gaps = (out.z_q - z).square()
    want = 1.25 * (gaps[:, :3, :6].mean() + gaps[:, 3:].mean())
    assert torch.allclose(out.loss, want)
    assert set(out.metrics) == {"semantic_commitment", "pixel_commitment"}


def test_usage_counts_real_ids_alone():
    q = build().train()
    q(torch.randn(4, 5, 24), grid=(4, 6))
    assert q.coarse.window.recorded == 4 * 6 and q.fine.window.recorded == 4 * 24
    assert q.usage().shape == q.perplexity().shape == q.dead().shape == (2,)


def test_gradients_and_errors():
    q, z = build().train(), torch.randn(2, 5, 24, requires_grad=True)
    out = q(z, grid=(4, 6))
    (out.loss + out.z_q.square().sum()).backward()
    assert z.grad[:, :3, :6].abs().min() > 0 and z.grad[:, 3:].abs().min() > 0 and not z.grad[:, :3, 6:].any()
    assert all(p.grad.abs().sum() > 0 for p in q.parameters())
    for grid in (None, (24,), (5, 6)):
        with pytest.raises(ValueError, match="need the fine one"):
            q.encode(z.detach(), grid=grid)
    with pytest.raises(ValueError, match="no mask"):
        q(z, grid=(4, 6), mask=torch.ones(2, 24, dtype=torch.bool))
