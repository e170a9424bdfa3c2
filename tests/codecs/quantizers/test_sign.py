"""Sign bits against NumPy and the authors' WeTok, BitDance tokenizer and UniWeTok."""

import math

import numpy as np
import pytest
import torch
from quantizer_checks import check_contract, check_gradient, check_mask, check_small, latents
from reference import load_io, reference_folder
from tokenzoo.codecs.quantizers import build


def test_equals_plain_reference():
    q = build("sign", bits=12, group_bits=4, entropy_group_bits=4, activation="siglu", entropy_temperature=0.5)
    z = latents(2, 12, 50)
    out = q(z)
    u = 2 / (1 + np.exp(-z.double().numpy())) - 1
    bits = (u > 0).astype(np.int64)
    for k in range(3):
        assert np.array_equal(
            out.ids[:, k].numpy(), (bits[:, 4 * k : 4 * k + 4] * np.array([1, 2, 4, 8])[:, None]).sum(1)
        )
    assert np.array_equal(out.z_q.detach().numpy(), 2.0 * bits - 1)
    rows = u.transpose(0, 2, 1).reshape(-1, 12)
    commitment = ((rows - np.where(rows > 0, 1, -1)) ** 2).mean()
    p = 1 / (1 + np.exp(-4 * rows / 0.5))
    position = -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum(1).mean()
    codes = 0.0
    for part in np.split(p, 3, axis=1):
        mean = [np.mean(np.prod(np.where([(c >> i) & 1 for i in range(4)], part, 1 - part), axis=1)) for c in range(16)]
        codes -= float(np.sum(mean * np.log(mean)))
    assert math.isclose(out.loss.item(), 0.25 * commitment + 0.1 * (position - codes), rel_tol=1e-4)


@pytest.mark.parametrize(
    "config", [{"bits": 128}, {"bits": 256, "activation": "siglu"}, {"bits": 32, "group_bits": 8, "dim": 20}]
)
def test_contract(config):
    torch.manual_seed(0)
    q = check_small("sign", **config)
    z = latents(3, q.dim, 40)
    check_contract(q, z)
    check_gradient(q, z)
    check_mask(q, z)


def test_siglu_bounds_the_loss_but_not_the_bits():
    plain, siglu = (build("sign", bits=32, activation=a, entropy="none") for a in ("none", "siglu"))
    z = 20 * latents(2, 32, 30)
    assert torch.equal(plain.encode(z), siglu.encode(z))
    assert siglu(z).loss.item() < 0.25 < plain(z).loss.item()
    gradient = check_gradient(siglu, z / 20)
    s = torch.sigmoid(z / 20)
    assert torch.allclose(gradient / (2 * s * (1 - s)), check_gradient(plain, z / 20), atol=1e-4)


def bits_of(q, ids):
    return q.unpack(ids).long()


def test_authors_wetok():
    io = load_io(reference_folder("image", "wetok"))
    q = build("sign", bits=12, group_bits=4)
    for name in ("s0", "s1"):
        out = q(io[f"{name}.latent"].flatten(2))
        assert torch.equal(out.ids.transpose(1, 2), io[f"{name}.ids"].flatten(1, 2).long())
        assert torch.equal(out.z_q, io[f"{name}.quantized"].flatten(2))


@pytest.mark.parametrize(
    ("system", "key", "activation"), [("uniwetok", "pre_activation", "siglu"), ("bitdance-ae", "latent", "none")]
)
def test_authors_sign(system, key, activation):
    io = load_io(reference_folder("image", system))
    q = build("sign", bits=16, activation=activation)
    for name in ("s0", "s1"):
        out = q(io[f"{name}.{key}"].flatten(2))
        assert torch.equal(bits_of(q, out.ids), io[f"{name}.bits"].flatten(2).long())
        assert torch.equal(out.z_q, io[f"{name}.quantized"].flatten(2))
