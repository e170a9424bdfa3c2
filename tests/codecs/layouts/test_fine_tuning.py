"""Published weights, whose weight norm is folded when they are loaded, can be trained on.

    TOKENZOO_GOLDENS=... pytest tests/codecs/layouts/test_fine_tuning.py
"""

import copy

import pytest
import torch
from audio_cases import stored

SYSTEMS = ["encodec", "encodec-hf", "dac", "snac", "mimi-hf"]


@pytest.mark.parametrize("system", SYSTEMS)
def test_steps_change_the_weights_and_lower_the_loss(system):
    tok, _, want = next(iter(stored(system)))
    tok = copy.deepcopy(tok).train()
    before = {k: v.clone() for k, v in tok.state_dict().items()}
    x = want["input"][..., : 12 * tok.spec.hop_samples]
    optimizer = torch.optim.Adam(tok.parameters(), lr=1e-5)
    losses = []
    for _ in range(5):
        torch.manual_seed(0)  # the same noise and dropout at every step
        out = tok(x)
        loss = (out.x_hat - x).abs().mean() + out.quantized.loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0], losses
    for part in (tok.encoder, tok.decoder):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())
    after = tok.state_dict()
    assert list(after) == list(before) and all(after[k].shape == v.shape for k, v in before.items())
    changed = [k for k, v in before.items() if not torch.equal(v, after[k])]
    assert any(k.startswith("encoder") for k in changed) and any(k.startswith("decoder") for k in changed)
    assert not any(k.endswith(("_g", "_v", "original0", "original1")) for k in after)  # no weight norm beside the weights
    tok.eval()
    tokens = tok.encode(x)
    assert torch.equal(tok.encode(x).ids, tokens.ids) and tok.decode(tokens).shape == x.shape
