"""Multi-scale BSQ against NumPy and the authors' Infinity autoencoder."""

import math

import numpy as np
import pytest
import torch
from quantizer_checks import check_contract, check_gradient, check_small, latents
from reference import load_io, reference_folder
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.quantizers import build

SCALES = [(1, 1), (2, 2), (4, 4)]


def plain_resize(n_in: int, n_out: int, mode: str) -> np.ndarray:
    """Matrix `[n_out, n_in]` of one axis: mean of the area covered, or linear between pixel centres."""
    m = np.zeros((n_out, n_in))
    for i in range(n_out):
        if mode == "area":
            a, b = math.floor(i * n_in / n_out), math.ceil((i + 1) * n_in / n_out)
            m[i, a:b] = 1 / (b - a)
        else:
            x = max((i + 0.5) * n_in / n_out - 0.5, 0.0)
            low = min(int(x), n_in - 1)
            m[i, low] += 1 - (x - low)
            m[i, min(low + 1, n_in - 1)] += x - low
    return m


def test_equals_plain_reference():
    q = build("multiscale_bsq", bits=5, scales=[(1, 1), (2, 3), (4, 6)])
    z = latents(2, 5, 24)
    out = q(z)
    residual, total, at = z.double().numpy().reshape(2, 5, 4, 6), 0, 0
    for h, w in ((1, 1), (2, 3), (4, 6)):
        small = np.einsum("ij,bcjk,lk->bcil", plain_resize(4, h, "area"), residual, plain_resize(6, w, "area"))
        bits = (small > 0).astype(np.int64)
        ids = (bits * 2 ** np.arange(4, -1, -1)[:, None, None]).sum(1).reshape(2, -1)
        assert np.array_equal(out.ids[:, 0, at : at + h * w].numpy(), ids)
        code = (2 * bits - 1) / math.sqrt(5)
        up = np.einsum("ij,bcjk,lk->bcil", plain_resize(h, 4, "linear"), code, plain_resize(w, 6, "linear"))
        residual, total, at = residual - up, total + up, at + h * w
    assert np.allclose(out.z_q.detach().numpy(), total.reshape(2, 5, 24), atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        {"bits": 12},
        {"bits": 32, "upsample": "bicubic"},
        {"bits": 16, "dim": 20, "upsample": "nearest"},
        {"bits": 8, "normalize": False, "code_value": 1.0, "growth": 0.5},
    ],
)
def test_contract(config):
    torch.manual_seed(0)
    q = check_small("multiscale_bsq", scales=SCALES, **config)
    z = latents(3, q.dim, 16)
    check_contract(q, z)
    check_gradient(q, z)
    assert q.encode(z).shape == (3, q.num_codebooks, 21)


def test_codes_of_each_scale_are_so_many_times_as_long_as_the_last():
    q = build("multiscale_bsq", bits=4, scales=SCALES, normalize=False, code_value=1.0, growth=0.5, upsample="nearest")
    z = latents(2, 4, 16)
    ids, before = q.encode(z), 0
    for length, end in ((1.0, 1), (0.5, 5), (0.25, 21)):
        total = q.decode(ids[..., :end], grid=(4, 4))
        assert torch.equal((total - before).abs(), torch.full_like(total, length))
        before = total
    out = q(z)
    assert torch.equal(out.ids, ids) and out.loss.isfinite()
    with pytest.raises(ConfigError, match="positive size"):
        build("multiscale_bsq", bits=4, scales=SCALES, growth=0.0)


def test_other_grids_stretch_the_schedule():
    q = build("multiscale_bsq", bits=8, scales=SCALES)
    assert q.schedule((8, 4)) == ((2, 1), (4, 2), (8, 4))
    z = latents(2, 8, 32)
    check_contract(q, z, grid=(8, 4))
    assert q.encode(z, grid=(8, 4)).shape == (2, 1, 2 + 8 + 32)
    with pytest.raises(ValueError, match="grid"):
        q.encode(z)


def test_first_scales_decode_alone():
    q = build("multiscale_bsq", bits=8, scales=[(1, 1), (2, 2), (4, 4), (4, 4), (4, 4)])
    z = 0.6 * latents(2, 8, 16)
    ids = q.encode(z)
    errors = [float((q.decode(ids[..., :n]) - z).square().mean()) for n in (1, 5, 21, 37, 53)]
    assert errors[2] < errors[0], errors
    for n in (0, 2, 20, 60):
        with pytest.raises(ValueError, match=r"positions"):
            q.decode(torch.zeros(1, 1, n, dtype=torch.int64) if n else ids[..., :3])


def test_every_scale_gives_a_gradient():
    full = build("multiscale_bsq", bits=8, scales=SCALES)
    last = build("multiscale_bsq", bits=8, scales=SCALES[-1:])
    z = latents(2, 8, 16).requires_grad_()
    small = torch.nn.functional.interpolate(z.unflatten(2, (4, 4)), size=(1, 1), mode="area")
    unit = torch.nn.functional.normalize(small, dim=1).expand(2, 8, 4, 4).flatten(2)
    ours = check_gradient(build("multiscale_bsq", bits=8, scales=[(1, 1), (4, 4)]), z.detach())
    weight = latents(2, 8, 16, seed=7)
    (coarse,) = torch.autograd.grad((unit * weight).sum(), z)
    residual = (z - q_up(unit)).detach().requires_grad_()
    (fine,) = torch.autograd.grad((torch.nn.functional.normalize(residual, dim=1) * weight).sum(), residual)
    assert torch.allclose(ours, coarse + fine, atol=1e-4)
    assert not torch.allclose(check_gradient(full, z.detach()), check_gradient(last, z.detach()), atol=1e-3)


def q_up(unit: torch.Tensor) -> torch.Tensor:
    """The code of a 1 x 1 scale at full size."""
    return torch.where(unit > 0, 8**-0.5, -(8**-0.5))


def test_masked_positions_do_not_count():
    q = build("multiscale_bsq", bits=8, scales=[(4, 4)])
    z = latents(2, 8, 16)
    mask = torch.arange(16).view(1, 16) < torch.tensor([[9], [12]])
    noisy = torch.where(mask.unsqueeze(1), z, 5 * z.flip(0) + 1)
    assert torch.equal(q(z, mask=mask).loss, q(noisy, mask=mask).loss)
    assert not torch.equal(q(z).loss, q(noisy).loss)
    assert torch.isfinite(build("multiscale_bsq", bits=8, scales=SCALES)(z, mask=mask).loss)


def test_wrong_settings_are_named():
    for bad in ([], [(0, 1)]):
        with pytest.raises(ConfigError, match="scales"):
            build("multiscale_bsq", bits=8, scales=bad)


def test_authors_infinity():
    io = load_io(reference_folder("image", "infinity-vae"))
    q = build("multiscale_bsq", bits=12, scales=[(1, 1), (2, 2), (4, 4), (6, 6), (8, 8)])
    out = q(io["latent"].flatten(2))
    bits = torch.cat([io[f"bits.scale{i}"].flatten(1, 3).transpose(1, 2) for i in range(5)], dim=2)
    assert torch.equal(q.unpack(out.ids).long(), bits)
    assert torch.allclose(out.z_q, io["quantized"].flatten(2), atol=1e-6)
    assert torch.allclose(q.decode(out.ids), io["quantized_from_ids"].flatten(2), atol=1e-6)
    ends = np.cumsum([1, 4, 16, 36])
    for i, (end, scale) in enumerate(zip(ends, ((2, 2), (4, 4), (6, 6), (8, 8))), start=1):
        running = q.decode(out.ids[..., :end]).unflatten(2, (8, 8))
        small = torch.nn.functional.interpolate(running, size=scale, mode="area")
        assert torch.allclose(small, io[f"next_input.scale{i}"].squeeze(2), atol=1e-6)
