"""A frozen table behind a learned map. Run: pytest tests/codecs/quantizers/test_simvq.py"""

import numpy as np
import pytest
import torch
from quantizer_checks import check_contract, check_gradient, check_mask, latents
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.quantizers import build
from vector_quantize_pytorch import SimVQ as PeerSimVQ


def quantizer(**config):
    torch.manual_seed(1)
    return build("simvq", **({"dim": 6, "codebook_size": 40} | config))


@pytest.mark.parametrize("width", [0, 4])
def test_equals_plain_reference(width):
    q, z = quantizer(table_dim=width), latents(2, 6, 9)
    out = q(z)
    codes = q.table.double().numpy() @ q.transform.weight.detach().double().numpy().T
    rows = z.double().numpy().transpose(0, 2, 1).reshape(-1, 6)
    ids = ((rows[:, None] - codes) ** 2).sum(-1).argmin(1)
    assert np.array_equal(out.ids.numpy().ravel(), ids)
    np.testing.assert_allclose(out.z_q.detach().numpy().transpose(0, 2, 1).reshape(-1, 6), codes[ids], atol=1e-6)
    assert out.loss.item() == pytest.approx(1.25 * ((rows - codes[ids]) ** 2).mean(), rel=1e-5)


def test_ids_and_loss_of_vector_quantize_pytorch():
    q, z = quantizer(), latents(4, 6, 100)
    peer = PeerSimVQ(dim=6, codebook_size=40, rotation_trick=False)
    peer.frozen_codebook.copy_(q.table)
    peer.code_transform.weight.data.copy_(q.transform.weight.data)
    z_q, ids, loss = peer(z.transpose(1, 2))
    out = q(z)
    assert torch.equal(out.ids[:, 0], ids)
    torch.testing.assert_close(out.z_q, z_q.transpose(1, 2))
    torch.testing.assert_close(out.loss, loss)


@pytest.mark.parametrize("config", [{}, {"table_dim": 3, "gradient": "rotation"}])
def test_contract(config):
    q, z = quantizer(**config), latents(3, 6, 30)
    check_contract(q, z, compiled=bool(config))
    check_gradient(q, z)
    check_mask(q, z)


def test_only_the_map_learns_and_it_moves_all_codes():
    """The point of the paper: one step moves codes that nobody chose."""
    q, z = quantizer(), latents(1, 6, 3)
    assert [name for name, _ in q.named_parameters()] == ["transform.weight"]
    ids = q(z).ids
    before = q.decode(torch.arange(40).view(1, 1, 40)).detach()
    q(z).loss.backward()
    torch.optim.SGD(q.parameters(), lr=1.0).step()
    moved = (q.decode(torch.arange(40).view(1, 1, 40)) - before).abs().sum(1)[0] > 0
    assert moved.all()
    assert len(ids.unique()) <= 3


def test_frozen():
    q, z = quantizer().freeze(), latents(1, 6, 3).requires_grad_()
    q(z).z_q.sum().backward()
    assert q.transform.weight.grad is None
    assert z.grad.abs().sum() > 0


@pytest.mark.parametrize("branch", ["semantic", "pixel"])
def test_authors_dualvitok(branch):
    folder = reference_folder("image", "dualvitok")
    weights, io = load_file(folder / "weights.safetensors"), load_io(folder)
    table = weights[f"{branch}_quantizer.frozen_codebook"]
    q = build("simvq", dim=8, codebook_size=len(table))
    q.load_state_dict({"table": table, "transform.weight": weights[f"{branch}_quantizer.code_transform.weight"]}, strict=True)
    for case in ("s0", "s1"):
        ids = q.encode(io[f"{case}.{branch}_latent"].flatten(2))
        assert torch.equal(ids.flatten(), io[f"{case}.{branch}_ids"].flatten())
        expected = io[f"{case}.{branch}_quantized_from_ids"].flatten(2)
        torch.testing.assert_close(q.decode(ids), expected, atol=1e-5, rtol=1e-4)
