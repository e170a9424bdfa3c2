"""Distillation from pieces that have an order but no times. Run: pytest tests/train/losses/test_aligned_distillation.py"""

import pytest
import torch
from loss_cases import loss_of
from tokenzoo.train.losses.aligned_distillation import align


def test_alignment_finds_pieces_of_unequal_length():
    """Three pieces of 11, 5 and 4 of 20 frames; each is most like one frame in its middle, the others are mostly noise."""
    torch.manual_seed(0)
    pieces = torch.randn(1, 16, 4)
    pieces[..., 3] = 0  # no piece
    places = torch.tensor([0] * 11 + [1] * 5 + [2] * 4)
    ours = 0.2 * pieces[:, :, places] + 0.3 * torch.randn(1, 16, 20)
    for piece, frame in enumerate((8, 13, 17)):
        ours[0, :, frame] += pieces[0, :, piece]
    assert align(ours, pieces, torch.tensor([3]), window=1.0)[0].tolist() == places.tolist()
    even = align(ours, pieces, torch.tensor([3]), window=0.0)[0]
    assert float((even == places).float().mean()) < 0.75


def test_window_zero_is_the_even_division():
    torch.manual_seed(0)
    found = align(torch.randn(2, 4, 15), torch.randn(2, 4, 5), torch.tensor([5, 3]), window=0.0)
    assert found[0].tolist() == [i // 3 for i in range(15)]
    assert found[1].tolist() == [i // 5 for i in range(15)]
    ours, pieces = torch.randn(2, 4, 15), torch.randn(2, 4, 5)
    pieces[1, :, 3:] = 0
    spread = torch.stack([pieces[0].repeat_interleave(3, 1), pieces[1, :, :3].repeat_interleave(5, 1)])
    for along in ("channels", "frames", "mse"):
        value = loss_of(ours, pieces, kind="aligned_distillation", window=0.0, along=along)
        assert float(value) == pytest.approx(float(loss_of(ours, spread, along=along)), rel=1e-5)


def test_more_pieces_than_frames_and_silence():
    torch.manual_seed(0)
    found = align(torch.randn(1, 4, 3), torch.randn(1, 4, 8), torch.tensor([8]), window=1.0)
    assert found.shape == (1, 3) and found[0].tolist() == sorted(found[0].tolist())
    ours = torch.randn(2, 4, 6, requires_grad=True)
    silent = loss_of(ours, torch.zeros(2, 4, 3), kind="aligned_distillation")
    silent.backward()
    assert silent.item() == 0 and not ours.grad.any()
    target = torch.zeros(2, 4, 3)
    target[1] = torch.randn(4, 3)
    loss_of(ours, target, kind="aligned_distillation").backward()
    assert not ours.grad[0].any() and ours.grad[1].any()
