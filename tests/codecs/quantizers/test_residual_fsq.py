"""Residual FSQ against NumPy, three authors and vector-quantize-pytorch."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from quantizer_checks import check_contract, check_gradient, check_small, latents
from reference import load_io, reference_folder
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.quantizers import build

CONVENTIONS = ["fsq", "symmetric", "stable"]


def plain_residual_fsq(
    z: np.ndarray, levels: tuple[int, ...], num: int, convention: str
) -> tuple[np.ndarray, np.ndarray]:
    """Latents `[B, n, L]` to values and ids `[B, K, L]` in float64."""
    v = np.array(levels, dtype=np.float64)[:, None]
    place = np.cumprod([1, *levels[:-1]])[:, None]
    o = np.where(v % 2 == 0, 0.5, 0.0)
    h = (v - 1) * 1.001 / 2

    def bound(x):
        return h * np.tanh(x + np.arctanh(o / h)) - o

    c = 1 + 1 / (v - 1)
    residual = {"fsq": bound, "stable": np.tanh, "symmetric": lambda x: c * np.tanh(x / c)}[convention](
        z.astype(np.float64)
    )
    total, ids = np.zeros_like(residual), []
    for k in range(num):
        s = v**-k if convention == "symmetric" else (v - 1) ** -k
        if convention == "fsq":
            digit = np.round(bound(residual / s)) + v // 2
            value = s * (digit - v // 2) / (v // 2)
        else:
            u = (np.clip(residual / s, -1, 1) + 1) * (v - 1) / 2
            digit = np.floor(u + 0.5) if convention == "symmetric" else np.round(u)
            value = s * (2 * digit / (v - 1) - 1)
        total, residual = total + value, residual - value
        ids.append((digit.astype(np.int64) * place).sum(1))
    return total, np.stack(ids, 1)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_equals_plain_reference(convention):
    levels = (5, 4, 3)
    q = build("residual_fsq", levels=levels, num_codebooks=3, convention=convention)
    z = latents(2, 3, 300)
    out = q(z)
    values, ids = plain_residual_fsq(z.numpy(), levels, 3, convention)
    assert (out.ids.numpy() == ids).mean() > 0.999  # float32 against float64, next to a half-step
    agree = (out.ids.numpy() == ids).all(1)[:, None].repeat(3, 1)
    assert np.allclose(out.z_q.numpy()[agree], values[agree], atol=1e-5)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("dim", [0, 16])
def test_contract(convention, dim):
    torch.manual_seed(0)
    q = build("residual_fsq", levels=(5, 4, 3), num_codebooks=3, convention=convention, dim=dim)
    z = latents(3, q.dim, 40)
    check_contract(q, z)
    check_gradient(q, z)
    assert torch.equal(q.encode(z, num_codebooks=2), q.encode(z)[:, :2])


@pytest.mark.parametrize("convention", ["symmetric", "stable"])
def test_prefixes_come_nearer(convention):
    q = build("residual_fsq", levels=(5,) * 4, num_codebooks=4, convention=convention)
    z = latents(2, 4, 200)
    ids, target = q.encode(z), q.squash(z)
    errors = [float((q.decode(ids[:, :k]) - target).square().mean()) for k in (1, 2, 3, 4)]
    assert all(b < 0.2 * a for a, b in itertools.pairwise(errors)), errors


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_gradient_does_not_grow_with_the_number_of_levels(convention):
    z = latents(2, 3, 20)
    gradients = [
        check_gradient(build("residual_fsq", levels=(5, 5, 5), num_codebooks=k, convention=convention), z)
        for k in (1, 4)
    ]
    assert torch.equal(*gradients)


def test_gradient_is_that_of_the_first_level():
    z = latents(2, 2, 20)
    weight, x = latents(2, 2, 20, seed=7).double(), z.double().requires_grad_()
    h, o, half = (torch.tensor([[a], [b]], dtype=torch.float64) for a, b in ((2.002, 1.5015), (0.0, 0.5), (2, 2)))
    c = 1 + torch.tensor([[0.25], [1 / 3]], dtype=torch.float64)

    def bound(x):
        return h * torch.tanh(x + torch.atanh(o / h)) - o

    soft = {"fsq": bound(bound(x)) / half, "symmetric": c * torch.tanh(x / c), "stable": torch.tanh(x)}
    for convention, path in soft.items():
        q = build("residual_fsq", levels=(5, 4), num_codebooks=2, convention=convention)
        (expected,) = torch.autograd.grad((path * weight).sum(), x, retain_graph=True)
        assert torch.allclose(check_gradient(q, z).double(), expected, atol=1e-5), convention


def test_stable_works_in_float64():
    """tanh(z) this close under a half-step is rounded onto it, and so to the other level, in float32."""
    q = build("residual_fsq", levels=(5,), num_codebooks=1)
    z = torch.nextafter(torch.tensor(math.atanh(0.25)), torch.tensor(0.0)).view(1, 1, 1)
    near = [z + k * 2**-26 for k in range(-8, 9)]
    exact = [2 + int(math.tanh(float(x)) > 0.25) for x in near]
    assert [q.encode(x).item() for x in near] == exact


def test_dropout_gives_the_value_of_a_prefix():
    torch.manual_seed(0)
    q = build("residual_fsq", levels=(3,) * 4, num_codebooks=4, dropout=0.5).train()
    z = latents(300, 4, 3)
    out = q(z)
    assert torch.equal(out.ids, q.encode(z))
    prefixes = torch.stack([(out.z_q == q.decode(out.ids[:, :k])).all(dim=(1, 2)) for k in (1, 2, 3, 4)])
    assert prefixes.any(0).all()
    assert (prefixes.float().mean(1)[:3] > 0.07).all()  # each near 1/8
    assert prefixes[3].float().mean() > 0.5


def test_explicit_scales_and_wrong_settings():
    q = build("residual_fsq", levels=(5,) * 6, num_codebooks=2, scales=(1.0, 0.25))
    z = latents(1, 6, 50)
    assert torch.equal(q.encode(z), build("residual_fsq", levels=(5,) * 6, num_codebooks=2).encode(z))
    other = build("residual_fsq", levels=(5,) * 6, num_codebooks=2, scales=(1.0, 0.2))
    assert not torch.equal(q.encode(z), other.encode(z))
    check_small("residual_fsq", levels=(8, 8, 8, 8, 8, 8), num_codebooks=16)
    for bad in ({"scales": (1.0,)}, {"levels": (8,) * 7}, {"dropout": 2.0}, {"num_codebooks": 0}):
        with pytest.raises(ConfigError, match=next(iter(bad))):
            build("residual_fsq", **bad)


@pytest.mark.parametrize("dim", [4, 12])
def test_equal_ids_with_vector_quantize_pytorch(dim):
    peer_class = pytest.importorskip("vector_quantize_pytorch").ResidualFSQ
    torch.manual_seed(0)
    peer = peer_class(levels=[8, 5, 5, 3], num_quantizers=3, dim=dim).eval()
    q = build("residual_fsq", levels=(8, 5, 5, 3), num_codebooks=3, convention="symmetric", dim=dim)
    if dim != 4:
        q.in_proj.load_state_dict(peer.project_in.state_dict())
        q.out_proj.load_state_dict(peer.project_out.state_dict())
    z = latents(2, dim, 500)
    z_q, ids = peer(z.transpose(1, 2))
    assert torch.equal(q.encode(z), ids.transpose(1, 2).long())
    assert torch.allclose(q.decode(q.encode(z)), z_q.transpose(1, 2), atol=1e-5)


@pytest.mark.parametrize("system", ["xcodec2", "neucodec"])
def test_authors_fsq_bounds_twice(system):
    from safetensors.torch import load_file

    folder = reference_folder("audio", system)
    io, weights = load_io(folder), load_file(folder / "weights.safetensors")
    prefix = "generator.quantizer.project_"
    state = {k.removeprefix(prefix).replace(".", "_proj."): v for k, v in weights.items() if k.startswith(prefix)}
    q = build("residual_fsq", levels=(4,) * 8, num_codebooks=1, convention="fsq", dim=64)
    q.load_state_dict(state, strict=True)
    for name in ("mult_b1", "odd_b1", "mult_b2"):
        z = io[f"{name}.latent"]
        assert torch.equal(q.encode(z), io[f"{name}.ids"].long())
        assert torch.allclose(q(z).z_q, io[f"{name}.quantized"], atol=5e-6)


def test_authors_residual_bottleneck():
    folder = reference_folder("audio", "stable-codec-fsq")
    io, settings = load_io(folder), json.loads((folder / "config.json").read_text())
    for name in ("x_b1", "x_b2"):
        for i, stages in enumerate(settings["residual"]):
            q = build("residual_fsq", levels=stages[0][0], num_codebooks=len(stages), scales=[s for _, s in stages])
            out = q(io[f"{name}.input"].transpose(1, 2))
            ids = torch.stack([io[f"{name}.residual{i}.ids_level{k}"][..., 0] for k in range(len(stages))], dim=1)
            assert torch.equal(out.ids, ids)
            assert torch.allclose(out.z_q, io[f"{name}.residual{i}.decoded"], atol=1e-6)


def test_stages_of_different_levels():
    q = build("residual_fsq", stages=((5, 5), (3, 4)), scales=(1.0, 0.25))
    assert q.codebook_sizes == (25, 12) and q.prefix_decodable
    z = latents(2, 2, 60)
    check_contract(q, z)
    check_gradient(q, z)
    wide = build("residual_fsq", stages=((600, 500), (3, 4)), scales=(1.0, 0.01))
    assert wide.codebook_sizes == (600, 500, 12) and not wide.prefix_decodable  # 300 000 codes: two ids
    out = wide(z)
    assert torch.equal(wide.decode(out.ids), out.z_q) and torch.equal(wide.encode(z), out.ids)
    assert float((out.z_q - z.tanh()).abs().max()) < 2 / 499
    for wrong in ({"scales": ()}, {"convention": "symmetric"}, {"stages": ((5, 5), (3,))}, {"scales": (1.0,)}):
        with pytest.raises(ConfigError, match="stages|scales"):
            build("residual_fsq", **({"stages": ((5, 5), (3, 4)), "scales": (1.0, 0.25)} | wrong))
