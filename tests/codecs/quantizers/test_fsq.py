"""FSQ: five conventions against NumPy, three authors and vector-quantize-pytorch.

Run: pytest tests/codecs/quantizers/test_fsq.py
"""

import json
import math

import numpy as np
import pytest
import torch
from quantizer_checks import check_contract, check_gradient, check_small, latents
from reference import load_io, reference_folder
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.quantizers import build

CASES = [
    ("fsq", (8, 5, 4, 3)),
    ("nemo", (8, 7, 4, 6)),
    ("nemo", (2, 3)),
    ("stable", (6, 5, 2)),
    ("symmetric", (4, 3, 2)),
    ("s3", (3,) * 8),
]


def plain_fsq(z: np.ndarray, levels: tuple[int, ...], convention: str) -> tuple[np.ndarray, np.ndarray]:
    """Latents `[B, n, L]` to values and ids, channel by channel in float64."""
    values, ids, place = np.zeros_like(z, dtype=np.float64), np.zeros((z.shape[0], z.shape[2]), dtype=np.int64), 1
    for i, v in enumerate(levels):
        x = z[:, i].astype(np.float64)
        o = 0.5 if v % 2 == 0 else 0.0
        if convention == "fsq":
            h = (v - 1) * 1.001 / 2
            digit = np.round(h * np.tanh(x + np.arctanh(o / h)) - o) + v // 2
        elif convention == "nemo":
            h = (v - 1) * 0.999 / 2
            digit = np.round(h * np.tanh(x + np.tan(o / h)) - o) + v // 2
        elif convention == "stable":
            digit = np.round((np.tanh(x) + 1) * (v - 1) / 2)
        elif convention == "symmetric":
            digit = np.floor((np.tanh(x) + 1) * (v - 1) / 2 + 0.5)
        else:
            digit = np.round(0.9990000128746033 * np.tanh(x)) + 1
        about_zero = convention in ("fsq", "nemo", "s3")
        values[:, i] = (digit - v // 2) / (v // 2) if about_zero else 2 * digit / (v - 1) - 1
        ids += digit.astype(np.int64) * place
        place *= v
    return values, ids


@pytest.mark.parametrize(("convention", "levels"), CASES)
def test_equals_plain_reference(convention, levels):
    q = build("fsq", levels=levels, convention=convention)
    z = latents(2, len(levels), 300, scale=1.5)
    out = q(z)
    values, ids = plain_fsq(z.numpy(), levels, convention)
    assert np.array_equal(out.ids[:, 0].numpy(), ids)
    assert np.allclose(out.z_q.numpy(), values, atol=1e-6)


@pytest.mark.parametrize(("convention", "levels"), CASES)
@pytest.mark.parametrize("dim", [0, 16])
def test_contract(convention, levels, dim):
    torch.manual_seed(0)
    q = build("fsq", levels=levels, convention=convention, dim=dim)
    assert q.num_codebooks == 1
    check_contract(q, latents(3, q.dim, 40))
    check_gradient(q, latents(3, q.dim, 40))


def test_every_id_decodes_and_comes_back():
    for convention, levels in CASES:
        q = build("fsq", levels=levels, convention=convention)
        ids = torch.arange(math.prod(levels)).view(1, 1, -1)
        assert torch.equal(q.grid.pack(q.grid.unpack(ids)), ids)
        z_q = q.decode(ids)[0].T
        assert len(torch.unique(z_q, dim=0)) == len(z_q)


def test_gradient_is_that_of_the_bound():
    q = build("fsq", levels=(8, 5))
    z = latents(1, 2, 9).requires_grad_()
    q(z).z_q.sum().backward()
    v = np.array([[8.0], [5.0]])
    h, o = (v - 1) * 1.001 / 2, np.array([[0.5], [0.0]])
    expected = h * (1 - np.tanh(z.detach().numpy() + np.arctanh(o / h)) ** 2) / (v // 2)
    assert np.allclose(z.grad.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("convention", "levels"), CASES)
def test_digits_change_exactly_at_the_half_steps(convention, levels):
    """Around every threshold of every channel, 1e-4 to either side, the digit changes by one."""
    q = build("fsq", levels=levels, convention=convention)
    for i, v in enumerate(levels):
        o, shift, h = 0.0, 0.0, (v - 1) / 2
        if convention in ("fsq", "nemo"):
            o = 0.5 if v % 2 == 0 else 0.0
            h *= 1.001 if convention == "fsq" else 0.999
            shift = math.atanh(o / h) if convention == "fsq" else math.tan(o / h)
        if convention == "s3":
            h = 0.9990000128746033
        middle = (v - 1) / 2 if convention in ("stable", "symmetric") else v // 2
        edges = np.arctanh((np.arange(v - 1) + 0.5 - middle + o) / h) - shift
        z = torch.zeros(1, len(levels), 2 * (v - 1))
        z[0, i, ::2], z[0, i, 1::2] = (torch.tensor(edges + d) for d in (-1e-4, 1e-4))
        digits = q.grid.unpack(q.encode(z))[0, i]
        assert digits.tolist() == [d for k in range(v - 1) for d in (k, k + 1)], (convention, v)


def test_ids_of_nemos_suite():
    """The first of five items that NVIDIA-NeMo/NeMo's test_fsq_output states for levels 3 and 4."""
    z = torch.tensor([
        [0.1483, -0.3855, -0.3715, -0.5913, -0.2212, -0.4226, -0.4864, -1.6069],
        [-0.5519, -0.5307, -0.5995, -1.9675, -0.4439, 0.3938, -0.5636, -0.3655],
    ])  # fmt: skip
    ids = build("fsq", levels=(3, 4), convention="nemo").encode(z[None])
    assert ids.tolist() == [[[4, 4, 4, 0, 4, 7, 4, 3]]]


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_two_levels_as_nemo_rounds_them(groups):
    """Values -1 and 0, as likely as a channel lies below or above -tan(0.5 / 0.4995)."""
    q = build("grouped_fsq", levels=(2, 3), num_groups=groups, convention="nemo")
    z = latents(2, 2 * groups, 300, scale=2.0)
    out = q(z)
    high = z[:, ::2] > -math.tan(0.5 / 0.4995)
    assert 0.05 < float(high.float().mean()) < 0.95
    assert torch.equal(out.z_q[:, ::2], high.float() - 1)
    assert torch.equal(out.ids % 2, high.long()) and out.ids.max() == 5
    with pytest.raises(ConfigError, match="3 to 1000"):
        build("fsq", levels=(2, 3), convention="fsq")


def test_half_steps():
    """z = 0 with an even number of levels is an exact tie: `stable` rounds to even, `symmetric` up."""
    zero = torch.zeros(1, 2, 1)
    assert build("fsq", levels=(4, 6), convention="stable").encode(zero).item() == 2 + 4 * 2
    assert build("fsq", levels=(4, 6), convention="symmetric").encode(zero).item() == 2 + 4 * 3


def test_large_grids_are_split_and_cost_nothing():
    q = check_small("fsq", levels=(4,) * 16)
    assert q.codebook_sizes == (4**9, 4**7)
    check_contract(q, latents(2, 16, 30, scale=2))
    assert check_small("fsq", levels=(8, 8, 8, 5, 5, 5)).codebook_sizes == (64000,)
    assert check_small("fsq", levels=(1000,) * 8).num_codebooks == 8


def test_noise_dropout_leaves_ids_alone():
    torch.manual_seed(0)
    q = build("fsq", levels=(17,) * 6, convention="stable", noise_dropout=0.5).train()
    z = latents(400, 6, 5)
    out = q(z)
    assert torch.equal(out.ids, q.encode(z))
    soft, hard = torch.tanh(z), q.decode(out.ids)
    rounded = (out.z_q == hard).all(dim=(1, 2))
    passed = torch.isclose(out.z_q, soft).all(dim=(1, 2)) & ~rounded
    noisy = ~rounded & ~passed
    for part, share in ((rounded, 0.25), (passed, 0.25), (noisy, 0.5)):
        assert abs(float(part.float().mean()) - share) < 0.08
    noise = (out.z_q - soft)[noisy] / (2 / 16)  # in levels
    assert noise.abs().max() <= 0.5 + 1e-4
    assert abs(float(noise.std()) - 12**-0.5) < 0.01
    assert torch.equal(q.eval()(z).z_q, hard)


@pytest.mark.parametrize(
    "config",
    [
        {"levels": ()},
        {"levels": (2, 5)},
        {"levels": (1001,)},
        {"levels": (4, 3), "convention": "s3"},
        {"levels": (5, 5), "noise_dropout": 0.5},
        {"levels": (5, 5), "dim": 3, "project": False},
    ],
)
def test_wrong_settings_are_named(config):
    with pytest.raises(ConfigError, match=r"levels|noise_dropout|project"):
        build("fsq", **config)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("dim", [4, 12])
def test_equal_ids_with_vector_quantize_pytorch(symmetric, dim):
    peer_class = pytest.importorskip("vector_quantize_pytorch").FSQ
    torch.manual_seed(0)
    peer = peer_class(levels=[8, 5, 5, 6], dim=dim, preserve_symmetry=symmetric).eval()
    q = build("fsq", levels=(8, 5, 5, 6), dim=dim, convention="symmetric" if symmetric else "fsq")
    if dim != 4:
        copy_projections(peer, q)
    z = latents(2, dim, 500, scale=2)
    z[..., 0] = 0.0  # exact half-steps of `symmetric`: both take floor(u + 1/2) of the same number
    z_q, ids = peer(z.transpose(1, 2))
    assert torch.equal(q.encode(z)[:, 0], ids.long())
    assert torch.allclose(q.decode(q.encode(z)), z_q.transpose(1, 2), atol=1e-6)


def copy_projections(peer: torch.nn.Module, q: torch.nn.Module) -> None:
    """Give `q` the projections of a peer that calls them `project_in` and `project_out`."""
    q.in_proj.load_state_dict(peer.project_in.state_dict())
    q.out_proj.load_state_dict(peer.project_out.state_dict())


@pytest.mark.parametrize(("system", "channel_axis"), [("cosmos-di", 1), ("flextok", 2)])
def test_authors_fsq(system, channel_axis):
    io = load_io(reference_folder("image", system))
    q = build("fsq", levels=(8, 8, 8, 5, 5, 5))
    for name in ("s0.", "s1.") if system == "cosmos-di" else ("",):
        z, z_q = (io[name + key].movedim(channel_axis, 1).flatten(2) for key in ("latent", "quantized"))
        assert torch.equal(q.encode(z)[:, 0], io[name + "ids"].flatten(1).long())
        assert torch.allclose(q(z).z_q, z_q, atol=1e-6)


def test_authors_dithered_fsq():
    folder = reference_folder("audio", "stable-codec-fsq")
    io, settings = load_io(folder), json.loads((folder / "config.json").read_text())
    for name in ("x_b1", "x_b2"):
        for i, kwargs in enumerate(settings["fsq"]):
            q = build("fsq", levels=kwargs["levels"], convention="stable")
            out = q(io[f"{name}.input"].transpose(1, 2)[:, : len(kwargs["levels"])])
            place = torch.tensor([1, *q.codebook_sizes[:-1]]).cumprod(0).unsqueeze(-1)  # one id in the original
            assert torch.equal((out.ids * place).sum(1), io[f"{name}.fsq{i}.ids"][..., 0])
            assert torch.allclose(out.z_q, io[f"{name}.fsq{i}.quantized"].transpose(1, 2), atol=1e-6)


@pytest.mark.parametrize("scale", [2.0, 0.5])
def test_scale_stretches_the_grid(scale):
    """Values run from -scale to scale; below 1 the squashed latents outside take the last level."""
    q, z = build("fsq", levels=(6, 5), convention="stable", scale=scale), latents(2, 2, 200, scale=1.5)
    out = q(z)
    v = np.array([6, 5])[:, None]
    digit = np.clip(np.round((np.tanh(z.double().numpy()) + scale) * (v - 1) / (2 * scale)), 0, v - 1)
    assert np.array_equal(out.ids[:, 0].numpy(), (digit * [[1], [6]]).sum(1))
    assert np.allclose(out.z_q.numpy(), 2 * scale * digit / (v - 1) - scale, atol=1e-6)
    check_contract(q, z)
    check_gradient(q, z)
    with pytest.raises(ConfigError, match="scale"):
        build("fsq", levels=(6, 5), scale=scale)
