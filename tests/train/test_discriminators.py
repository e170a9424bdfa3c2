"""Discriminators: heads, shapes, what reaches the input, and the spectra they look at.

    pytest tests/train/test_discriminators.py
"""

import numpy as np
import pytest
import scipy.signal
import torch
from tokenzoo.codecs.config import ConfigError, from_mapping
from tokenzoo.codecs.spec import AudioSpec, ImageSpec
from tokenzoo.train.discriminators import DISCRIMINATORS
from tokenzoo.train.discriminators.base import DiscriminatorConfig, DiscriminatorSet
from tokenzoo.train.discriminators.multi_period import PeriodHead
from tokenzoo.train.discriminators.multi_resolution_stft import ComplexSpectrogram

IMAGE = ImageSpec(vocab_sizes=(16,), stride=4)
AUDIO = {c: AudioSpec(vocab_sizes=(16,), sample_rate_hz=16000, hop_samples=80, channels=c) for c in (1, 2)}
# kind -> tiny settings, number of heads
TINY = {
    "patchgan": ({"channels": 4, "layers": 2}, 1),
    "multi_period": ({"periods": [2, 3, 5], "channels": [4, 8]}, 3),
    "multi_scale": ({"channels": 16, "halvings": 1}, 2),
    "multi_resolution_stft": ({"windows": [256, 128], "channels": 4}, 2),
    "multi_scale_stft": ({"windows": [256, 128, 64], "channels": 4}, 3),
}


def build(kind, spec, options):
    torch.manual_seed(0)
    return from_mapping(DiscriminatorConfig, {"kind": kind, **options}).build(spec)


def test_every_kind_is_covered():
    assert set(TINY) == set(DISCRIMINATORS.names())


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", sorted(set(TINY) - {"patchgan"}))
def test_sound_judges(kind, channels):
    options, heads = TINY[kind]
    judge = build(kind, AUDIO[channels], options)
    x = torch.randn(2, channels, 1111, requires_grad=True)
    out = judge(x)
    assert len(out) == heads
    assert all(j.logits.shape[:2] == (2, 1) and j.features for j in out)
    sum(j.logits.square().mean() + sum(f.square().mean() for f in j.features) for j in out).backward()
    assert (x.grad != 0).float().mean() > 0.99  # every sample is judged
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in judge.parameters())


def test_patchgan_sees_the_whole_picture_through_patches_of_70():
    judge = build("patchgan", IMAGE, {"channels": 4, "layers": 3, "norm": "none"})
    x = torch.randn(1, 3, 128, 128, requires_grad=True)
    (out,) = judge(x)
    assert out.logits.shape == (1, 1, 14, 14)
    out.logits[0, 0, 7, 7].backward()
    rows = (x.grad != 0).any(dim=1)[0].any(dim=1).nonzero()
    assert int(rows[-1] - rows[0]) + 1 == 70


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_patchgan_norms(norm):
    judge = build("patchgan", IMAGE, {"channels": 8, "layers": 2, "norm": norm})
    a, b = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 32, 32)
    alone, together = judge(a)[0].logits, judge(torch.cat([a, b]))[0].logits[:2]
    assert torch.allclose(alone, together, atol=1e-5) == (norm != "batch")


def test_real_and_reconstructed_batches_do_not_mix():
    judges = DiscriminatorSet({"p": build("patchgan", IMAGE, {"channels": 8, "layers": 2})})
    a, b = torch.randn(2, 3, 32, 32), 5 * torch.randn(2, 3, 32, 32)
    real, fake = judges(a, b)
    assert torch.equal(real[0].logits, judges(a)[0][0].logits)
    assert len(real) == len(fake) == 1


def test_period_head_folds_rows_of_p_samples():
    head = PeriodHead(5, (4,), 1)
    seen = []
    head.layers[0].register_forward_hook(lambda module, args, out: seen.append(args[0]))
    head(torch.arange(12.0).view(1, 1, 12))
    expected = [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 10, 9, 8]]  # the end is reflected
    assert seen[0][0, 0].tolist() == expected


@pytest.mark.parametrize("normalized", [False, True])
def test_complex_spectrogram(normalized):
    x = np.random.default_rng(0).normal(size=(1, 1, 400))
    out = ComplexSpectrogram(64, 16, normalized=normalized)(torch.from_numpy(x))[0].numpy()  # [2, N, F]
    padded = np.pad(x[0, 0], 32, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, 64)[::16] * scipy.signal.get_window("hann", 64)
    expected = np.fft.rfft(frames, axis=-1) / (np.sqrt(64) if normalized else 1)
    assert np.allclose(out[0], expected.real, atol=1e-4)
    assert np.allclose(out[1], expected.imag, atol=1e-4)


def test_media_of_the_other_kind_are_refused():
    with pytest.raises(ConfigError, match="patchgan"):
        build("patchgan", AUDIO[1], {})
    with pytest.raises(ConfigError, match="multi_period"):
        build("multi_period", IMAGE, {})
