"""Dimension-wise bins against SciPy, the authors' TokenBridge and CubiD; fitting to latents."""

import itertools

import numpy as np
import pytest
import torch
from quantizer_checks import check_contract, check_gradient, check_small, latents
from reference import load_io, reference_folder
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.quantizers import build


def test_equals_plain_reference():
    stats = pytest.importorskip("scipy.stats")
    q = build("dimension_wise", dim=3, levels=16, low=-4.0, high=4.0)
    z = latents(2, 3, 200, scale=2)
    edges = np.clip(stats.norm.ppf(np.linspace(0, 1, 17)), -3, 3)
    means = [stats.truncnorm.mean(a, b) for a, b in itertools.pairwise(edges)]
    x = np.clip(z.double().numpy() * 3 / 4, -3, 3)
    ids = np.abs(x[..., None] - means).argmin(-1)
    out = q(z)
    assert np.array_equal(out.ids.numpy(), ids)
    assert np.allclose(out.z_q.numpy(), np.array(means)[ids] * 4 / 3, atol=1e-5)


@pytest.mark.parametrize("config", [{"dim": 16}, {"dim": 48, "levels": 8, "low": -9.0, "high": 9.0}])
def test_contract(config):
    q = check_small("dimension_wise", **config)
    z = latents(3, q.dim, 40)
    check_contract(q, z)
    assert torch.equal(check_gradient(q, z), latents(*z.shape, seed=7)), "the gradient is the identity"


def test_half_way_takes_the_lower_bin():
    q = build("dimension_wise", dim=1, levels=4, low=-3.0, high=3.0)
    between = (q.table[1:] + q.table[:-1]) / 2
    assert q.encode(between[1].view(1, 1, 1)).item() == 1  # 0, between two bins of the same size
    assert q.encode(torch.tensor([[[-99.0, 99.0]]])).flatten().tolist() == [0, 3]


def test_fit_follows_mean_and_deviation_of_every_channel():
    z = latents(40, 5, 500) * torch.tensor([0.01, 1.0, 30.0, 2.0, 5.0]).view(1, 5, 1)
    z = z + torch.tensor([0.0, 1000.0, -7.0, 1e4, 3.0]).view(1, 5, 1)
    q = build("dimension_wise", dim=5, levels=64)
    before = (q(z).z_q - z).square().mean(dim=(0, 2)) / z.var(dim=(0, 2))
    assert q.fit(z) is q
    error = (q(z).z_q - z).square().mean(dim=(0, 2)) / z.var(dim=(0, 2))
    assert (error < 0.01).all(), error
    assert (before > 0.1).sum() >= 3
    usage = [len(ids.unique()) for ids in q.encode(z).transpose(0, 1)]
    assert usage == [64] * 5
    batches = build("dimension_wise", dim=5, levels=64).fit(part for part in z.split(7))
    assert torch.allclose(batches.low, q.low)
    assert torch.allclose(batches.high, q.high)
    again = build("dimension_wise", dim=5, levels=64)
    again.load_state_dict(q.state_dict())
    assert torch.equal(again.encode(z), q.encode(z))


def test_bins_are_equally_likely():
    q = build("dimension_wise", dim=1, levels=8).fit(latents(50, 1, 2000))
    share = torch.bincount(q.encode(latents(50, 1, 2000, seed=1)).flatten(), minlength=8) / 1e5
    assert ((share > 0.09) & (share < 0.16)).all()


def test_wrong_settings_are_named():
    q = build("dimension_wise", dim=2)
    with pytest.raises(ValueError, match=r"channels \[1\]"):
        q.fit(torch.stack([latents(2, 1, 9)[:, 0], torch.ones(2, 9)], dim=1))
    with pytest.raises(ValueError, match="frozen"):
        build("dimension_wise", dim=2).freeze().fit(latents(2, 2, 9))
    for bad in ({"levels": 1}, {"low": 5.0}, {"levels": 1024}):
        with pytest.raises(ConfigError, match=r"levels|range"):
            build("dimension_wise", dim=2, **bad)
    assert build("dimension_wise", dim=2, levels=1024, sigmas=3.5).codebook_sizes == (1024, 1024)


def test_authors_tokenbridge():
    io = load_io(reference_folder("image", "tokenbridge"))
    q = build("dimension_wise", dim=4)
    for name in ("s0", "s1"):
        for kind in ("", "_sampled"):
            out = q(io[f"{name}.latent{kind}"].flatten(2))
            assert torch.equal(out.ids, io[f"{name}.ids{kind}"].flatten(2).long())
    assert torch.allclose(out.z_q, q.decode(out.ids))
    assert torch.allclose(q(io["s0.latent"].flatten(2)).z_q, io["s0.dequantized"].flatten(2), atol=5e-5)
    line = build("dimension_wise", dim=1)(io["grid"].view(1, 1, -1))
    assert torch.equal(line.ids.flatten(), io["grid_ids"].long())
    assert torch.allclose(line.z_q.flatten(), io["grid_dequantized"], atol=5e-5)


def test_authors_cubid():
    io = load_io(reference_folder("image", "cubid"))
    q = build("dimension_wise", dim=48, levels=8, low=-9.0, high=9.0)
    assert torch.allclose(q.table, io["reconstruction_values"], atol=2e-6)
    out = q(io["latent"].flatten(2))
    assert torch.equal(out.ids, io["ids"].flatten(2).long())
    assert torch.allclose(out.z_q, io["dequantized"].flatten(2), atol=1e-5)
    line = build("dimension_wise", dim=1, levels=8, low=-9.0, high=9.0)(io["grid"].view(1, 1, -1))
    assert torch.equal(line.ids.flatten(), io["grid_ids"].long())


def _fit_on_rank(rank: int, store: str, results: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    part = (3 + 2 * latents(6, 4, 50)).split([5, 1])[rank]
    q = build("dimension_wise", dim=4).fit(part)
    torch.save(q.state_dict(), f"{results}.{rank}")
    torch.distributed.destroy_process_group()


def test_fit_over_two_ranks_equals_fit_on_all(tmp_path):
    store, results = str(tmp_path / "store"), str(tmp_path / "state")
    torch.multiprocessing.spawn(_fit_on_rank, (store, results), nprocs=2)
    whole = build("dimension_wise", dim=4).fit(3 + 2 * latents(6, 4, 50)).state_dict()
    for rank in range(2):
        state = torch.load(f"{results}.{rank}", weights_only=True)
        for name in whole:
            assert torch.allclose(state[name], whole[name], atol=1e-6)
