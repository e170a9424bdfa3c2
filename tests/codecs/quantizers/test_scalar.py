"""Scalar rounding against NumPy and the authors' SQ-Codec."""

import numpy as np
import pytest
import torch
from quantizer_checks import check_contract, check_gradient, check_small, latents
from reference import load_io, reference_folder
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.quantizers import build


def test_equals_plain_reference():
    q = build("scalar", dim=6, steps=9, channels_per_id=3)
    z = latents(2, 6, 100)
    digits = np.round(9 * np.tanh(z.double().numpy())).astype(np.int64) + 9
    out = q(z)
    assert np.allclose(out.z_q.numpy(), (digits - 9) / 9, atol=1e-6)
    assert np.array_equal(out.ids[:, 1].numpy(), digits[:, 3] + 19 * digits[:, 4] + 361 * digits[:, 5])
    assert q.codebook_sizes == (6859, 6859)


@pytest.mark.parametrize(
    "config",
    [{"dim": 32}, {"dim": 36, "steps": 1, "channels_per_id": 9}, {"dim": 8, "tanh": False, "channels_per_id": 4}],
)
def test_contract(config):
    q = check_small("scalar", **config)
    z = latents(3, q.dim, 40)
    check_contract(q, z)
    gradient = check_gradient(q, z)
    if q.config.tanh:
        assert torch.allclose(gradient, latents(*z.shape, seed=7) * (1 - torch.tanh(z) ** 2), atol=1e-5)


def test_values_outside_are_clamped():
    q = build("scalar", dim=1, tanh=False)
    assert q.encode(torch.tensor([[[-3.0, 0.0, 5.0]]])).flatten().tolist() == [0, 9, 18]


def test_wrong_settings_are_named():
    for bad in ({"steps": 0}, {"channels_per_id": 5}, {"channels_per_id": 4, "dim": 6}, {"dim": 0}):
        with pytest.raises(ConfigError, match=r"steps|2\^18|dim"):
            build("scalar", **({"dim": 8} | bad))


def test_authors_sq_codec():
    io = load_io(reference_folder("audio", "sq-codec"))
    q = build("scalar", dim=12, tanh=False)
    for name in ("mult_b1", "odd_b1", "mult_b2"):
        z = io[f"{name}.latent"]
        assert torch.equal(q.encode(z), io[f"{name}.ids"].long())
        if f"{name}.quantized" in io:
            assert torch.equal(q(z).z_q, io[f"{name}.quantized"])
