"""LFQ against NumPy, the authors' Open-MAGVIT2 and vector-quantize-pytorch."""

import math

import numpy as np
import pytest
import torch
from quantizer_checks import check_contract, check_gradient, check_mask, check_small, latents
from reference import load_io, reference_folder
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.quantizers import build


def plain_loss(z: np.ndarray, scale: float, temperature: float) -> tuple[float, float, float]:
    """Mean squared distance, entropy of a position, entropy of the mean, over all 2^b codes; z `[N, b]`."""
    b = z.shape[1]
    signs = 2.0 * ((np.arange(2**b)[:, None] >> np.arange(b)[::-1]) & 1) - 1
    energy = 2 * z @ (scale * signs).T / temperature
    p = np.exp(energy - energy.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    logs = [-(q * np.log(np.maximum(q, 1e-300))).sum(-1).mean() for q in (p, p.mean(0))]
    nearest = scale * signs[energy.argmax(1)]
    return float(((z - nearest) ** 2).mean()), *map(float, logs)


def test_equals_plain_reference():
    q = build("lfq", bits=8, entropy_temperature=0.7, entropy_weight=0.3, diversity_gamma=1.5, commitment_weight=0.2)
    z = latents(2, 8, 60)
    out = q(z)
    rows = z.transpose(1, 2).reshape(-1, 8).double().numpy()
    commitment, position, codes = plain_loss(rows, 1.0, 0.7)
    assert math.isclose(float(out.metrics["commitment"]), commitment, rel_tol=1e-5)
    assert math.isclose(float(out.metrics["position_entropy"]), position, rel_tol=1e-5)
    assert math.isclose(float(out.metrics["code_entropy"]), codes, rel_tol=1e-5)
    assert math.isclose(out.loss.item(), 0.2 * commitment + 0.3 * (position - 1.5 * codes), rel_tol=1e-5)
    bits = (z.numpy() > 0).astype(np.int64)
    assert np.array_equal(out.ids[:, 0].numpy(), (bits * 2 ** np.arange(7, -1, -1)[:, None]).sum(1))
    assert np.array_equal(out.z_q.detach().numpy(), 2.0 * bits - 1)


@pytest.mark.parametrize(
    "config",
    [
        {"bits": 18},
        {"bits": 18, "bit_order": "lsb", "group_bits": 9},
        {"bits": 10, "dim": 24},
        {"bits": 48, "entropy": "grouped"},
        {"bits": 5, "entropy": "none"},
    ],
)
def test_contract(config):
    torch.manual_seed(0)
    q = build("lfq", **config)
    z = latents(3, q.dim, 40)
    check_contract(q, z)
    check_gradient(q, z)
    check_mask(q, z)


def test_zero_is_a_zero_bit():
    q = build("lfq", bits=3)
    assert q.encode(torch.zeros(1, 3, 1)).item() == 0
    assert q.encode(torch.full((1, 3, 1), -0.0)).item() == 0


def test_entropy_gradient_decides_positions_and_spreads_codes():
    z = torch.tensor([[[0.02, 0.03, 0.01, 0.05]]]).expand(1, 8, 4).clone().requires_grad_()
    q = build("lfq", bits=8, commitment_weight=0.0, entropy_temperature=0.1, diversity_gamma=0.0)
    q(z).loss.backward()
    assert (z.grad < 0).all(), "a descent step must move undecided positive channels away from 0"
    z.grad = None
    build("lfq", bits=8, commitment_weight=0.0, entropy_temperature=0.1, diversity_gamma=10.0)(z).loss.backward()
    assert (z.grad > 0).all(), "all positions have the same code: diversity must push towards the other bits"


def test_training_uses_all_codes():
    """Latents that begin in one corner spread over the 16 codes under the entropy loss, and stay without it."""
    used = {}
    for weight in (0.0, 1.0):
        q = build("lfq", bits=4, entropy_weight=weight, entropy_temperature=1.0, commitment_weight=0.1)
        z = (0.5 + 0.1 * latents(4, 4, 64)).requires_grad_()
        optimizer = torch.optim.Adam([z], lr=0.02)
        for _ in range(150):
            optimizer.zero_grad()
            q(z).loss.backward()
            optimizer.step()
        used[weight] = len(q.encode(z.detach()).unique())
    assert used[0.0] == 1
    assert used[1.0] == 16


def test_sizes():
    for bits in (32, 64, 256):
        check_small("lfq", bits=bits, entropy="grouped")
    with pytest.raises(ConfigError, match="grouped"):
        build("lfq", bits=32)
    with pytest.raises(ConfigError, match="bits"):
        build("lfq", bits=300, entropy="analytic")


@pytest.mark.parametrize("dim", [8, 20])
def test_equals_vector_quantize_pytorch(dim):
    peer_class = pytest.importorskip("vector_quantize_pytorch").LFQ
    torch.manual_seed(0)
    peer = peer_class(
        dim=dim, codebook_size=256, entropy_loss_weight=0.1, commitment_loss_weight=0.25, diversity_gamma=1.3
    )
    q = build("lfq", bits=8, dim=dim, diversity_gamma=1.3, entropy_temperature=0.5)
    if dim != 8:
        q.in_proj.load_state_dict(peer.project_in.state_dict())
        q.out_proj.load_state_dict(peer.project_out.state_dict())
    z = latents(2, dim, 400)
    z[..., 0] = 0.0  # both take 0 as a 0 bit
    (z_q, ids, loss), parts = peer.train()(z.transpose(1, 2), inv_temperature=2.0, return_loss_breakdown=True)
    out = q(z)
    assert torch.equal(out.ids[:, 0], ids.long())
    assert torch.allclose(out.z_q, z_q.transpose(1, 2), atol=1e-5)
    # the peer's entropies cut probabilities off at 1e-5
    assert math.isclose(float(out.metrics["position_entropy"]), parts.per_sample_entropy.item(), rel_tol=1e-3)
    assert math.isclose(float(out.metrics["code_entropy"]), parts.batch_entropy.item(), rel_tol=1e-3)
    assert math.isclose(out.loss.item(), loss.item(), abs_tol=2e-3)


def test_authors_lfq():
    io = load_io(reference_folder("image", "open-magvit2"))
    q = build("lfq", bits=10, bit_order="lsb")
    for name in ("s0", "s1"):
        z = io[f"{name}.latent"].flatten(2)
        assert torch.equal(q.encode(z)[:, 0], io[f"{name}.ids"].flatten(1).long())
        assert torch.equal(q(z).z_q, io[f"{name}.quantized"].flatten(2))
