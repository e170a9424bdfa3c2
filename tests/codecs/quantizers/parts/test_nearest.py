"""The search for the nearest code: its definition, ties, blocks, memory. Run: pytest tests/codecs/quantizers/parts/test_nearest.py"""

import subprocess
import sys

import numpy as np
import pytest
import torch
from tokenzoo.codecs.quantizers.parts import nearest
from tokenzoo.codecs.quantizers.parts.nearest import _Search, largest_dot, nearest_code, row_sum, unit


def plain(z, codes, dot=False):
    """The definition in NumPy, float64, first of equals."""
    z, codes = z.double().numpy()[:, None], codes.double().numpy()
    return (-(z * codes).sum(-1) if dot else ((z - codes) ** 2).sum(-1)).argmin(1)


@pytest.mark.parametrize(
    "num, size, dim", [(1, 1, 1), (3, 5, 2), (300, 1000, 8), (700, 40, 33), (65, 3000, 16), (257, 2049, 5), (40, 1025, 100)]
)
def test_equals_numpy(num, size, dim):
    z, codes = torch.randn(num, dim), torch.randn(size, dim)
    assert np.array_equal(nearest_code(z, codes).numpy(), plain(z, codes))
    assert np.array_equal(largest_dot(z, codes).numpy(), plain(z, codes, dot=True))
    z, codes = unit(z), unit(codes)
    assert np.array_equal(nearest_code(z, codes).numpy(), plain(z, codes))


def near_ties(num, size, dim):
    """Vectors half-way between two codes up to the last bits, where any rounding of a product decides."""
    codes = torch.randn(size, dim)
    a, b = torch.randint(size, (num,)), torch.randint(size, (num,))
    codes[b] = codes[a] * (1 + 1e-6 * torch.randn(num, 1))
    return (codes[a] + codes[b]) / 2 * (1 + 1e-7 * torch.randn(num, dim)), codes


def test_near_ties_are_decided_exactly_whatever_the_block():
    """One float32 product gives other ids here, and other ones again for one vector alone."""
    z, codes = near_ties(600, 2000, 24)
    ids = nearest_code(z, codes)
    assert np.array_equal(ids.numpy(), plain(z, codes))
    naive = (z @ codes.t() - codes.square().sum(1) / 2).argmax(1)
    assert (naive != ids).any(), "the case is too easy"
    assert torch.equal(ids, torch.cat([nearest_code(x, codes) for x in z.split(1)]))
    assert torch.equal(ids, torch.cat([nearest_code(x, codes) for x in z.split(77)]))
    order = torch.randperm(len(z))
    assert torch.equal(ids[order], nearest_code(z[order], codes))
    wide = torch.stack([z, z], dim=2)[..., 0]
    assert not wide.is_contiguous()
    assert torch.equal(ids, nearest_code(wide, codes.t().contiguous().t()))


def test_equal_codes_give_the_first():
    z, codes = torch.randn(200, 6), torch.randn(30, 6).repeat(50, 1)
    ids = nearest_code(z, codes)
    assert ids.max() < 30
    assert np.array_equal(ids.numpy(), plain(z, codes))
    assert torch.equal(nearest_code(z, torch.ones(1500, 6)), torch.zeros(200, dtype=torch.int64))


@pytest.fixture
def pairs(monkeypatch):
    """Numbers of distances that the definition had to evaluate."""
    seen, cost = [], nearest._cost
    monkeypatch.setattr(nearest, "_cost", lambda z, *rest: seen.append(len(z)) or cost(z, *rest))
    return seen


def tables_with_ties(size, dim):
    """Tables as training leaves them: never used, half dead, half of it decayed by a moving average, nearly equal."""
    live, dead = torch.randn(size, dim), torch.randperm(size)[: size // 2]
    yield "zeros", torch.zeros(size, dim)
    yield "each twice", live[: size // 2].repeat(2, 1)
    for name, scale in (("dead", 0.0), ("decayed", 1e-35), ("small", 1e-9)):
        yield name, live.index_copy(0, dead, scale * torch.randn(len(dead), dim))
    yield "close", 1 + 1e-6 * live


@pytest.mark.parametrize("size", [1000, 1600])
def test_equal_and_nearly_equal_codes_are_not_compared_one_by_one(size, pairs):
    """The definition would evaluate hundreds of distances for each vector, in float64."""
    z = torch.randn(400, 16)
    z[:20, 3] = 0
    for name, codes in tables_with_ties(size, 16):
        pairs.clear()
        assert np.array_equal(nearest_code(z, codes).numpy(), plain(z, codes)), name
        assert sum(pairs) < 8 * len(z), name
        if name != "decayed":  # NumPy adds the same products in another order
            assert np.array_equal(largest_dot(z, codes).numpy(), plain(z, codes, dot=True)), name


def test_tiny_codes_and_vectors_are_told_apart(pairs):
    """Their squares are 0 in float32, and of some also in float64."""
    z, codes = torch.randn(300, 8), torch.randn(400, 8)
    for of_z, of_codes in ((1, 1e-20), (1e-20, 1e-20), (1e-30, 1e-12), (1e-38, 1e-38), (1e-3, 1e-40)):
        some, table = of_z * z, of_codes * codes
        some[::3, 1] = 0
        assert np.array_equal(nearest_code(some, table).numpy(), plain(some, table)), (of_z, of_codes)


def test_codes_closer_than_the_definition_can_tell():
    """Distances that are equal after rounding to float64 give the first code, though another one is nearer."""
    z, codes = 1 + torch.rand(300, 4), 1e-16 * torch.randn(500, 4)
    defined = row_sum((z.double().unsqueeze(1) - codes.double()).square()).argmin(1)
    assert torch.equal(nearest_code(z, codes), defined)


@pytest.mark.parametrize("threads", [2, 3])
def test_ids_do_not_depend_on_threads(threads):
    cases = [near_ties(num, size, dim) for num, size, dim in ((600, 2000, 24), (3000, 700, 5), (40, 3000, 8))]
    cases += [(torch.randn(700, 16), codes) for _, codes in tables_with_ties(1000, 16)]
    alone = [nearest_code(*case) for case in cases]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            assert all(torch.equal(nearest_code(*case), ids) for case, ids in zip(cases, alone, strict=True))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_codes_far_from_the_origin(monkeypatch):
    """Without moving the origin all differences between scores would drown in |e|^2, and every row be decided one by one."""
    slow, decide = [], _Search.decide
    monkeypatch.setattr(_Search, "decide", lambda self, z, *rest: slow.append(len(z)) or decide(self, z, *rest))
    codes = 1000 + torch.randn(1500, 8)
    z = 1000 + torch.randn(300, 8)
    assert np.array_equal(nearest_code(z, codes).numpy(), plain(z, codes))
    assert sum(slow) < 10
    z, codes = near_ties(300, 1500, 8)
    nearest_code(z, codes)
    assert sum(slow) > 100


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_low_precision_products_change_nothing(precision):
    z, codes = torch.randn(300, 16), torch.randn(1500, 16)
    try:
        torch.set_float32_matmul_precision(precision)
        assert np.array_equal(nearest_code(z, codes).numpy(), plain(z, codes))
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("size", [20, 2000])
def test_narrow_numbers_are_converted(size):
    z, codes = torch.randn(300, 8).bfloat16(), torch.randn(size, 8).half()
    assert torch.equal(nearest_code(z, codes), nearest_code(z.float(), codes.float()))


def test_odd_inputs():
    codes = torch.randn(2000, 8)
    z = torch.randn(300, 8)
    z[3], z[5, 0] = float("nan"), float("inf")
    ids = nearest_code(z, codes)
    assert int(ids.min()) >= 0 and int(ids.max()) < 2000
    assert np.array_equal(ids[6:].numpy(), plain(z[6:], codes))
    assert nearest_code(z[:0], codes).shape == (0,)
    assert nearest_code(z[:0], torch.randn(2**20, 8)).dtype == torch.int64


def test_memory_stays_far_below_the_distances():
    """1024 x 2^18 distances are 1 GiB."""
    code = """
import resource, torch
from tokenzoo.codecs.quantizers.parts.nearest import nearest_code
torch.set_num_threads(1)
z, codes = torch.randn(1024, 4), torch.randn(2**18, 4)
nearest_code(z[:300], codes[:3000])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ids = nearest_code(z, codes)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, int(ids.unique().numel()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment())
    grown, used = map(float, done.stdout.split())
    assert grown < 150
    assert used > 900


def _environment():
    import os

    return os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def test_row_sum_does_not_depend_on_the_other_rows():
    x = torch.randn(500, 37)
    assert torch.equal(row_sum(x), torch.stack([row_sum(r) for r in x]))
    assert torch.allclose(row_sum(x), x.sum(1), atol=1e-5)
    torch.testing.assert_close(unit(x).norm(dim=1), torch.ones(500))
    assert torch.isfinite(unit(torch.zeros(2, 3))).all()


def test_compiles_as_one_graph():
    z, codes = torch.randn(200, 8), torch.randn(600, 8)
    compiled = torch.compile(lambda a, b: nearest_code(2 * a, b) + 1, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(z, codes), nearest_code(2 * z, codes) + 1)
