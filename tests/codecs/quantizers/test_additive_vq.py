"""Additive quantization and beam search. Run: pytest tests/codecs/quantizers/test_additive_vq.py"""

import itertools

import numpy as np
import pytest
import torch
from quantizer_checks import check_contract, check_gradient, check_mask, latents
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.quantizers import build


def trained(kind="additive_vq", **config):
    q = build(kind, **({"dim": 6, "num_codebooks": 3, "codebook_size": 5} | config)).train()
    q(latents(8, 6, 40))
    return q.eval()


def correlated(count, dim, seed):
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(dim, dim, generator=torch.Generator().manual_seed(9))
    return torch.randn(count, dim, generator=g) @ mix


def distances(q, z, ids):
    return (q.decode(ids) - z).double().square().sum(1)  # [B, L]


def test_a_beam_of_all_sequences_is_the_exhaustive_search():
    q, z = trained(beam=5**3), latents(2, 6, 9)
    tables = [level.codebook.embed.detach().double().numpy() for level in q.stack.levels]
    rows = z.double().numpy().transpose(0, 2, 1).reshape(-1, 6)
    sums = {ids: sum(t[i] for t, i in zip(tables, ids, strict=True)) for ids in itertools.product(range(5), repeat=3)}
    best = [min(sums, key=lambda ids, row=row: ((row - sums[ids]) ** 2).sum()) for row in rows]
    assert np.array_equal(q.encode(z).permute(0, 2, 1).reshape(-1, 3).numpy(), np.array(best))


@pytest.mark.parametrize("kind", ["additive_vq", "residual_vq"])
def test_contract(kind):
    q, z = trained(kind, beam=4), latents(3, 6, 20)
    check_contract(q, z)
    check_gradient(q, z)
    if kind == "additive_vq":
        check_mask(q, z)


@pytest.mark.parametrize("config", [{}, {"codebook_dim": 3, "normalize": True}])
def test_wider_beams_of_a_residual_stack_come_nearer_with_the_same_tables(config):
    config = {"num_codebooks": 4, "codebook_size": 16} | config
    greedy, z = trained("residual_vq", **config), latents(4, 6, 50, seed=5)
    errors = [distances(greedy, z, greedy.encode(z)).mean()]
    for beam in (1, 4, 16):
        q = build("residual_vq", dim=6, beam=beam, **config).eval()
        q.load_state_dict(greedy.state_dict())
        errors.append(distances(q, z, q.encode(z)).mean())
        assert q.encode(z, num_codebooks=2).shape == (4, 2, 50)
        assert beam > 1 or torch.equal(q.encode(z), greedy.encode(z))
    assert errors[0] == errors[1] > 1.01 * errors[2] and errors[2] >= errors[3]


def test_statistics_of_a_beam_are_those_of_its_residuals():
    q = build("residual_vq", dim=6, num_codebooks=2, codebook_size=5, beam=4, decay=0.0, replace_below=0.0).train()
    q(latents(8, 6, 40))
    tables = [level.codebook.embed.clone() for level in q.levels]
    z = latents(2, 6, 30, seed=4)
    ids = q.eval().encode(z)
    q.train()(z)
    rows, at = z.transpose(1, 2).flatten(0, 1), ids.transpose(0, 1).flatten(1)
    left = rows
    for k, level in enumerate(q.levels):
        for code in at[k].unique():
            torch.testing.assert_close(level.codebook.embed[code], left[at[k] == code].mean(0), atol=1e-4, rtol=1e-3)
        left = left - tables[k][at[k]]


def test_training_lowers_the_error():
    q, x = trained(codebook_size=16), correlated(2000, 6, 0).T[None]
    q = build("additive_vq", dim=6, num_codebooks=3, codebook_size=16).train()
    q(x)
    before = distances(q.eval(), x, q.encode(x)).mean()
    optimizer = torch.optim.Adam(q.train().parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        q(x).loss.backward()
        optimizer.step()
    after = distances(q.eval(), x, q.encode(x)).mean()
    print(f"error {before:.3f} -> {after:.3f}")
    assert after < 0.95 * before


def test_fit_is_nearer_than_residual_quantization_at_equal_bits():
    x, other = correlated(3000, 8, 0), correlated(1000, 8, 1)
    additive = build("additive_vq", dim=8, num_codebooks=3, codebook_size=32)
    error = additive.fit(x)
    residual = build("residual_vq", dim=8, num_codebooks=3, codebook_size=32, kmeans_iterations=30).train()
    residual(x.T[None])
    both = additive, residual.eval()
    seen, unseen = ([float(distances(q, z.T[None], q.encode(z.T[None])).mean().detach()) / 8 for q in both] for z in (x, other))
    print(f"squared error {seen[0]:.4f} beside {seen[1]:.4f} of residual tables, on unseen rows {unseen[0]:.4f} beside {unseen[1]:.4f}")
    assert error == pytest.approx(seen[0], rel=1e-4)
    assert seen[0] < 0.85 * seen[1] and unseen[0] < 0.9 * unseen[1]
    check_contract(additive, latents(2, 8, 12), compiled=False)


def test_refused():
    with pytest.raises(ValueError, match="at least codebook_size = 256 features"):
        build("additive_vq", dim=6).fit(torch.zeros(10, 6))
    with pytest.raises(ConfigError, match="beam is 0"):
        build("additive_vq", dim=6, beam=0)
    with pytest.raises(ConfigError, match="beam is 2; it is 1 or more, and 1 with product tables or strides"):
        build("residual_vq", dim=6, num_codebooks=2, beam=2, strides=(2, 1))
