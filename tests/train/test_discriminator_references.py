"""Parts of the discriminators against NumPy, SciPy, or the frozen model called by itself.

pytest tests/train/test_discriminator_references.py
"""

import numpy as np
import pytest
import scipy.signal
import teacher_models
import timm
import torch
import transformers
from tokenzoo.codecs.config import ConfigError, from_mapping
from tokenzoo.codecs.spec import AudioSpec, ImageSpec
from tokenzoo.train.discriminators.augment import AugmentConfig, augment, blurred, colour, holes, shift
from tokenzoo.train.discriminators.base import DiscriminatorConfig
from tokenzoo.train.discriminators.dino import GroupedBatchNorm
from tokenzoo.train.discriminators.spectra import Magnitudes
from tokenzoo.train.discriminators.stylegan import with_deviation

IMAGE = ImageSpec(vocab_sizes=(16,), stride=4)
SOUND = AudioSpec(vocab_sizes=(16,), sample_rate_hz=16000, hop_samples=80)
DINO = {"model": "test_vit", "image_size": 32, "blocks": [0, 2], "pretrained": False, "kernel": 3, "crop": 0.0}


def build(kind, spec, **options):
    torch.manual_seed(0)
    return from_mapping(DiscriminatorConfig, {"kind": kind, **options}).build(spec)


def seen_by(module):
    """List that receives the first argument of each call of `module`."""
    calls = []
    module.register_forward_pre_hook(lambda m, args: calls.append(args[0].detach()))
    return calls


# --- DINO -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("embedding", "class_token"), [(True, True), (False, False)])
def test_dino_heads_see_patches_of_the_named_blocks(embedding, class_token):
    judge = build("dino", IMAGE, **DINO, embedding=embedding, class_token=class_token)
    calls = [seen_by(head) for head in judge.heads]
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    judge(x)
    trunk, data = judge.trunk.network, timm.data.resolve_model_data_config(judge.trunk.network)
    mean, deviation = (torch.tensor(data[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    y = ((x + 1) / 2 - mean) / deviation
    options = {"norm": False, "return_prefix_tokens": True, "output_fmt": "NLC", "intermediates_only": True}
    taken = trunk.forward_intermediates(y, indices=[0, 2], **options)
    for call, (patches, prefix) in zip(calls[embedding:], taken, strict=True):
        expected = patches + prefix[:, :1] if class_token else patches
        assert torch.allclose(call[0], expected.transpose(1, 2), atol=1e-5)
    if embedding:  # before the first block
        place = trunk.pos_embed
        expected = trunk.patch_embed(y).flatten(1, -2) + place[:, 1:] + trunk.cls_token + place[:, :1]
        assert torch.allclose(calls[0][0], expected.transpose(1, 2), atol=1e-5)


def test_dino_may_have_several_heads_over_its_last_features():
    judge, x = build("dino", IMAGE, **DINO, last_heads=2), torch.rand(2, 3, 32, 32)
    calls = [seen_by(head) for head in judge.heads]
    found = judge(x)
    assert len(found) == len(calls) == 4  # of the embedding, of two blocks, and of the last one again
    assert torch.equal(calls[3][0], calls[2][0]) and not torch.equal(found[3].logits, found[2].logits)
    with pytest.raises(ConfigError, match="last_heads is 0"):
        build("dino", IMAGE, **DINO, last_heads=0)


def test_dino_itself_is_neither_trained_nor_saved_but_moves_along():
    judge = build("dino", IMAGE, **DINO)
    assert not any("trunk" in name for name in [*judge.state_dict(), *dict(judge.named_parameters())])
    assert not any(p.requires_grad for p in judge.trunk.network.parameters())
    judge.train().requires_grad_(True)
    assert not judge.trunk.network.training and not any(p.requires_grad for p in judge.trunk.network.parameters())
    assert {p.dtype for p in judge.double().trunk.network.parameters()} == {torch.float64}


def test_dino_sees_one_size():
    judge = build("dino", IMAGE, **DINO)
    calls = seen_by(judge.trunk.network.patch_embed)
    for side in (24, 32, 48):
        judge(torch.rand(1, 3, side, side))
    assert [tuple(c.shape[2:]) for c in calls] == [(32, 32)] * 3
    cropping = build("dino", IMAGE, **{**DINO, "crop": 1.0})
    x = torch.arange(48.0 * 48).view(1, 1, 48, 48).expand(1, 3, -1, -1)
    crop = cropping._fit(x)
    assert (crop[..., 1:] - crop[..., :-1] == 1).all() and (crop[..., 1:, :] - crop[..., :-1, :] == 48).all()


def test_batch_norm_of_groups():
    norm, x = GroupedBatchNorm(4, group=2), torch.randn(5, 4, 7) * 3 + 1
    out = norm(x).detach().numpy()
    for part in (slice(0, 2), slice(2, 4), slice(4, 5)):
        values = x.numpy()[part]
        mean, var = values.mean((0, 2), keepdims=True), values.var((0, 2), keepdims=True)
        assert np.allclose(out[part], (values - mean) / np.sqrt(var + 1e-6), atol=1e-5)


def test_dino_has_the_blocks_that_are_named():
    with pytest.raises(ConfigError, match="has the blocks 0 to"):
        build("dino", IMAGE, **{**DINO, "blocks": [0, 99]})


# --- augmentation ---------------------------------------------------------------------------------------------------


def test_shifts_bring_in_zeros():
    x = torch.arange(1.0, 33).view(2, 1, 4, 4)
    out = shift(x, torch.tensor([1, 0]), torch.tensor([0, -2])).numpy()
    a, b = x[0, 0].numpy(), x[1, 0].numpy()
    assert np.array_equal(out[0, 0], np.vstack([a[1:], np.zeros((1, 4))]))
    assert np.array_equal(out[1, 0], np.hstack([np.zeros((4, 2)), b[:, :2]]))


def test_colours():
    x = torch.randn(1, 3, 4, 4)
    half = torch.full((1,), 0.5)
    assert torch.allclose(colour(x, half, half, half), x, atol=1e-6)
    brighter = colour(x, torch.ones(1), half, half)
    assert torch.allclose(brighter, x + 0.5, atol=1e-6)
    grey = colour(x, half, torch.zeros(1), half)
    assert torch.allclose(grey, x.mean(1, keepdim=True).expand_as(x), atol=1e-6)
    flat = colour(x, half, half, torch.zeros(1))
    assert torch.allclose(flat.std(), x.std() / 2, atol=1e-6) and torch.allclose(flat.mean(), x.mean(), atol=1e-6)


def test_holes_cover_a_share_of_each_side():
    middle = holes(torch.tensor([0.5]), torch.tensor([0.5]), 0.2, 20, 20)[0, 0]
    assert int((middle == 0).sum()) == 16 and bool((middle[8:12, 8:12] == 0).all())
    corner = holes(torch.tensor([0.0]), torch.tensor([0.999]), 0.2, 20, 20)[0, 0]
    assert int((corner == 0).sum()) == 4 and not corner[:2, -2:].any()


def test_augmentation_is_drawn_anew_and_lets_gradients_through():
    x = torch.randn(8, 3, 16, 16, requires_grad=True)
    config = AugmentConfig(probability=1.0)
    torch.manual_seed(3)
    first, second = augment(config, x), augment(config, x)
    torch.manual_seed(3)
    assert torch.equal(first, augment(config, x)) and not torch.equal(first, second)
    first.sum().backward()
    assert 0.4 < float((x.grad != 0).float().mean()) < 1
    assert augment(AugmentConfig(), x) is x


# --- pictures -------------------------------------------------------------------------------------------------------


def test_stylegan_blurs_before_it_drops_pixels():
    judge = build("stylegan", IMAGE, image_size=16, channels=64, most=8)
    block = judge.blocks[0]
    x = torch.randn(1, 4, 16, 16)
    row = np.array([1.0, 3, 3, 1]) / 8
    blurred = np.stack([scipy.signal.correlate2d(np.pad(c, 1), np.outer(row, row), mode="valid")[::2, ::2] for c in x[0].numpy()])
    assert np.allclose(block._blur(x, 1, stride=2)[0].numpy(), blurred, atol=1e-5)

    def convolved(maps, layer, stride, padding):
        weight = layer.weight.detach().numpy() / np.sqrt(layer.weight[0].numel())
        padded = np.pad(maps, ((0, 0), (padding, padding), (padding, padding)))
        out = [sum(scipy.signal.correlate2d(m, k, mode="valid") for m, k in zip(padded, kernels)) for kernels in weight]
        return np.stack(out)[:, ::stride, ::stride]

    def active(maps):
        return np.where(maps > 0, maps, 0.2 * maps) * np.sqrt(2)

    inner = active(convolved(x[0].numpy(), block.first, 1, 1))
    inner = np.stack([scipy.signal.correlate2d(np.pad(c, 2), np.outer(row, row), mode="valid") for c in inner])
    expected = (convolved(blurred, block.shortcut, 1, 0) + active(convolved(inner, block.second, 2, 0))) * np.sqrt(0.5)
    assert np.allclose(block(x)[0].detach().numpy(), expected, atol=1e-4) and expected.shape == (8, 8, 8)


def test_stylegan_keeps_the_variance_at_the_start():
    """Weights are N(0, 1) / sqrt(fan-in), activations have a gain: maps neither vanish nor explode over six halvings."""
    torch.manual_seed(0)
    judge = build("stylegan", IMAGE, image_size=256, channels=2048, most=64)
    (out,) = judge(torch.randn(2, 3, 256, 256))
    deviations = [float(f.detach().std()) for f in out.features]
    assert all(0.1 < d < 3 for d in deviations), deviations


def test_deviation_over_the_batch():
    x = torch.randn(6, 3, 2, 2)
    out = with_deviation(x, 4)  # 4 does not divide 6: groups of 3, every second picture
    for first in (0, 1):
        group = x[first::2].numpy()
        expected = np.sqrt(group.var(0) + 1e-8).mean()
        assert np.allclose(out[first::2, 3].numpy(), expected, atol=1e-6)
    same = with_deviation(x[:1].expand(4, -1, -1, -1), 4)
    assert float(same[:, 3].max()) < 1e-3, "pictures that are all alike"


def test_stylegan_takes_pictures_of_its_size_alone():
    judge = build("stylegan", IMAGE, image_size=16, channels=64, most=8)
    with pytest.raises(ValueError, match="image_size to data.crop"):
        judge(torch.rand(1, 3, 32, 32))


def test_blurred_halving():
    judge = build("blurred_patchgan", IMAGE, channels=32, layers=1, grid=2)
    x = torch.randn(1, 1, 8, 9)
    row = np.array([1.0, 3, 3, 1]) / 8
    padded = np.pad(x[0, 0].numpy(), ((1, 1), (1, 2)))  # "same": ceil(side / 2) places, the odd pixel of padding at the end
    expected = scipy.signal.correlate2d(padded, np.outer(row, row), mode="valid")[::2, ::2]
    assert np.allclose(judge._halve(x)[0, 0].numpy(), expected, atol=1e-5)
    assert judge(torch.randn(2, 3, 40, 40))[0].logits.shape == (2, 1, 2, 2)


# --- sound ----------------------------------------------------------------------------------------------------------


def spectrum(x, length, hop, window):
    padded = np.pad(x, length // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, length)[::hop] * window
    return np.abs(np.fft.rfft(frames, axis=-1)).T  # [F, N]


@pytest.mark.parametrize("window", ["hann", "box"])
def test_magnitudes(window):
    x = np.random.default_rng(0).normal(size=(1, 2, 400))
    values = scipy.signal.get_window("hann", 64) if window == "hann" else np.ones(64)
    out = Magnitudes(64, 16, window=window)(torch.from_numpy(x)).numpy()
    assert np.allclose(out[0, 1], spectrum(x[0, 1], 64, 16, values), atol=1e-3)
    bounded = Magnitudes(64, 16, window=window, bounds=(1.0, 100.0))(torch.from_numpy(x)).numpy()
    assert np.allclose(bounded, np.clip(out, 1, 10), atol=1e-3)


def test_multi_frequency_sees_mel_magnitudes_and_decibels():
    judge = build("multi_frequency", SOUND, hops=[16], channels=[32])
    calls = seen_by(judge.heads[0].layers[0])
    x = np.random.default_rng(0).normal(size=400) * 0.1
    judge(torch.from_numpy(x)[None, None].float())
    magnitude = np.sqrt(np.maximum(spectrum(x, 64, 16, scipy.signal.get_window("hann", 64)) ** 2 / 64, 1e-7))
    hz = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 35) / 2595) - 1)
    at = np.linspace(0, 8000, 33)
    rising = (at[:, None] - hz[None, :-2]) / np.diff(hz)[None, :-1]
    falling = (hz[None, 2:] - at[:, None]) / np.diff(hz)[None, 1:]
    bands = np.clip(np.minimum(rising, falling), 1e-6, 1)  # [F, bands]
    mel = bands.T @ magnitude
    level = np.clip((20 * np.log10(mel) - 20 + 100) / 100, 0, 1)
    assert np.allclose(calls[0][0].numpy(), np.stack([mel, level]), atol=1e-3)


def test_spectrogram_patches_halve_both_axes():
    judge = build("spectrogram_patches", SOUND, windows=[128], hop_ratio=0.5, channels=4, most=16)
    (out,) = judge(torch.randn(1, 1, 64 * 63))
    assert [tuple(f.shape[1:]) for f in out.features] == [(4, 33, 32), (8, 17, 16), (16, 9, 8), (16, 5, 4), (16, 5, 4)]
    assert out.logits.shape == (1, 1, 5, 4)


def test_the_speech_model_judges_all_hidden_states(tmp_path):
    folder = str(teacher_models.speech_model(tmp_path / "speech"))
    judge = build("speech_model", SOUND, model=folder, channels=4)
    calls = seen_by(judge.entry)
    x = torch.randn(2, 1, 4000, requires_grad=True)
    (out,) = judge(x)
    states = transformers.AutoModel.from_pretrained(folder).eval()(x[:, 0].detach(), output_hidden_states=True).hidden_states
    assert torch.allclose(calls[0], torch.cat(states, dim=2).transpose(1, 2), atol=1e-5)
    out.logits.sum().backward()
    assert x.grad.abs().sum() > 0 and not any("trunk" in name for name in judge.state_dict())


def test_blur_equals_a_plain_reference_and_fades():
    """A kernel of the halves' width sqrt(H / 2), in NumPy; a smaller share blurs less, 0 not at all."""
    x = torch.rand(2, 3, 18, 20, generator=torch.Generator().manual_seed(0))
    for share, radius in ((1.0, 9), (0.5, 4)):
        d = np.arange(-radius, radius + 1)
        kernel = 2.0 ** -((d / (share * 3.0)) ** 2)
        kernel /= kernel.sum()
        padded = np.pad(x.numpy().astype(np.float64), ((0, 0), (0, 0), (radius, radius), (radius, radius)), mode="reflect")
        rows = sum(k * padded[:, :, i : i + 18] for i, k in enumerate(kernel))
        expected = sum(k * rows[..., i : i + 20] for i, k in enumerate(kernel))
        assert np.allclose(blurred(x, share).numpy(), expected, atol=1e-5)
    spreads = [float(augment(AugmentConfig(blur=share), x).std()) for share in (1.0, 0.5, 0.2, 0.0)]
    assert spreads == sorted(spreads) and torch.equal(augment(AugmentConfig(blur=0.0), x), x)
    with pytest.raises(ConfigError, match="blur is 1.5"):
        AugmentConfig(blur=1.5)
