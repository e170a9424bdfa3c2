"""Media too short for a loss or a discriminator are one clear error, when the run is built where crops are known.

    pytest tests/train/losses/test_lengths.py
"""

import pytest
import torch
from loss_cases import AUDIO, IMAGE, inputs
from tokenzoo.codecs.config import ConfigError, from_mapping
from tokenzoo.train.discriminators import DISCRIMINATORS
from tokenzoo.train.discriminators.base import DiscriminatorConfig
from tokenzoo.train.files import parse_run
from tokenzoo.train.loop import Trainer
from tokenzoo.train.losses.base import LossConfig
from train_media import audio_run, write_sounds

#: Loss -> settings with two windows, of 64 and 256 samples.
LOSSES = {
    "stft": {"windows": [256, 64]},
    "mel": {"windows": [64, 256], "bands": [5, 20]},
    "compressed_stft": {"windows": [64, 256]},
}
#: Discriminator -> tiny settings, least samples of a clip (pixels of a picture).
JUDGES = {
    "multi_resolution_stft": ({"windows": [256, 64], "channels": 4}, 129),
    "multi_scale_stft": ({"windows": [64, 256], "channels": 4}, 129),
    "multi_period": ({"periods": [2, 11], "channels": [4, 4]}, 6),
    "multi_scale": ({"channels": 16}, 1),
    "multi_resolution_spectrogram": ({"windows": [256, 64], "channels": 4}, 129),
    "spectrogram_patches": ({"windows": [64, 256], "channels": 4}, 129),
    "multi_frequency": ({"hops": [8, 16], "channels": [32, 32], "mel": False}, 128),
    "mel_bands": ({"spectrogram": {"window": 256, "bands": 20}, "channels": 4}, 129),
    "patchgan": ({"channels": 4, "layers": 2, "norm": "none"}, 12),
    "blurred_patchgan": ({"channels": 32, "layers": 2}, 4),
}
#: They resize what they take, take one size alone, or judge by another of this table.
ANY_LENGTH = {"dino", "speech_model", "stylegan", "by_group"}


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("kind", sorted(LOSSES))
def test_losses_leave_out_windows_and_refuse_clips_that_none_fits(kind):
    config = from_mapping(LossConfig, {"kind": kind, **LOSSES[kind]})
    assert config.least_samples == 33
    both = config.build(AUDIO)
    for samples, windows in ((33, 1), (128, 1), (129, 2)):
        x, y = noise(2, 1, samples), noise(2, 1, samples + 1)[..., :-1]
        alone = [
            from_mapping(LossConfig, {"kind": kind, "windows": [n]} | ({"bands": [b]} if kind == "mel" else {})).build(AUDIO)
            for n, b in ((64, 5), (256, 20))[:windows]
        ]
        expected = sum(float(one(inputs(x, y))) for one in alone)
        assert expected > 0
        assert float(both(inputs(x, y))) == pytest.approx(expected, rel=1e-5)
    for samples in (0, 1, 10, 32):
        with pytest.raises(ValueError, match=f"'{kind}' cannot judge media of {samples} samples: it needs at least 33"):
            both(inputs(noise(2, 1, samples), noise(2, 1, samples)))


def test_every_judge_is_covered():
    assert set(JUDGES) | ANY_LENGTH == set(DISCRIMINATORS.names())


@pytest.mark.parametrize("kind", sorted(JUDGES))
def test_judges_take_the_least_length_and_refuse_less(kind):
    options, least = JUDGES[kind]
    config = from_mapping(DiscriminatorConfig, {"kind": kind, **options})
    picture = "patchgan" in kind
    judge = config.build(IMAGE if picture else AUDIO)
    for size in range(least, least + 12):
        out = judge(noise(2, 3, size, size + 1) if picture else noise(2, 1, size))
        assert all(j.logits.numel() and torch.isfinite(j.logits).all() for j in out)
    for size in {0, least // 2, least - 1}:
        match = f"'{kind}' cannot judge media of {size} .*: it needs at least {least}"
        with pytest.raises(ValueError, match=match):
            judge(noise(2, 3, size + 7, size) if picture else noise(2, 1, size))


@pytest.mark.parametrize("section", ["losses", "discriminators"])
def test_a_run_whose_crops_are_too_short_is_refused_when_it_is_built(tmp_path, section):
    sounds = write_sounds(tmp_path / "sounds", 2)
    run = audio_run(sounds, tmp_path / "out")
    hop = Trainer(parse_run(run)).state.tokenizer.spec.hop_samples
    run["data"] |= {"crop_seconds": 1e-4}  # rounded up to a hop
    if section == "losses":
        run["losses"] = {"stft": {"windows": [4096, 2048]}, "quantizer": {}}
    else:
        run["losses"] = {"waveform": {}, "quantizer": {}, "adversarial": {}}
        run["discriminators"] = {"stft": {"kind": "multi_scale_stft", "windows": [2048, 64], "channels": 4}}
    with pytest.raises(ConfigError, match=rf"{section}\.stft cannot judge media of {hop} samples: it needs at least 1025"):
        Trainer(parse_run(run))
