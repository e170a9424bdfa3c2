"""Bernoulli bits against NumPy and the authors' ELM and Instella-T2I autoencoders."""

import math

import numpy as np
import pytest
import torch
from quantizer_checks import check_contract, check_gradient, check_mask, check_small, latents
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.quantizers import build
from tokenzoo.codecs.quantizers.parts.bits import unpack_bits


def make(**config):
    torch.manual_seed(0)
    q = build("bernoulli", **config)
    torch.nn.init.normal_(q.table)
    return q


@pytest.mark.parametrize("double", [False, True])
def test_equals_plain_reference(double):
    q = make(bits=10, dim=6, code_weight=0.5, double_sigmoid=double).eval()
    z = latents(2, 6, 50)
    out = q(z)
    weight, bias, table = (t.detach().double().numpy() for t in (q.in_proj.weight, q.in_proj.bias, q.table))
    p = 1 / (1 + np.exp(-(np.einsum("nd,bdl->bnl", weight, z.double().numpy()) + bias[:, None])))
    bits = (p > 0.5).astype(np.int64)
    assert np.array_equal(out.ids[:, 0].numpy(), (bits * 2 ** np.arange(9, -1, -1)[:, None]).sum(1))
    assert np.allclose(out.z_q.detach().numpy(), np.einsum("bnl,nd->bdl", bits, table), atol=1e-5)
    s = 1 / (1 + np.exp(-p)) if double else p
    assert math.isclose(out.loss.item(), 0.5 * (s * (1 - s)).mean(), rel_tol=1e-5)


@pytest.mark.parametrize("config", [{"bits": 64, "dim": 24}, {"bits": 16}, {"bits": 20, "dim": 8, "sample": False}])
def test_contract(config):
    q = make(**config)
    z = latents(3, q.dim, 40)
    check_contract(q, z)
    check_gradient(q, z)
    check_mask(q, z)


def test_training_draws_bits_with_their_probability():
    q = make(bits=8, dim=8).train()
    z = latents(1, 8, 1).expand(1, 8, 20000)
    p = torch.sigmoid(q.in_proj(z))[0, :, 0]
    out = q(z)
    drawn = unpack_bits(out.ids, q.weights, q.groups)[0].float().mean(1)
    assert torch.allclose(drawn, p, atol=0.02)
    assert torch.equal(out.z_q, q.decode(out.ids)), "the value must be that of the drawn bits"
    assert not torch.equal(out.ids, q.encode(z))
    cold = make(bits=8, dim=8, temperature=0.01).train()
    agree = (cold(z).ids == cold.encode(z)).float().mean()
    assert agree > 0.9
    fixed = make(bits=8, dim=8, sample=False).train()
    assert torch.equal(fixed(z).ids, fixed.encode(z))


def test_gradient_is_that_of_the_probabilities():
    q = make(bits=5, dim=4).train()
    z = latents(1, 4, 7).requires_grad_()
    weight = latents(1, 4, 7, seed=1)
    (q(z).z_q * weight).sum().backward()
    expected = z.detach().clone().requires_grad_()
    soft = torch.einsum("bnl,nd->bdl", torch.sigmoid(q.in_proj(expected)), q.table)
    (soft * weight).sum().backward()
    assert torch.allclose(z.grad, expected.grad, atol=1e-5)
    assert q.table.grad.abs().sum() > 0
    assert q.in_proj.weight.grad.abs().sum() > 0


def test_sizes():
    check_small("bernoulli", bits=256, dim=64)


def test_authors_elm():
    folder = reference_folder("image", "elm-bae")
    io, weights = load_io(folder), load_file(folder / "weights.safetensors")
    q = build("bernoulli", bits=16, dim=32, code_weight=1.0, double_sigmoid=True).eval()
    state = {
        "in_proj.weight": weights["quantize.proj.0.weight"].flatten(1),
        "in_proj.bias": weights["quantize.proj.0.bias"],
    }
    q.load_state_dict(state | {"table": weights["quantize.embed.weight"]}, strict=True)
    for name in ("s0", "s1"):
        out = q(io[f"{name}.encoder_output"].flatten(2))
        assert torch.equal(unpack_bits(out.ids, q.weights, q.groups).long(), io[f"{name}.bits"].flatten(2))
        assert torch.allclose(out.z_q, io[f"{name}.quantized"].flatten(2), atol=5e-6)
    assert math.isclose(q(io["s0.encoder_output"].flatten(2)).loss.item(), float(io["s0.code_loss"]), rel_tol=1e-5)


def test_authors_instella():
    folder = reference_folder("image", "instella-bae")
    io, weights = load_io(folder), load_file(folder / "weights.safetensors")
    q = build("bernoulli", bits=16, dim=48).eval()
    names = {"in_proj.weight": "proj.0.weight", "in_proj.bias": "proj.0.bias", "table": "embed"}
    q.load_state_dict({ours: weights[f"quantizer.{theirs}"] for ours, theirs in names.items()}, strict=True)
    for name in ("s0", "s1", "s0.scale128", "s1.scale128"):
        out = q(io[f"{name}.latent"].transpose(1, 2))
        assert torch.allclose(out.z_q, io[f"{name}.quantized"].transpose(1, 2), atol=1e-6)
        if f"{name}.bits" in io:
            assert torch.equal(
                unpack_bits(out.ids, q.weights, q.groups).long(), io[f"{name}.bits"].transpose(1, 2).long()
            )
