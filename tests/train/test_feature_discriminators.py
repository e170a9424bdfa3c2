"""Discriminators that judge features in place of media, as Kanade's judges predicted spectrograms; what they look at, plainly.

    pytest tests/train/test_feature_discriminators.py
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchaudio
from small_runs import write_speech
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.spec import AudioSpec
from tokenzoo.train import TrainState, train_step
from tokenzoo.train.discriminators.mel_bands import MelBandsConfig
from tokenzoo.train.files import load_run
from tokenzoo.train.teachers.mel import MelTeacherConfig

SPEC = AudioSpec(vocab_sizes=(4,), sample_rate_hz=16000, hop_samples=320)


def sound(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.1


def test_mel_targets_equal_torchaudio():
    x = sound(2, 1, 4000)
    own = MelTeacherConfig().build(SPEC)(x)
    theirs = torchaudio.transforms.MelSpectrogram(16000, n_fft=1024, hop_length=256, n_mels=100, power=1)(x[:, 0])
    assert torch.allclose(own, theirs.clamp(min=1e-7).log(), atol=1e-4)


def test_targets_that_are_not_centred_equal_numpy():
    x, window, hop = sound(1, 1, 3200), 400, 100
    own = MelTeacherConfig(window=window, bands=10, centred=False, scale="slaney", floor=1e-5).build(SPEC)(x)[0].numpy()
    wave = np.pad(x[0, 0].numpy(), (window - hop) // 2, mode="reflect")
    frames = np.stack([wave[i : i + window] for i in range(0, len(wave) - window + 1, hop)])
    magnitudes = np.abs(np.fft.rfft(frames * torch.hann_window(window).numpy()))
    bank = torchaudio.functional.melscale_fbanks(window // 2 + 1, 0.0, 8000.0, 10, 16000, norm="slaney", mel_scale="slaney")
    assert own.shape == (10, 32)  # T // hop frames
    assert np.allclose(own, np.log(np.maximum(magnitudes @ bank.numpy(), 1e-5)).T, atol=1e-4)


def test_bands_are_judged_apart_and_joined_by_the_last_layer():
    judge = MelBandsConfig(of=("a", "b"), channels=2, dilations=(1, 2), bands=((0.0, 0.5), (0.5, 1.0))).build(SPEC)
    x = sound(2, 10, 12)
    (found,) = judge(x)
    outs, features = [], []
    for rows, stack in zip((slice(0, 5), slice(5, 10)), judge.stacks, strict=True):
        y = x[:, None, rows].transpose(2, 3)
        for layer, dilation in zip(stack, (1, 1, 2, 1), strict=True):
            y = F.leaky_relu(F.conv2d(y, layer.weight, layer.bias, dilation=(dilation, 1), padding=(dilation, 1)), 0.1)
            features.append(y)
        outs.append(y)
    logits = F.conv2d(torch.cat(outs, 3), judge.out.weight, judge.out.bias, padding=1)
    expected = F.avg_pool2d(logits, 4, 2, 1, count_include_pad=False)
    assert torch.equal(found.logits, expected) and len(found.features) == 8
    assert all(torch.equal(a, b) for a, b in zip(found.features, features, strict=True))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = write_speech(tmp_path_factory.mktemp("speech"))
    fixed = [f"data.train={folder}", "data.valid=[]", "threads=1", "device=cpu"]
    return lambda *changes: load_run("audio/kanade-mel-debug", [*fixed, *changes])


def moved(state, batch):
    """Names of the parts whose weights a step changes."""
    sides = {"judge": state.adversary.module} | dict(state.tokenizer.named_children())
    before = {name: [p.clone() for p in part.parameters()] for name, part in sides.items()}
    train_step(state, batch)
    return {n for n, part in sides.items() if any(not torch.equal(a, b) for a, b in zip(part.parameters(), before[n], strict=True))}


def test_the_game_over_spectrograms_teaches_both_sides(run):
    only = ("losses.predicted.weight=0", "losses.semantic=null", "losses.quantizer=null", "losses.feature_matching=null", "ema.decay=0")
    state = TrainState(run(*only))
    assert {"judge", "synthesis", "voice_encoder"} <= moved(state, sound(2, 1, 10240))


def test_frozen_parts_stay(run):
    state = TrainState(run("model.frozen=[encoder,down,quantizer,feature_up,feature_decoder]", "losses.semantic=null"))
    found = moved(state, sound(2, 1, 10240))
    assert not found & {"encoder", "down", "quantizer", "feature_decoder"} and {"judge", "synthesis"} <= found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["discriminators.bands.of=[mel]"], "two names"),
        (["losses.adversarial.r1_weight=1.0"], "judges media"),
        (["discriminators.bands.of=[mel,mell]"], "'mell'"),
        (["discriminators.extra={kind: multi_period, periods: [2], channels: [4]}"], "can only compare media of one rate"),
    ],
)
def test_what_cannot_be_judged_is_refused(run, changes, message):
    with pytest.raises(ConfigError, match=message):
        train_step(TrainState(run(*changes)), sound(2, 1, 10240))
