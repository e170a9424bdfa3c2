"""Sparsemax lookup against NumPy and the authors' finite discrete tokens."""

import dataclasses

import numpy as np
import pytest
import torch
from quantizer_checks import check_contract, check_gradient, latents
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.quantizers import build
from tokenzoo.codecs.quantizers import sparsemax as module
from tokenzoo.codecs.quantizers.sparsemax import sparsemax


def plain_sparsemax(s: np.ndarray) -> np.ndarray:
    """One row: the largest k with 1 + k s_(k) > sum of the k largest gives tau (Martins & Astudillo, algorithm 1)."""
    ordered = np.sort(s)[::-1]
    sums = np.cumsum(ordered)
    k = max(i for i in range(1, len(s) + 1) if 1 + i * ordered[i - 1] > sums[i - 1])
    return np.maximum(0, s - (sums[k - 1] - 1) / k)


def make(**config):
    torch.manual_seed(0)
    return build("sparsemax", **({"dim": 8, "codebook_size": 50} | config))


@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
def test_sparsemax_equals_plain_reference(scale):
    scores = latents(30, 40, 1, scale=scale)[..., 0]
    weights = sparsemax(scores)
    assert np.allclose(weights.numpy(), [plain_sparsemax(row) for row in scores.double().numpy()], atol=1e-5)
    assert torch.allclose(weights.sum(1), torch.ones(30), atol=1e-5)
    assert torch.autograd.gradcheck(sparsemax, (scores.double().requires_grad_(),))


@pytest.mark.parametrize("hard", [False, True])
def test_contract(hard):
    q = make(hard=hard)
    z = latents(3, 8, 40)
    check_contract(q, z)
    check_gradient(q.train(), z)
    check_gradient(q.eval(), z)


def test_lookup_equals_plain_reference():
    q = make(temperature=0.5)
    z = latents(2, 8, 30)
    table = q.table.detach().double().numpy()
    scores = z.transpose(1, 2).reshape(-1, 8).double().numpy() @ table.T / np.sqrt(8) / 0.5
    assert np.array_equal(q.encode(z).flatten().numpy(), scores.argmax(1))
    mixture = np.stack([plain_sparsemax(row) @ table for row in scores])
    assert np.allclose(q.train()(z).z_q.detach().transpose(1, 2).reshape(-1, 8).numpy(), mixture, atol=1e-5)
    assert torch.equal(q.eval()(z).z_q, q.decode(q.encode(z)))


def test_hard_forward_has_the_gradient_of_the_mixture():
    z = latents(2, 8, 30)
    soft, hard = make().train(), make(hard=True).train()
    assert torch.allclose(check_gradient(soft, z), check_gradient(hard, z), atol=1e-6)
    assert torch.allclose(soft.table.grad, hard.table.grad, atol=1e-5)
    assert torch.equal(hard(z).z_q, hard.decode(hard.encode(z)))


def test_chunks_change_nothing(monkeypatch):
    z = latents(2, 8, 30)
    whole = make().train()
    gradient, ids = check_gradient(whole, z), whole.encode(z)
    monkeypatch.setattr(module, "CHUNK_SCORES", 350)  # 7 rows at a time
    parts = make().train()
    assert torch.allclose(check_gradient(parts, z), gradient, atol=1e-6)
    assert torch.equal(parts.encode(z), ids)


def test_a_low_temperature_gives_one_code():
    q = make()
    q.config = dataclasses.replace(q.config, temperature=1e-3)
    z = latents(2, 8, 30)
    assert torch.allclose(q.train()(z).z_q, q.decode(q.encode(z)), atol=1e-4)
    with pytest.raises(ConfigError, match="temperature"):
        make(temperature=0.0)


def test_authors_fdt():
    folder = reference_folder("image", "fdt")
    io, weights = load_io(folder), load_file(folder / "weights.safetensors")
    q = build("sparsemax", dim=24, codebook_size=96, temperature=2.5)
    q.load_state_dict({"table": weights["space_dict"]}, strict=True)
    for name in ("image", "text"):
        queries = io[f"{name}.queries"]  # [B, L, D]
        scores = q.scores(queries.flatten(0, 1)).unflatten(0, queries.shape[:2])
        if name == "text":
            scores = scores * (io["token_mask"] == 0).unsqueeze(-1)  # the authors' class takes padding marked by 1
        pooled = scores.amax(1)  # FDT pools over the positions before sparsemax
        assert torch.allclose(sparsemax(pooled), io[f"{name}.weights"], atol=2e-6)
        assert torch.equal((sparsemax(pooled) > 0).long(), io[f"{name}.support"])
        assert torch.allclose(q.mix(pooled), io[f"{name}.feature"], atol=5e-6)
        assert torch.equal(pooled.argmax(1), io[f"{name}.top_id"])
