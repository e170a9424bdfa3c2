"""The transformer over frames against plain NumPy. Run: pytest tests/codecs/layers/test_transformer1d.py"""

import numpy as np
import pytest
import torch
from layer_references import attend, gelu, join_heads, layer_norm, linear, randomised, rms_norm, silu, turn, weights
from tokenzoo.codecs.layers import window_attention
from tokenzoo.codecs.layers.transformer1d import Transformer1d, Transformer1dConfig, interleaved_to_halves

LENGTH, WIDTH, HEADS = 11, 16, 4


def frames() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, WIDTH, LENGTH))


def reference(x: np.ndarray, c: Transformer1dConfig, w: dict[str, np.ndarray]) -> np.ndarray:
    """One block after the other, as the papers write them; `[B, D, L]`."""
    x, at = x.transpose(0, 2, 1), np.arange(LENGTH)
    d, kv = WIDTH // HEADS, c.kv_heads or HEADS
    angles = at[:, None] / (c.rope_period or 1.0) ** (np.arange(d // 2) / (d // 2))
    ago = at[:, None] - at
    allowed = (ago >= 0) & (ago < (c.context or LENGTH)) if c.causal else np.ones_like(ago, dtype=bool)

    def norm(y: np.ndarray, name: str) -> np.ndarray:
        return layer_norm(y, w[f"{name}.weight"], w[f"{name}.bias"]) if c.norm == "layer" else rms_norm(y, w[f"{name}.weight"], 1e-5)

    for i in range(c.layers):
        block = f"blocks.{i}."
        rows = linear(norm(x, block + "norm_attention"), w[block + "attention.qkv.weight"])
        heads = rows.reshape(2, LENGTH, -1, d).transpose(0, 2, 1, 3)
        q, k, v = np.split(heads, [HEADS, HEADS + kv], axis=1)
        if c.rope_period:
            q, k = turn(q, angles), turn(k, angles)
        k, v = (np.repeat(part, HEADS // kv, axis=1) for part in (k, v))
        y = linear(join_heads(attend(q, k, v, allowed)), w[block + "attention.out.weight"])
        x = x + y * w.get(block + "scale_attention.scale", 1.0)
        y = linear(norm(x, block + "norm_feed_forward"), w[block + "feed_forward.up.weight"])
        if c.gated:
            gate, y = np.split(y, 2, axis=-1)
            y = silu(gate) * y
        else:
            y = gelu(y)
        x = x + linear(y, w[block + "feed_forward.down.weight"]) * w.get(block + "scale_feed_forward.scale", 1.0)
    return x.transpose(0, 2, 1)


OPTIONS = {
    "all earlier positions": {"context": None},
    "a window": {"context": 3},
    "all positions": {"causal": False, "context": None},
    "shared keys": {"context": 5, "kv_heads": 2},
    "gated": {"context": 5, "gated": True, "activation": "silu", "norm": "rms", "layer_scale": None},
    "no positions": {"context": None, "rope_period": None},
    "other periods": {"context": None, "rope_period": 50.0},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_blocks_by_hand(options):
    config = Transformer1dConfig(width=WIDTH, layers=2, heads=HEADS, feed_forward=20, **options)
    model, x = randomised(Transformer1d(config)), frames()
    with torch.no_grad():
        found = model(torch.from_numpy(x))
    np.testing.assert_allclose(found, reference(x, config, weights(model)), atol=1e-6)  # angles are float32


@pytest.mark.parametrize("context", [None, 4])
def test_blocks_of_queries_change_nothing(context, monkeypatch):
    model = randomised(Transformer1d(Transformer1dConfig(width=WIDTH, layers=2, heads=HEADS, feed_forward=8, context=context)))
    x = torch.from_numpy(frames())
    with torch.no_grad():
        whole = model(x)
        monkeypatch.setattr(window_attention, "QUERY_BLOCK", 3)
        torch.testing.assert_close(model(x), whole)


def test_neighbouring_pairs_become_halves():
    """Scores under the authors' order of channels equal those of our order of rows."""
    rng = np.random.default_rng(1)
    weight, x, at = rng.normal(size=(3 * 8, 8)), rng.normal(size=(1, 5, 8)), np.arange(5)
    angles = at[:, None] / 100.0 ** (np.arange(2) / 2)
    ours = interleaved_to_halves(torch.from_numpy(weight), heads=2).numpy()
    scores = []
    for rows, pairs in ((weight, "neighbours"), (ours, "halves")):
        q, k, _ = np.split(linear(x, rows).reshape(1, 5, 6, 4).transpose(0, 2, 1, 3), 3, axis=1)
        scores.append(turn(q, angles, pairs) @ turn(k, angles, pairs).swapaxes(-1, -2))
    np.testing.assert_allclose(scores[0], scores[1])
    assert np.array_equal(ours[16:], weight[16:]), "values are not turned"


def test_settings_that_fit_no_heads_are_refused():
    with pytest.raises(ValueError, match="multiple of heads"):
        Transformer1dConfig(width=10, heads=4)
    with pytest.raises(ValueError, match="multiple of kv_heads"):
        Transformer1dConfig(heads=8, kv_heads=3)
    with pytest.raises(ValueError, match="belongs to causal"):
        Transformer1dConfig(causal=False)
