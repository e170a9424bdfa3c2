"""Discriminators: heads, shapes, what reaches the input, and the spectra they look at.

pytest tests/train/test_discriminators.py
"""

import numpy as np
import pytest
import scipy.signal
import teacher_models
import torch
from tokenzoo.codecs.config import ConfigError, from_mapping
from tokenzoo.codecs.spec import AudioSpec, ImageSpec
from tokenzoo.train.discriminators import DISCRIMINATORS
from tokenzoo.train.discriminators.base import Beside, DiscriminatorConfig, DiscriminatorSet
from tokenzoo.train.discriminators.multi_period import PeriodHead
from tokenzoo.train.discriminators.spectra import ComplexSpectrogram
from tokenzoo.train.losses.base import of_discriminators

IMAGE = ImageSpec(vocab_sizes=(16,), stride=4)
AUDIO = {c: AudioSpec(vocab_sizes=(16,), sample_rate_hz=16000, hop_samples=80, channels=c) for c in (1, 2)}
# kind -> tiny settings, number of heads
TINY = {
    "patchgan": ({"channels": 4, "layers": 2}, 1),
    "multi_period": ({"periods": [2, 3, 5], "channels": [4, 8]}, 3),
    "multi_scale": ({"channels": 16, "halvings": 1}, 2),
    "multi_resolution_stft": ({"windows": [256, 128], "channels": 4}, 2),
    "multi_scale_stft": ({"windows": [256, 128, 64], "channels": 4}, 3),
    "multi_resolution_spectrogram": ({"windows": [256, 128], "channels": 4}, 2),
    "spectrogram_patches": ({"windows": [128, 64], "channels": 4, "most": 16}, 2),
    "multi_frequency": ({"hops": [16, 32], "channels": [32, 64]}, 2),
    "mel_bands": ({"channels": 4, "spectrogram": {"window": 128, "bands": 10}}, 1),
    "speech_model": ({"channels": 4}, 1),
    "blurred_patchgan": ({"channels": 32, "layers": 2, "grid": 4}, 1),
    "stylegan": ({"image_size": 32, "channels": 128, "most": 16}, 1),
    "by_group": ({"groups": 2, "each": {"kind": "patchgan", "channels": 4, "layers": 1}}, 1),
    "dino": ({"model": "test_vit", "image_size": 32, "blocks": [0, 2], "pretrained": False, "kernel": 3}, 3),
}
PICTURES = {"patchgan", "blurred_patchgan", "stylegan", "dino", "by_group"}


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Folder of a tiny model of transformers that takes waveforms."""
    return str(teacher_models.speech_model(tmp_path_factory.mktemp("models") / "speech"))


def build(kind, spec, options):
    torch.manual_seed(0)
    return from_mapping(DiscriminatorConfig, {"kind": kind, **options}).build(spec)


def test_every_kind_is_covered():
    assert set(TINY) == set(DISCRIMINATORS.names())


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", sorted(set(TINY) - PICTURES))
def test_sound_judges(kind, channels, speech):
    options, heads = TINY[kind]
    judge = build(kind, AUDIO[channels], options | ({"model": speech} if kind == "speech_model" else {}))
    x = torch.randn(2, channels, 1111, requires_grad=True)
    out = judge(x)
    assert len(out) == heads
    assert all(j.logits.shape[:2] == (2, 1) and j.features for j in out)
    sum(j.logits.square().mean() + sum(f.square().mean() for f in j.features) for j in out).backward()
    assert (x.grad != 0).float().mean() > 0.99  # every sample is judged
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in judge.parameters())


@pytest.mark.parametrize("kind", sorted(PICTURES - {"by_group"}))
def test_picture_judges(kind):
    options, heads = TINY[kind]
    judge = build(kind, IMAGE, options)
    x = torch.randn(4, 3, 32, 32, requires_grad=True)
    out = judge(x)
    assert len(out) == heads and all(j.logits.shape[:2] == (4, 1) and j.features for j in out)
    sum(j.logits.square().mean() + sum(f.square().mean() for f in j.features) for j in out).backward()
    assert (x.grad != 0).float().mean() > 0.99  # every pixel is judged
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in judge.parameters())


def test_levelled_clips_have_no_mean_and_one_peak():
    """What DAC does to each clip before it is judged; how loud the tokenizer makes it then does not matter."""
    options = TINY["multi_period"][0]
    plain, levelled = (build("multi_period", AUDIO[2], options | more) for more in ({}, {"peak": 0.8}))
    x = torch.randn(2, 2, 500) * torch.tensor([0.1, 2.0])[:, None, None] + 0.3
    by_hand = x.numpy() - x.numpy().mean(-1, keepdims=True)
    by_hand = torch.from_numpy(0.8 * by_hand / np.abs(by_hand).max(-1, keepdims=True))
    for a, b in zip(levelled(x), plain(by_hand), strict=True):
        assert torch.allclose(a.logits, b.logits, atol=1e-5)
    assert not torch.allclose(levelled(x)[0].logits, plain(x)[0].logits, atol=1e-3)
    assert torch.allclose(levelled(x)[0].logits, levelled(3 * x + 1)[0].logits, atol=1e-4)


def test_the_head_at_full_rate_can_have_spectral_norms():
    judge = build("multi_scale", AUDIO[1], {"channels": 16, "halvings": 1, "spectral_first": True})
    for _ in range(20):
        judge(torch.randn(1, 1, 500))  # power iterations
    for head, unit in zip(judge.heads, (True, False), strict=True):
        largest = [float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) for layer in head.layers]
        assert all(v == pytest.approx(1, abs=0.05) for v in largest) == unit, largest


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


@pytest.mark.parametrize("kind", sorted(TINY))
def test_media_of_the_other_kind_are_refused(kind):
    options = TINY[kind][0] if kind == "by_group" else {}
    named = "patchgan" if kind == "by_group" else kind  # it judges what its members do
    with pytest.raises(ConfigError, match=f"{named}.*not media of modality"):
        build(kind, AUDIO[1] if kind in PICTURES else IMAGE, options)


def test_each_group_has_a_discriminator_of_its_own():
    judge = build("by_group", IMAGE, {"groups": 3, "each": {"kind": "patchgan", "channels": 4, "layers": 1, "norm": "none"}})
    judges, x = DiscriminatorSet({"g": judge}), torch.randn(4, 3, 32, 32)
    real, fake = judges(x, -x, Beside({"group": torch.tensor([[2], [0], [2], [0]])}))
    assert [len(j.logits) for j in real] == [len(j.logits) for j in fake] == [2, 2]
    assert torch.equal(real[0].logits, judge.members[0](x[1::2])[0].logits)
    assert torch.equal(fake[1].logits, judge.members[2](-x[::2])[0].logits)
    sum(j.logits.mean() for j in real).backward()
    assert [any(p.grad is not None for p in member.parameters()) for member in judge.members] == [True, False, True]
    with pytest.raises(ValueError, match="discriminators for 0 to 2 alone"):
        judge(x, torch.full((4, 1), 3))
    with pytest.raises(ConfigError, match=r"discriminators\.g reads the feature 'group'"):
        judges(x, -x, Beside({"grup": torch.zeros(4, 1)}))


def test_judgements_bear_the_name_of_their_discriminator():
    periods = {"b": [2], "a": [3, 5]}
    judges = {name: build("multi_period", AUDIO[1], {"periods": p, "channels": [4]}) for name, p in periods.items()}
    real, fake = DiscriminatorSet(judges)(torch.randn(1, 1, 90), torch.randn(1, 1, 90))
    assert [j.source for j in real] == [j.source for j in fake] == ["b", "a", "a"]
    assert [j.source for j in of_discriminators(real, ["a"])] == ["a", "a"] and of_discriminators(real, ()) == real
