"""Residual levels: values, prefixes, strides, maps, dropout, gradients of every level.

    pytest tests/codecs/quantizers/test_residual_vq.py
"""

import copy

import numpy as np
import pytest
import torch
from quantizer_checks import check_contract, check_gradient, check_mask, latents
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.quantizers import build
from tokenzoo.codecs.quantizers.product_vq import ProductVQ
from vector_quantize_pytorch import ResidualVQ as PeerResidualVQ

FORMS = {
    "plain": {},
    "gradient": {"update": "gradient"},
    "dac": {"codebook_dim": 3, "normalize": True, "update": "gradient"},
    "widths": {"codebook_dim": (5, 3, 2, 4), "normalize": True, "update": "gradient"},
    "normalized": {"codebook_dim": 3, "normalize": True, "returns": "normalized", "update": "gradient"},
    "rotation": {"codebook_dim": 3, "gradient": "rotation"},
    "shared map": {"codebook_dim": 4, "projection": "shared", "proj_bias": False, "gradient": "rotation"},
    "mimi": {"codebook_dim": 4, "projection": "shared", "proj_bias": False, "split_first": True},
    "split dac": {"codebook_dim": 3, "split_first": 2, "update": "gradient"},
    "moss": {"codebook_dim": 3, "stack_dim": 5, "normalize": True, "update": "gradient"},
    "shared table": {"shared_codebook": True},
    "snac": {"strides": (4, 2, 1, 1), "codebook_dim": 3, "normalize": True, "update": "gradient"},
    "strides": {"strides": (4, 2, 1, 1)},
    "sizes": {"codebook_size": (31, 7, 20, 12)},
    "split widths": {"codebook_dim": (5, 3, 2, 4), "split_first": 2, "update": "gradient"},
    "longcat": {"product": 2, "codebook_size": 5, "codebook_dim": 3, "normalize": True, "update": "gradient"},
}
STRIDED = ("snac", "strides")


def quantizer(**config):
    """Four levels; tables drawn smaller from level to level, so that every level has something to do."""
    torch.manual_seed(1)
    defaults = {"dim": 6, "num_codebooks": 4, "codebook_size": 24, "kmeans_init": False}
    q = build("residual_vq", **(defaults | config))
    with torch.no_grad():
        for i, book in enumerate(q.codebooks()):
            book.embed.copy_(torch.randn_like(book.embed) * 0.7**i)
            if hasattr(book, "sums"):
                book.sums.copy_(book.embed)
    return q


def one(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def down_up(q):
    """The maps around a stack, NumPy functions."""

    def of(proj):
        if proj is None:
            return lambda x: x
        w = proj.weight.detach().double().numpy()
        b = 0 if proj.bias is None else proj.bias.detach().double().numpy()
        return lambda x: x @ w.T + b

    return of(q.in_proj), of(q.out_proj)


def plain_table(level, left):
    """One table on rows `[N, D]`: ids, what it gives `[N, D or part]`, commitment."""
    c = level.config
    down, up = down_up(level)
    p, table = down(left), level.codebook.embed.detach().double().numpy()
    a, b = (one(p), one(table)) if c.normalize else (p, table)
    ids = ((a[:, None] - b) ** 2).sum(-1).argmin(1)
    if c.returns == "normalized":
        p, table = one(p), one(table)
    return ids, up(table[ids]), ((p - table[ids]) ** 2).mean()


def plain(q, z):
    """The stack step by step in NumPy, on `[B, L, D]`: ids `[B, K, L]`, values, sum of commitments."""
    if q.config.split_first:
        (i, v, c), (j, w, d) = plain(q.first, z), plain(q.rest, z)
        return np.concatenate([i, j], 1), v + w, c + d
    down, up = down_up(q)
    left = down(z)
    total, all_ids, commitment = 0.0, [], 0.0
    for level, s in zip(q.levels, q.strides or (1,) * len(q.levels), strict=True):
        batch, length, dim = left.shape
        rows = left.reshape(batch, length // s, s, dim).mean(2).reshape(-1, dim)
        if isinstance(level, ProductVQ):
            parts = [plain_table(t, rows) for t in level.tables]
            ids = parts[0][0] * level.tables[1].codebook.size + parts[1][0]
            value, c = np.concatenate([p[1] for p in parts], 1), np.mean([p[2] for p in parts])
        else:
            ids, value, c = plain_table(level, rows)
        value = value.reshape(batch, -1, dim).repeat(s, axis=1)
        left, total = left - value, total + value
        all_ids.append(ids.reshape(batch, -1).repeat(s, axis=1))
        commitment += c
    return np.stack(all_ids, 1), up(total), commitment


@pytest.mark.parametrize("name", FORMS)
def test_equals_plain_reference(name):
    q, z = quantizer(**FORMS[name]).eval(), latents(2, 6, 16)
    out = q(z)
    ids, values, commitment = plain(q, z.double().numpy().transpose(0, 2, 1))
    assert np.array_equal(out.ids.numpy(), ids)
    np.testing.assert_allclose(out.z_q.detach().numpy().transpose(0, 2, 1), values, atol=1e-5)
    assert out.loss.item() == pytest.approx((0.25 + (q.config.update == "gradient")) * commitment, rel=1e-4)
    assert len(np.unique(ids[:, -1])) > 2, "the case is too easy"


@pytest.mark.parametrize("name", [n for n in FORMS if n not in STRIDED])
def test_contract(name):
    q, z = quantizer(**FORMS[name]), latents(3, 6, 16)
    check_contract(q, z, compiled=name in ("plain", "dac", "widths", "mimi", "longcat"))
    check_gradient(q, z)
    check_mask(q, z)


@pytest.mark.parametrize("name", STRIDED)
def test_strided_levels(name):
    q, z = quantizer(**FORMS[name]).eval(), latents(3, 6, 16)
    out = q(z)
    assert torch.equal(out.ids, q.encode(z))
    assert torch.equal(out.z_q, q.decode(out.ids))
    assert torch.equal(out.ids, torch.cat([q.encode(x[None]) for x in z]))
    for k, s in enumerate((4, 2, 1, 1)):
        groups = out.ids[:, k].unflatten(1, (-1, s))
        assert (groups == groups[..., :1]).all()
    check_gradient(q, z)
    assert torch.equal(torch.compile(lambda x: q.encode(x), fullgraph=True, backend="aot_eager")(z), out.ids)
    with pytest.raises(ValueError, match="multiple of all strides"):
        q.encode(z[..., :14])


@pytest.mark.parametrize("name", FORMS)
def test_any_prefix_decodes_and_encodes(name):
    q, z = quantizer(**FORMS[name]).eval(), latents(2, 6, 16)
    ids = q.encode(z)
    errors = []
    for k in range(1, 5):
        assert torch.equal(q.encode(z, num_codebooks=k), ids[:, :k])
        errors.append((q.decode(ids[:, :k]) - z).square().mean().item())
    assert len(set(errors)) == 4
    with pytest.raises(ValueError, match="1 to 4"):
        q.encode(z, num_codebooks=5)


def test_widths_per_level():
    """Maps and tables as the authors of DAC make them for a list of widths; the same width four times is one width."""
    q = quantizer(**FORMS["widths"])
    shapes = [(level.in_proj.weight.shape, level.codebook.embed.shape, level.out_proj.weight.shape) for level in q.levels]
    assert shapes == [((d, 6), (24, d), (6, d)) for d in (5, 3, 2, 4)]
    q, z = quantizer(codebook_dim=(3, 3, 3, 3), normalize=True).eval(), latents(2, 6, 16)
    assert torch.equal(q.encode(z), quantizer(codebook_dim=3, normalize=True).eval().encode(z))


def test_ids_of_vector_quantize_pytorch():
    q, z = quantizer(codebook_size=64).eval(), latents(2, 6, 100)
    peer = PeerResidualVQ(dim=6, num_quantizers=4, codebook_size=64).eval()
    for mine, theirs in zip(q.levels, peer.layers, strict=True):
        theirs._codebook.embed.data.copy_(mine.codebook.embed)
    z_q, ids, _ = peer(z.transpose(1, 2))
    out = q(z)
    assert torch.equal(out.ids.transpose(1, 2), ids)
    torch.testing.assert_close(out.z_q, z_q.transpose(1, 2), atol=1e-5, rtol=1e-5)


# --- gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMS)
def test_every_level_pulls_at_the_latents(name):
    """A known bug elsewhere: with straight-through results subtracted, all levels but the first have no gradient."""
    q = quantizer(**FORMS[name])
    z = latents(2, 6, 16).transpose(1, 2).contiguous().requires_grad_()
    out = q.terms(z, q.search(z.detach(), 4))
    assert len(out.commitment) == 4
    for k in range(4):
        (grad,) = torch.autograd.grad(out.commitment[k], z, retain_graph=True)
        assert grad.abs().mean() > 1e-5, f"level {k}"


def test_gradient_of_each_commitment_is_that_of_its_residual():
    q = quantizer()
    z = latents(1, 6, 5).transpose(1, 2).contiguous().requires_grad_()
    ids = q.search(z.detach(), 4)
    out = q.terms(z, ids)
    left = z.detach()
    for k, level in enumerate(q.levels):
        left = left - level.decode_rows(ids[k].flatten()).view_as(left)
        (grad,) = torch.autograd.grad(out.commitment[k], z, retain_graph=True)
        torch.testing.assert_close(grad, 2 * left / left.numel(), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", ["plain", "shared table", "strides"])
def test_straight_through_once_around_the_sum(name):
    q, z = quantizer(**FORMS[name]).eval(), latents(2, 6, 16).requires_grad_()
    weight = latents(2, 6, 16, seed=5)
    (q(z).z_q * weight).sum().backward()
    torch.testing.assert_close(z.grad, weight)


def test_maps_in_levels_do_not_multiply_the_gradient():
    """With maps that span the same space, K straight-through levels added up would give K times the gradient."""
    q = quantizer(codebook_dim=6, update="gradient").eval()
    for level in q.levels:
        for proj in (level.in_proj, level.out_proj):
            torch.nn.init.eye_(proj.weight)
            torch.nn.init.zeros_(proj.bias)
    z, weight = latents(2, 6, 5).requires_grad_(), latents(2, 6, 5, seed=5)
    (q(z).z_q * weight).sum().backward()
    torch.testing.assert_close(z.grad, weight, atol=1e-5, rtol=1e-4)
    # and do not take it away from the commitments of later levels either
    rows = z.detach().transpose(1, 2).contiguous().requires_grad_()
    out = q.terms(rows, q.search(rows.detach(), 4))
    for k in range(4):
        (grad,) = torch.autograd.grad(out.commitment[k], rows, retain_graph=True)
        assert grad.abs().mean() > 1e-3, f"level {k}"


@pytest.mark.parametrize("name", ["dac", "widths", "snac", "longcat", "mimi", "moss"])
def test_all_parameters_learn(name):
    q = quantizer(**FORMS[name])
    out = q(latents(4, 6, 64).requires_grad_())
    (out.loss + (out.z_q * latents(4, 6, 64, seed=2)).sum()).backward()
    for key, p in q.named_parameters():
        assert p.grad is not None, key
        assert p.grad.abs().sum() > 0, key


# --- training ---------------------------------------------------------------------------------------------------------


def test_dropout_gives_items_their_prefix():
    q, z = quantizer(dropout=1.0).train(), latents(64, 6, 8)
    q.freeze()  # tables as they are, so that decode afterwards sees the same
    out = q(z)
    counts = []
    for item in range(64):
        fits = [k for k in range(1, 5) if torch.equal(out.z_q[item], q.decode(out.ids[item : item + 1, :k])[0])]
        assert len(fits) == 1
        counts.append(fits[0])
    assert set(counts) == {1, 2, 3, 4}
    assert torch.equal(out.ids, q.encode(z)), "all levels always run"
    q = quantizer(dropout=0.0).train().freeze()
    assert torch.equal(q(z).z_q, q.decode(q.encode(z)))


def test_dropped_levels_take_no_part_in_losses_and_statistics():
    q = quantizer(update="gradient")
    z = latents(3, 6, 8).transpose(1, 2).contiguous()
    kept = torch.tensor([[True] * 3, [True, False, True], [False, False, True], [False, False, False]])
    ids = q.search(z, 4)
    some, whole = q.terms(z, ids, kept=kept), q.terms(z, ids)
    assert some.commitment[0] == whole.commitment[0]
    assert some.commitment[3] == 0
    alone = q.terms(z[2:], ids[:, 2:])
    torch.testing.assert_close(some.commitment[2], alone.commitment[2] / 3)
    q = quantizer().train()
    q.search(z, 4, kept=kept, update=True)
    assert [sum(len(r) for r in book._rows) for book in q.codebooks()] == [24, 16, 8, 0]


def test_shared_table_changes_once_after_all_levels():
    q, z = quantizer(shared_codebook=True, decay=0.5, replace_below=0.0).train(), latents(2, 6, 16)
    ids_before = q.encode(z)
    sums, counts = q.codebook.sums.clone(), q.codebook.counts.clone()
    out = q(z)
    assert torch.equal(out.ids, ids_before), "a level saw the table change"
    left = z.transpose(1, 2).reshape(-1, 6)
    table = (sums / counts[:, None]).clone()
    new_sums, new_counts = 0.5 * sums, 0.5 * counts
    for k in range(4):
        at = out.ids[:, k].flatten()
        new_sums.index_add_(0, at, 0.5 * left)
        new_counts += 0.5 * torch.bincount(at, minlength=24)
        left = left - table[at]
    torch.testing.assert_close(q.codebook.counts, new_counts)
    torch.testing.assert_close(q.codebook.embed, new_sums / new_counts[:, None], atol=1e-5, rtol=1e-4)
    assert [k for k in q.state_dict() if k.endswith("embed")] == ["codebook.embed"]


def test_copies_share_their_own_table():
    """Running averages of weights deep-copy the model."""
    q = quantizer(shared_codebook=True).eval()
    twin, z = copy.deepcopy(q), latents(1, 6, 16)
    with torch.no_grad():
        twin.codebook.embed.mul_(-1)
    assert torch.equal(q.encode(z), q.encode(z)) and not torch.equal(twin.encode(z), q.encode(z))
    assert all(level.codebook is twin.codebook for level in twin.levels)


@pytest.mark.parametrize("batches", [1, 2])
def test_levels_start_one_after_the_other(batches):
    q = build("residual_vq", dim=6, num_codebooks=3, codebook_size=16, kmeans_batches=batches, decay=0.9).train()
    errors, ready = [], []
    for step in range(3 * batches + 20):
        z = latents(8, 6, 64, seed=step)
        errors.append((q(z).z_q - z).square().mean().item())
        ready.append([book.is_ready() for book in q.codebooks()].count(True))
    assert ready[:5] == ([3] * 5 if batches == 1 else [0, 1, 2, 3, 3])
    assert all(book.is_ready() for book in q.codebooks())
    assert errors[-1] < 0.35
    z = latents(8, 6, 64, seed=99)
    ids = q.eval().encode(z)
    falling = [(q.decode(ids[:, :k]) - z).square().mean().item() for k in (1, 2, 3)]
    assert falling[0] > falling[1] > falling[2]


def test_parts_can_be_frozen():
    """Mimi's recipes train the acoustic levels beside a finished semantic one."""
    q = quantizer(**FORMS["mimi"]).train()
    q.first.freeze()
    before = {k: v.clone() for k, v in q.state_dict().items()}
    q(latents(2, 6, 16))
    for key, value in q.state_dict().items():
        changed = not torch.equal(value, before[key])
        assert changed == (key.startswith("rest.") and "proj" not in key and "ready" not in key), key
    q = quantizer().train()
    q.levels[2].freeze()
    before = {k: v.clone() for k, v in q.state_dict().items()}
    q(latents(2, 6, 16))
    changed = {k.split(".")[1] for k, v in q.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"0", "1", "3"}


@pytest.mark.parametrize("name", ["plain", "dac", "widths", "mimi", "longcat", "shared table"])
def test_a_model_cast_to_bfloat16_still_works(name):
    """Tables are rounded, arithmetic stays in float32; training runs."""
    q = quantizer(**FORMS[name] | {"kmeans_init": True, "replace_below": 0.3}).bfloat16().train()
    for step in range(3):
        out = q(latents(4, 6, 32, seed=step).bfloat16().requires_grad_())
        (out.loss + out.z_q.float().sum()).backward()
    q.eval()
    z = latents(2, 6, 16).bfloat16()
    assert torch.equal(q(z).ids, q.encode(z))
    assert torch.equal(q(z).z_q, q.decode(q.encode(z)).bfloat16())


def test_all_frozen():
    q = quantizer().train()
    q.freeze()
    before = {k: v.clone() for k, v in q.state_dict().items()}
    q(latents(2, 6, 16))
    assert all(torch.equal(v, before[k]) for k, v in q.state_dict().items())
    assert all(level.frozen for level in q.levels)


def test_errors():
    for bad, text in [
        ({"codebook_size": (3, 4)}, "4 .num_codebooks"),
        ({"codebook_dim": (3, 4)}, "4 .num_codebooks"),
        ({"codebook_dim": (3, 4, 0, 2)}, "positive"),
        ({"codebook_dim": (3, 4, 1, 2), "projection": "shared"}, "one width"),
        ({"codebook_dim": (3, 4, 1, 2), "shared_codebook": True}, "one width"),
        ({"strides": (2, 1)}, "strides"),
        ({"shared_codebook": True, "codebook_size": (1, 2, 3, 4)}, "one codebook_size"),
        ({"shared_codebook": True, "split_first": True}, "exclude"),
        ({"dropout": 1.5}, "probability"),
        ({"product": 2, "projection": "shared", "codebook_dim": 2}, "separate tables and maps"),
        ({"num_codebooks": 1, "split_first": True}, "needs more"),
    ]:
        with pytest.raises(ConfigError, match=text):
            quantizer(**bad)
