"""Clips of different lengths in one batch have the ids of each alone. Run: pytest tests/audio/test_ragged.py"""

import pytest
import torch
from corpus_cases import lively
from tiny_parts import RVQ
from tokenzoo.codecs.audio.ragged import can_mix, encode_ragged

LABELS = ("spectral", "spectral-rms", "spectral-causal", "waveform", "waveform-causal-stereo")


@pytest.mark.parametrize("label", LABELS)
def test_mixed_lengths_equal_each_alone(label):
    tokenizer = lively(label)
    hop, context = tokenizer.spec.hop_samples, tokenizer.encoder_context_frames
    frames = [1, 2, context - 1, context, context + 1, 2 * context - 1, 2 * context, 2 * context + 1, 3 * context + 2, 60]
    lengths = sorted({max(1, n * hop - r) for n in frames for r in (0, 1, hop - 1)})
    generator = torch.Generator().manual_seed(0)
    xs = [torch.randn(tokenizer.spec.channels, n, generator=generator).clamp(-3, 3) * 0.2 for n in lengths]
    items = tokenizer.prepare(xs)
    together = encode_ragged(tokenizer, items)
    for tokens, x in zip(together, xs, strict=True):
        assert tokens.equal(tokenizer.encode(x[None])), x.shape
    short = encode_ragged(tokenizer, items, num_codebooks=2)
    assert all(a.equal(b.first(codebooks=2)) for a, b in zip(short, together, strict=True))


def test_the_ends_are_not_right_without_their_own_pass():
    """What the second pass is for: filled-up clips alone have other ids at their ends."""
    tokenizer = lively("waveform")
    xs = [torch.randn(1, n, generator=torch.Generator().manual_seed(1)) * 0.2 for n in (400, 960)]
    assert tokenizer.encoder_context_frames > 5
    tokenizer.encoder_context_frames = 1
    ids = encode_ragged(tokenizer, tokenizer.prepare(xs))[0].ids
    assert not torch.equal(ids, tokenizer.encode(xs[0][None]).ids)


def test_families_that_see_everything_mix_nothing():
    tokenizer = lively("encodec")
    assert not can_mix(tokenizer, 10)
    with pytest.raises(ValueError, match="one length"):
        encode_ragged(tokenizer, tokenizer.prepare([torch.zeros(1, 40)]))
    tokenizer = lively("spectral", {"quantizer": RVQ | {"strides": [4, 2, 1]}})
    assert tokenizer.encoder_context_frames and not can_mix(tokenizer, 10), "frames that share an id"
    tokenizer = lively("spectral")
    assert can_mix(tokenizer, tokenizer.piece_positions) and not can_mix(tokenizer, tokenizer.piece_positions + 1)
