"""One table: values, gradients, and how the table starts, moves and stays alive.

    pytest tests/codecs/quantizers/test_vq.py
"""

import numpy as np
import pytest
import torch
from quantizer_checks import check_contract, check_gradient, check_mask, latents
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.quantizers import build
from tokenzoo.codecs.quantizers.base import codebook_size_of
from tokenzoo.codecs.quantizers.bsq import BSQConfig
from tokenzoo.codecs.quantizers.parts.clustering import kmeans
from tokenzoo.codecs.quantizers.parts.codebook import apply_updates
from tokenzoo.codecs.quantizers.residual_vq import ResidualVQConfig
from tokenzoo.codecs.quantizers.vq import VQConfig
from vector_quantize_pytorch import VectorQuantize

FORMS = [
    {},
    {"update": "gradient"},
    {"normalize": True},
    {"normalize": True, "returns": "normalized", "update": "gradient"},
    {"codebook_dim": 3, "normalize": True, "update": "gradient"},
    {"codebook_dim": 3, "normalize": True, "returns": "normalized", "gradient": "rotation", "proj_bias": False},
    {"gradient": "rotation"},
    {"returns": "unit", "update": "gradient"},
]


def quantizer(**config):
    """A table with vectors of different lengths, no k-means."""
    torch.manual_seed(1)
    q = build("vq", **({"dim": 6, "codebook_size": 40, "kmeans_init": False} | config))
    with torch.no_grad():
        q.codebook.embed.copy_(torch.randn_like(q.codebook.embed) * (0.5 + torch.rand(q.codebook.size, 1)))
        q.codebook.sums.copy_(q.codebook.embed) if hasattr(q.codebook, "sums") else None
    return q


def plain(q, z):
    """Ids, values and terms in NumPy: `[N]`, `[N, D]`, commitment, of latents `[B, D, L]`."""
    c = q.config
    rows = z.double().numpy().transpose(0, 2, 1).reshape(-1, z.shape[1])
    table = q.codebook.embed.detach().double().numpy()

    def maps(proj, x):
        if proj is None:
            return x
        bias = 0 if proj.bias is None else proj.bias.detach().double().numpy()
        return x @ proj.weight.detach().double().numpy().T + bias

    def one(x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    p = maps(q.in_proj, rows)
    a, b = (one(p), one(table)) if c.normalize else (p, table)
    ids = ((a[:, None] - b) ** 2).sum(-1).argmin(1)
    if c.returns != "raw":
        p, table = one(p), one(table)
    return ids, maps(q.out_proj, table[ids]), ((p - table[ids]) ** 2).mean()


@pytest.mark.parametrize("form", FORMS)
def test_equals_plain_reference(form):
    q, z = quantizer(**form).eval(), latents(2, 6, 9)
    out = q(z)
    ids, values, commitment = plain(q, z)
    assert np.array_equal(out.ids.numpy().ravel(), ids)
    np.testing.assert_allclose(out.z_q.detach().numpy().transpose(0, 2, 1).reshape(-1, 6), values, atol=1e-6)
    weight = 0.25 + (q.config.update == "gradient")
    assert out.loss.item() == pytest.approx(weight * commitment, rel=1e-5)
    assert out.metrics["commitment"].item() == pytest.approx(commitment, rel=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_contract(form):
    q, z = quantizer(**form), latents(3, 6, 30)
    check_contract(q, z, compiled=form in (FORMS[0], FORMS[5]))
    check_gradient(q, z)
    check_mask(q, z)


@pytest.mark.parametrize("cosine", [False, True])
def test_ids_of_vector_quantize_pytorch(cosine):
    q = quantizer(normalize=cosine, returns="normalized" if cosine else "raw")
    peer = VectorQuantize(dim=6, codebook_size=40, use_cosine_sim=cosine).eval()
    peer._codebook.embed.data.copy_(torch.nn.functional.normalize(q.codebook.embed, dim=1) if cosine else q.codebook.embed)
    z = latents(4, 6, 100)
    z_q, ids, _ = peer(z.transpose(1, 2))
    out = q.eval()(z)
    assert torch.equal(out.ids[:, 0], ids)  # 400 random vectors: no near-tie among them
    torch.testing.assert_close(out.z_q, z_q.transpose(1, 2))


# --- gradients --------------------------------------------------------------------------------------------------------


def test_straight_through_is_the_identity():
    q, z = quantizer(), latents(2, 6, 5).requires_grad_()
    weight = latents(2, 6, 5, seed=3)
    (q.eval()(z).z_q * weight).sum().backward()
    assert torch.equal(z.grad, weight)


def test_rotation_turns_gradients_with_the_vectors():
    """The angle between gradient and latent becomes that between the incoming gradient and the code; lengths scale."""
    q, z = quantizer(gradient="rotation").eval(), latents(2, 6, 5).requires_grad_()
    out, weight = q(z), latents(2, 6, 5, seed=3)
    assert torch.equal(out.z_q, q.decode(out.ids))
    (out.z_q * weight).sum().backward()
    scale = out.z_q.norm(dim=1) / z.norm(dim=1)
    torch.testing.assert_close(z.grad.norm(dim=1), scale * weight.norm(dim=1))
    cosine = torch.nn.functional.cosine_similarity
    torch.testing.assert_close(cosine(z.grad, z, dim=1), cosine(weight, out.z_q, dim=1), atol=1e-5, rtol=1e-4)
    # and as automatic differentiation of the map itself has it
    z0, e0 = z.detach()[0, :, 0], out.z_q.detach()[0, :, 0]
    u, v = z0 / z0.norm(), e0 / e0.norm()
    r = (u + v) / (u + v).norm()
    turn = (e0.norm() / z0.norm()) * (torch.eye(6) - 2 * torch.outer(r, r) + 2 * torch.outer(v, u))
    torch.testing.assert_close(turn @ z0, e0)
    torch.testing.assert_close(z.grad[0, :, 0], turn.T @ weight[0, :, 0], atol=1e-5, rtol=1e-4)


def test_each_term_moves_its_own_side():
    q, z = quantizer(update="gradient", codebook_weight=0.0), latents(2, 6, 5).requires_grad_()
    q(z).loss.backward()
    assert z.grad.abs().sum() > 0
    assert q.codebook.embed.grad.abs().sum() == 0
    q, z = quantizer(update="gradient", commitment_weight=0.0), latents(2, 6, 5).requires_grad_()
    q(z).loss.backward()
    assert z.grad.abs().sum() == 0
    assert q.codebook.embed.grad.abs().sum() > 0


def test_maps_get_gradients():
    q, z = quantizer(codebook_dim=3, normalize=True, update="gradient"), latents(2, 6, 9).requires_grad_()
    out = q(z)
    (out.z_q * latents(2, 6, 9, seed=4)).sum().backward()
    for p in (q.in_proj.weight, q.in_proj.bias, q.out_proj.weight, q.out_proj.bias):
        assert p.grad.abs().sum() > 0
    # the map up is an ordinary linear layer for the optimizer
    w = q.out_proj.weight.grad.clone()
    q.out_proj.weight.grad = None
    rows = q.codebook.vectors(out.ids[:, 0]).detach() @ q.out_proj.weight.T + q.out_proj.bias
    (rows.transpose(1, 2) * latents(2, 6, 9, seed=4)).sum().backward()
    torch.testing.assert_close(q.out_proj.weight.grad, w, atol=1e-5, rtol=1e-4)


# --- the table --------------------------------------------------------------------------------------------------------


def test_ema_step_equals_plain_reference():
    q, z = quantizer(decay=0.8, replace_below=0.0).train(), latents(2, 6, 60)
    sums, counts = q.codebook.sums.double().numpy().copy(), q.codebook.counts.double().numpy().copy()
    ids, _, _ = plain(q, z)
    rows = z.double().numpy().transpose(0, 2, 1).reshape(-1, 6)
    mask = torch.rand(2, 60) < 0.7
    q(torch.where(mask[:, None], z, 9.0), mask=mask)
    kept = mask.numpy().ravel()
    for code in range(40):
        chosen = rows[kept & (ids == code)]
        sums[code] = 0.8 * sums[code] + 0.2 * chosen.sum(0)
        counts[code] = 0.8 * counts[code] + 0.2 * len(chosen)
    np.testing.assert_allclose(q.codebook.counts.numpy(), counts, rtol=1e-5)
    np.testing.assert_allclose(q.codebook.embed.numpy(), sums / counts[:, None], rtol=1e-4, atol=1e-6)


def test_a_step_right_after_kmeans_leaves_the_centres():
    """A known bug elsewhere: sums set to the mean instead of count x mean, so that the next step destroys the start."""
    centres = 5 * torch.randn(16, 6)
    z = (centres.repeat(20, 1) + 0.05 * torch.randn(320, 6)).T.unsqueeze(0)
    q = build("vq", dim=6, codebook_size=16, kmeans_iterations=30).train()
    q(z)  # starts from k-means, then makes the step
    assert q.usage().item() > 0.5
    after = q.codebook.embed.clone()
    q(z)
    torch.testing.assert_close(q.codebook.embed, after, atol=1e-5, rtol=1e-5)
    # the step of the first call did not move them either
    ids = q.encode(z).flatten()
    rows = z[0].T
    means = torch.stack([rows[ids == k].mean(0) for k in ids.unique()])
    torch.testing.assert_close(q.codebook.embed[ids.unique()], means, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("returns", ["raw", "normalized"])
@pytest.mark.parametrize("decay, steps", [(0.99, 1), (0.5, 8)])  # the start, and the running means
def test_means_are_taken_where_results_live(returns, decay, steps):
    """Looked up by angle, a code returned as it is stored must have the length of its rows; otherwise length 1."""
    q = build("vq", dim=6, codebook_size=8, normalize=True, returns=returns, decay=decay).train()
    z = (torch.randn(8, 6).repeat(30, 1) * 5 + 0.01 * torch.randn(240, 6)).T[None]
    for _ in range(steps):
        out = q(z)
    aim = z if returns == "raw" else torch.nn.functional.normalize(z, dim=1)
    assert (out.z_q - aim).square().mean() < 0.3 * aim.square().mean()
    torch.testing.assert_close(out.z_q.norm(dim=1).mean(), aim.norm(dim=1).mean(), atol=0, rtol=0.2)


def test_kmeans_waits_for_its_batches_and_finds_clusters():
    centres = 5 * torch.randn(8, 6)
    q = build("vq", dim=6, codebook_size=8, kmeans_batches=3, kmeans_iterations=20, replace_below=0.0).train()
    start = q.codebook.embed.clone()
    batches = [(centres[torch.randint(8, (64,))] + 0.01 * torch.randn(64, 6)).T.unsqueeze(0) for _ in range(3)]
    for z in batches[:2]:
        q(z)
        assert torch.equal(q.codebook.embed, start)
        assert not q.codebook.ready
    q(batches[2])
    assert q.codebook.ready
    assert q.codebook.counts.sum().item() == pytest.approx(64)  # rows of one step, not of all three
    assert (q(batches[0]).z_q - batches[0]).square().mean() < 0.1 * batches[0].var()
    again = build("vq", dim=6, codebook_size=8, kmeans_batches=3)
    again.load_state_dict(q.state_dict())
    again.train()(batches[1])  # a loaded table does not start again
    assert (again.codebook.embed - q.codebook.embed).abs().max() < 0.5


def test_kmeans_equals_plain_lloyd():
    rows = torch.randn(200, 3)
    centres, counts = kmeans([rows], 10, iterations=5, space=lambda x: x, seed=4)
    x = rows.double().numpy()
    c = x[torch.randperm(200, generator=torch.Generator().manual_seed(4))[:10].numpy()]
    for _ in range(5):
        ids = ((x[:, None] - c) ** 2).sum(-1).argmin(1)
        c = np.stack([x[ids == k].mean(0) for k in range(10)])
    np.testing.assert_allclose(centres.numpy(), c, atol=1e-5)
    assert np.array_equal(counts.numpy(), np.bincount(ids, minlength=10))


def collapsing_run(steps=150, **config):
    """64 clusters, a table whose codes all start in one corner of them. Returns share of codes used in the last steps."""
    torch.manual_seed(0)
    q = build("vq", dim=4, codebook_size=64, decay=0.9, kmeans_init=False, **config).train()
    clusters = 4 * torch.randn(64, 4)
    with torch.no_grad():
        q.codebook.embed.copy_(clusters[:6].repeat(11, 1)[:64] + 40 * (torch.arange(64)[:, None] >= 6))
        if config.get("update") != "gradient":
            q.codebook.sums.copy_(q.codebook.embed)
    shares = []
    for step in range(steps):
        z = (clusters[torch.randint(64, (1024,))] + 0.3 * torch.randn(1024, 4)).T.unsqueeze(0)
        ids = q(z).ids
        if step == 0 or step == steps - 1:
            shares.append(len(ids.unique()) / 64)
    return shares


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_dead_codes_come_back_only_with_replacement(update):
    start, end = collapsing_run(update=update, replace_below=0.1)
    assert start <= 0.11
    assert end >= 0.95
    start, end = collapsing_run(update=update, replace_below=0.0)
    assert start <= 0.11
    assert end <= 0.11


def test_replacement_resets_embed_sums_and_counts_together():
    """A known bug elsewhere: the new vector alone is set, and the old sums overwrite it a step later."""
    q, z = quantizer(replace_below=0.5, decay=0.9).train(), latents(1, 6, 50)
    book = q.codebook
    book.counts.fill_(1e-3)
    book.counts[:4] = 50.0
    book.sums.copy_(book.embed * book.counts[:, None])
    ids = q(z).ids
    unused = torch.tensor([k for k in range(4, 40) if k not in ids])
    assert len(unused) > 5
    to_rows = (book.embed[unused][:, None] - z[0].T).norm(dim=2)
    assert (to_rows.min(dim=1).values < 1e-5).all(), "an unused code was not moved to a row"
    assert len(to_rows.argmin(dim=1).unique()) == len(unused), "two codes were moved to the same row"
    torch.testing.assert_close(book.sums, book.embed * book.counts[:, None], atol=1e-5, rtol=1e-4)
    before = book.embed.clone()
    apply_updates([book])  # nothing was observed: nothing moves
    assert torch.equal(before, book.embed)


def test_unused_codes_stay_where_they_are():
    """Sums and counts fade together, for thousands of steps, without ever dividing 0 by 0."""
    q = quantizer(replace_below=0.0, decay=0.5).train()
    far = 100 + torch.randn(6)
    with torch.no_grad():
        q.codebook.embed[0] = q.codebook.sums[0] = far
    for _ in range(200):
        q(latents(1, 6, 8))
    torch.testing.assert_close(q.codebook.embed[0], far)
    assert torch.isfinite(q.codebook.embed).all()


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_frozen_tables_do_not_change(update):
    q, z = quantizer(update=update, replace_below=0.5).train(), latents(2, 6, 9)
    q.freeze()
    before = {k: v.clone() for k, v in q.state_dict().items()}
    for _ in range(3):
        x = z.clone().requires_grad_()
        q(x).z_q.square().sum().backward()
        assert x.grad.abs().sum() > 0
    assert all(torch.equal(v, before[k]) for k, v in q.state_dict().items())
    q.freeze(False)(z)
    assert not torch.equal(q.codebook.counts, before["codebook.counts"])


def test_evaluation_changes_nothing():
    q, z = quantizer().train(), latents(2, 6, 9)
    before = {k: v.clone() for k, v in q.state_dict().items()}
    q.encode(z)
    q.eval()(z)
    assert all(torch.equal(v, before[k]) for k, v in q.state_dict().items())


def test_embed_alone_loads():
    """Converters of other projects' files bring `embed`; the statistics start from it and k-means does not overwrite it."""
    q = build("vq", dim=6, codebook_size=40)
    embed = torch.randn(40, 6)
    q.load_state_dict({"codebook.embed": embed}, strict=True)
    assert q.codebook.is_ready()
    assert torch.equal(q.codebook.sums, embed)
    with pytest.raises(RuntimeError, match="embed"):
        q.load_state_dict({}, strict=True)


def test_no_graph_is_kept_in_the_state():
    q = quantizer(replace_below=0.5).train()
    for _ in range(3):
        q(latents(1, 6, 9).requires_grad_()).loss.backward()
    assert not any(b.requires_grad or b.grad_fn for b in q.buffers())
    assert not q.codebook._rows


def test_errors():
    with pytest.raises(ConfigError, match="normalize"):
        build("vq", dim=4, returns="normalized")
    with pytest.raises(ConfigError, match="decay"):
        build("vq", dim=4, decay=1.0)
    with pytest.raises(ConfigError, match="codebok_size"):
        build("vq", dim=4, codebok_size=3)
    q = quantizer()
    with pytest.raises(ValueError, match=r"takes latents \[B, D=6, L\]"):
        q(torch.randn(2, 9, 6))
    with pytest.raises(ValueError, match="outside its vocabulary 0..39"):
        q.decode(torch.full((1, 1, 3), 40))


def test_the_size_of_a_codebook_is_that_of_kinds_with_one_size():
    assert codebook_size_of(VQConfig(codebook_size=40)) == 40
    for config in (BSQConfig(), ResidualVQConfig(num_codebooks=2, codebook_size=(8, 4))):
        with pytest.raises(ConfigError, match=f"{config.kind!r} has no single codebook_size"):
            codebook_size_of(config)
