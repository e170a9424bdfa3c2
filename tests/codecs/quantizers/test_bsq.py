"""BSQ against NumPy, the authors' BSQ-ViT and FocalCodec, and vector-quantize-pytorch."""

import math

import numpy as np
import pytest
import torch
from quantizer_checks import check_contract, check_gradient, check_mask, check_small, latents
from reference import load_io, reference_folder
from tokenzoo.codecs.quantizers import build


def test_equals_plain_reference():
    q = build("bsq", bits=6, entropy="analytic", entropy_temperature=0.3, commitment_weight=0.2, entropy_weight=0.3)
    z = latents(2, 6, 60)
    out = q(z)
    rows = z.transpose(1, 2).reshape(-1, 6).double().numpy()
    u = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    code = np.where(u > 0, 1, -1) / math.sqrt(6)
    p = 1 / (1 + np.exp(-4 * u / math.sqrt(6) / 0.3))

    def entropy(p):
        return -(p * np.log(p) + (1 - p) * np.log(1 - p))

    commitment = ((u - code) ** 2).sum(1).mean()
    position, codes = entropy(p).sum(1).mean(), entropy(p.mean(0)).sum()
    assert math.isclose(out.loss.item(), 0.2 * commitment + 0.3 * (position - codes), rel_tol=1e-4)
    assert np.allclose(out.z_q.detach().transpose(1, 2).reshape(-1, 6).numpy(), code)
    assert torch.allclose(out.z_q.norm(dim=1), torch.ones(2, 60))


@pytest.mark.parametrize(
    "config", [{"bits": 18}, {"bits": 36, "dim": 20}, {"bits": 13, "entropy": "exact"}, {"bits": 128, "group_bits": 8}]
)
def test_contract(config):
    torch.manual_seed(0)
    q = build("bsq", **config)
    z = latents(3, q.dim, 40)
    check_contract(q, z)
    check_gradient(q, z)
    check_mask(q, z)


def test_length_of_the_latent_does_not_matter():
    q = build("bsq", bits=18)
    z = latents(2, 18, 50)
    assert math.isclose(q(z).loss.item(), q(7 * z).loss.item(), rel_tol=1e-5)
    gradient = check_gradient(q, z)
    assert torch.allclose((gradient * z).sum(1), torch.zeros(2, 50), atol=1e-5), "the gradient must be tangential"


def test_sizes():
    assert check_small("bsq", bits=36).codebook_sizes == (2**18, 2**18)
    assert check_small("bsq", bits=256, entropy="analytic").num_codebooks == 16


def test_equal_ids_with_vector_quantize_pytorch():
    peer_class = pytest.importorskip("vector_quantize_pytorch").LFQ
    peer = peer_class(dim=10, codebook_size=1024, spherical=True).eval()
    q = build("bsq", bits=10)
    z = latents(2, 10, 400)
    z_q, ids, _ = peer(z.transpose(1, 2))
    assert torch.equal(q.encode(z)[:, 0], ids.long())
    assert torch.allclose(q(z).z_q, z_q.transpose(1, 2), atol=1e-6)


def test_authors_bsq():
    io = load_io(reference_folder("image", "bsq-vit"))
    # the class overwrites its commitment weight of 0 with its parent's 0.25
    config = {"bits": 18, "entropy": "analytic", "entropy_weight": 1.0, "commitment_weight": 0.25}
    q = build("bsq", **config)
    out = q(io["projected"].transpose(1, 2))
    assert torch.equal(out.ids[:, 0], io["ids"])
    assert torch.allclose(out.z_q, io["quantized"].transpose(1, 2), atol=1e-7)
    assert math.isclose(out.loss.item(), float(io["quantizer_loss"]), abs_tol=1e-5)
    assert math.isclose(float(out.metrics["code_entropy"]), float(io["codebook_entropy"]), rel_tol=1e-5)
    normalized = build("bsq", normalize=False, **config)(io["latent"].transpose(1, 2))
    assert torch.equal(normalized.ids, out.ids)
    assert math.isclose(normalized.loss.item(), out.loss.item(), abs_tol=1e-6)
    grouped = build("bsq", bits=18, group_bits=9)
    assert torch.equal(grouped.encode(io["projected"].transpose(1, 2)).transpose(1, 2), io["group_ids"])


def test_authors_audio_bsq():
    io = load_io(reference_folder("audio", "focalcodec"))
    q = build("bsq", bits=9)
    for name in ("mult_b1", "odd_b1", "mult_b2"):
        z = io[f"{name}.latent"].transpose(1, 2)
        assert torch.equal(q.encode(z)[:, 0], io[f"{name}.ids"].long())
        assert torch.allclose(q(z).z_q, io[f"{name}.codes"].transpose(1, 2), atol=1e-6)
