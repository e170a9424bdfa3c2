"""Bit packing and the entropies of the binary quantizers, against brute force over all codes."""

import math

import numpy as np
import pytest
import torch
from quantizer_checks import latents
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.quantizers.parts import bits as module
from tokenzoo.codecs.quantizers.parts.bits import (
    bit_entropy,
    bit_weights,
    group_bits,
    mean_code_entropy,
    mean_codes,
    pack_bits,
    unpack_bits,
)


@pytest.mark.parametrize(
    ("bits", "size", "groups"),
    [
        (1, None, (1,)),
        (18, None, (18,)),
        (32, None, (16, 16)),
        (36, None, (18, 18)),
        (128, None, (16,) * 8),
        (256, None, (16,) * 16),
        (19, None, (10, 9)),
        (32, 8, (8,) * 4),
        (20, 18, (18, 2)),
    ],
)
def test_groups(bits, size, groups):
    assert group_bits(bits, size) == groups


def test_groups_of_every_width_fit_an_id():
    for bits in range(1, 257):
        groups = group_bits(bits, None)
        assert sum(groups) == bits
        assert max(groups) <= 18
    for bits, size in ((0, None), (257, None), (20, 19), (20, 0)):
        with pytest.raises(ConfigError, match="bits"):
            group_bits(bits, size)


@pytest.mark.parametrize("order", ["msb", "lsb"])
@pytest.mark.parametrize("bits", [1, 13, 20, 128, 256])
def test_packing_equals_python_integers(order, bits):
    groups = group_bits(bits, None)
    flags = latents(2, bits, 5) > 0
    ids = pack_bits(flags, bit_weights(groups, order), groups)
    assert ids.dtype == torch.int64
    for b in range(2):
        for position in range(5):
            start = 0
            for k, g in enumerate(groups):
                text = "".join(str(int(f)) for f in flags[b, start : start + g, position])
                assert int(ids[b, k, position]) == int(text if order == "msb" else text[::-1], 2)
                start += g
    assert torch.equal(unpack_bits(ids, bit_weights(groups, order), groups), flags)


def brute_force(logits: np.ndarray) -> tuple[float, float]:
    """Mean entropy of a position and entropy of the mean distribution, over all 2^b codes, float64."""
    b = logits.shape[1]
    codes = (np.arange(2**b)[:, None] >> np.arange(b)[::-1]) & 1  # first channel slowest
    energy = logits @ codes.T  # [N, 2^b]; softmax of sum of the chosen bits' log-odds
    p = np.exp(energy - energy.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return plain_entropy(p), plain_entropy(p.mean(0))


def plain_entropy(p: np.ndarray) -> float:
    return float(-(p * np.log(np.maximum(p, 1e-300))).sum(-1).mean())


@pytest.mark.parametrize("scale", [0.3, 3.0, 40.0])
@pytest.mark.parametrize("chunk", [7, 4096])
def test_entropies_equal_brute_force(scale, chunk, monkeypatch):
    monkeypatch.setattr(module, "ENTROPY_CHUNK", chunk)
    logits = scale * latents(50, 8, 1)[..., 0]
    position, codes = brute_force(logits.double().numpy())
    assert math.isclose(float(bit_entropy(logits).sum(1).mean()), position, rel_tol=1e-4, abs_tol=1e-6)
    assert math.isclose(float(mean_code_entropy(logits, 8)), codes, rel_tol=1e-5)
    halves = sum(brute_force(part.double().numpy())[1] for part in logits.split(3, dim=1))  # 3 + 3 + 2 bits
    assert math.isclose(float(mean_code_entropy(logits, 3)), halves, rel_tol=1e-5)
    singles = sum(brute_force(part.double().numpy())[1] for part in logits.split(1, dim=1))
    assert math.isclose(float(mean_code_entropy(logits, 1)), singles, rel_tol=1e-5)
    assert codes <= halves + 1e-6 <= singles + 2e-6  # the bound that the module's text claims


def test_mean_codes_is_the_mean_of_all_products():
    logits = latents(20, 5, 1)[..., 0].double()
    mean = mean_codes(logits).flatten()
    p = torch.sigmoid(logits)
    for code in (0, 7, 31, 20):
        on = torch.tensor([(code >> (4 - i)) & 1 for i in range(5)], dtype=torch.bool)
        assert math.isclose(float(mean[code]), float(torch.where(on, p, 1 - p).prod(1).mean()), rel_tol=1e-9)


@pytest.mark.parametrize("group", [1, 3, 7, 8])
@pytest.mark.parametrize("chunk", [7, 4096])
def test_gradients_equal_finite_differences(group, chunk, monkeypatch):
    monkeypatch.setattr(module, "ENTROPY_CHUNK", chunk)
    logits = latents(20, 8, 1)[..., 0].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: mean_code_entropy(x, group), (logits,))
    assert torch.autograd.gradcheck(lambda x: bit_entropy(x).sum(), (logits,))


def test_decided_bits_have_finite_gradients():
    logits = torch.tensor([[2000.0, -2000.0, 0.0]], requires_grad=True)
    (bit_entropy(logits).sum() + mean_code_entropy(logits, 3) + mean_code_entropy(logits, 1)).backward()
    assert torch.isfinite(logits.grad).all()


def test_eighteen_bits_need_no_codebook():
    """2048 positions of 18 bits: the plain softmax would take 2 GB, and as much again for its gradient."""
    logits = (5 * latents(2048, 18, 1)[..., 0]).requires_grad_()
    with torch.profiler.profile(profile_memory=True) as profile:
        mean_code_entropy(logits, 18).backward()
    largest = max(event.self_cpu_memory_usage for event in profile.events())
    assert 0 < largest < 16 * 2**20
    assert logits.grad.abs().sum() > 0
