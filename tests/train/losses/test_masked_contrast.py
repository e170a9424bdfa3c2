"""The contrast of hidden positions against NumPy, and what it drives a tokenizer to.

    pytest tests/train/losses/test_masked_contrast.py
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from effects import effect
from loss_cases import AUDIO, inputs, loss
from tokenzoo.codecs.audio.wavtokenizer.span_mask import SpanMask, SpanMaskConfig
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.quantizers import build
from tokenzoo.train.losses.masked_contrast import contrast, others
from torch import nn


def test_equals_numpy():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 2, 5, 4))
    b[0, 3] = b[0, 1]  # the same as another position: no wrong answer there
    wrong = np.array([[[1, 2], [3, 0], [0, 4], [1, 4], [0, 1]]] * 2)
    losses = []
    for i in range(2):
        for t in range(5):
            candidates = [b[i, t], *(b[i, n] for n in wrong[i, t] if not np.array_equal(b[i, n], b[i, t]))]
            cosines = np.array([a[i, t] @ c / np.linalg.norm(a[i, t]) / np.linalg.norm(c) for c in candidates]) / 0.2
            losses.append(np.log(np.exp(cosines).sum()) - cosines[0])
    found = contrast(torch.tensor(a), torch.tensor(b), torch.tensor(wrong), 0.2)
    assert float(found) == pytest.approx(np.mean(losses), rel=1e-6)


def test_negatives_are_other_positions_of_the_item():
    torch.manual_seed(0)
    drawn = others(3, 6, 400, torch.device("cpu"))
    for t in range(6):
        assert set(drawn[:, t].flatten().tolist()) == set(range(6)) - {t}


def made(hidden):
    module = loss("masked_contrast", AUDIO, width=4, negatives=3)
    module.prepare({"z_q": 5, "frames": 7})
    g = torch.Generator().manual_seed(0)
    z_q, frames = (torch.randn(2, d, 9, generator=g, requires_grad=True) for d in (5, 7))
    out = SimpleNamespace(z=z_q, quantized=SimpleNamespace(z_q=z_q), features={"frames": frames} | hidden)
    return module, inputs([0], [0], out=out), z_q, frames


def test_gradients_reach_the_hidden_positions_alone():
    hidden = torch.zeros(2, 9, dtype=torch.bool)
    hidden[0, 2:5], hidden[1, [0, 4, 8]] = True, True
    module, given, z_q, frames = made({"hidden": hidden})
    module(given).backward()
    for grad in (z_q.grad, frames.grad):
        assert torch.equal(grad.abs().sum(1) > 0, hidden)


def test_without_hidden_positions_it_is_left_out_or_refused():
    module, given, _, _ = made({})
    assert not module.can_score(given)
    module, given, _, _ = made({"hidden": torch.zeros(2, 9, dtype=torch.bool)})
    assert module.can_score(given)
    with pytest.raises(ConfigError, match="two or more"):
        module(given)


def smooth(count, seed):
    """Sequences `[B, 4, 48]` of which a position is known from those around it."""
    noise = torch.randn(count, 4, 56, generator=torch.Generator().manual_seed(seed))
    return nn.functional.avg_pool1d(noise, 9, stride=1) * 3


def told_of_hidden(weight):
    """Share of hidden positions that are nearest, of all hidden ones of a new sequence, to what their codes give back."""
    torch.manual_seed(0)
    mask, quantizer = SpanMask(4, SpanMaskConfig(rate=0.3)), build("simvq", dim=4, codebook_size=256)
    body = nn.Sequential(nn.Conv1d(4, 32, 9, padding=4), nn.GELU(), nn.Conv1d(32, 4, 1))
    back, matched = nn.Conv1d(4, 4, 1), loss("masked_contrast", AUDIO, width=8, negatives=10)
    matched.prepare({"z_q": 4, "frames": 4})
    optimizer = torch.optim.Adam(nn.ModuleList([mask, quantizer, body, back, matched]).parameters(), lr=5e-3)
    for step in range(300):
        x = smooth(16, step)
        seen, hidden = mask(x)
        q = quantizer(body(seen))
        told = matched(inputs([0], [0], out=SimpleNamespace(z=None, quantized=q, features={"frames": x, "hidden": hidden})))
        shown = (back(q.z_q) - x).square().mean(1)[~hidden].mean()  # codes of what is seen give it back
        optimizer.zero_grad()
        (shown + q.loss + weight * told).backward()
        optimizer.step()
    with torch.no_grad():
        x = smooth(64, 1000)
        seen, hidden = mask(x)
        guess, true = (y.transpose(1, 2)[hidden].unflatten(0, (64, -1)) for y in (back(quantizer(body(seen)).z_q), x))  # [64, M, 4]
    nearest = (guess[:, :, None] - true[:, None]).square().sum(3).argmin(2)  # [64, M]
    return float((nearest == torch.arange(true.shape[1])).float().mean())


@pytest.mark.effect
def test_codes_of_hidden_positions_tell_what_was_there():
    """UniCodec (arXiv 2502.20067): what is hidden is known from what is around it."""
    found = {weight: told_of_hidden(weight) for weight in (0.3, 0.0)}
    figure = "share of hidden frames that their codes tell from about nine others"
    effect("hidden frames and their contrast (UniCodec)", figure, with_=found[0.3], without=found[0.0])
    assert found[0.3] > 0.2 and found[0.0] < 0.15, found
