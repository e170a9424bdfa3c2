"""Grouped FSQ against separate FSQs and NeMo's codec."""

import pytest
import torch
from quantizer_checks import check_contract, check_gradient, check_small, latents
from reference import load_io, reference_folder
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.quantizers import build


def test_equals_separate_quantizers():
    q = build("grouped_fsq", num_groups=3, levels=(8, 5, 4))
    one = build("fsq", levels=(8, 5, 4), convention="nemo")
    z = latents(2, 9, 200, scale=1.5)
    parts = [one(part) for part in z.split(3, dim=1)]
    assert torch.equal(q.encode(z), torch.cat([p.ids for p in parts], dim=1))
    assert torch.equal(q(z).z_q, torch.cat([p.z_q for p in parts], dim=1))
    assert q.codebook_sizes == (160, 160, 160)


@pytest.mark.parametrize("dim", [0, 20])
def test_contract(dim):
    torch.manual_seed(0)
    q = build("grouped_fsq", num_groups=4, levels=(9, 8, 8, 7), dim=dim)
    check_contract(q, latents(3, q.dim, 40))
    check_gradient(q, latents(3, q.dim, 40))


def test_wrong_settings_are_named():
    check_small("grouped_fsq", num_groups=32, levels=(8, 8, 8, 8, 8, 8))
    with pytest.raises(ConfigError, match="groups"):
        build("grouped_fsq", levels=(8,) * 7)
    with pytest.raises(ConfigError, match="num_groups"):
        build("grouped_fsq", num_groups=0)


def test_authors_grouped_fsq():
    io = load_io(reference_folder("audio", "nemo-audio-codec"))
    q = build("grouped_fsq", num_groups=3, levels=(8, 7, 6, 6))
    for name in ("mult_b1", "odd_b1", "ragged_b2"):
        z, ids = io[f"{name}.latent"], io[f"{name}.ids"].transpose(0, 1).long()
        valid = torch.arange(z.shape[2]) < io[f"{name}.latent_len"].unsqueeze(1)  # [B, L]
        mask = valid.unsqueeze(1)
        assert torch.equal(q.encode(z) * mask, ids * mask)
        assert torch.allclose(q(z).z_q * mask, io[f"{name}.quantized"] * mask, atol=1e-6)
