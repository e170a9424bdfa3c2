"""Training data of sound: resampling, levels, gain, speeds, mixing, formats. Run: pytest tests/train/test_sound_data.py"""

import numpy as np
import pytest
import soundfile
import torch
from tokenzoo.codecs.config import ConfigError
from tokenzoo.train.data.audio import AudioDataConfig
from train_media import AUDIO, RATE, sounds, write_sounds


@pytest.mark.parametrize("cache", ["none", "memory"])
@pytest.mark.parametrize("rate", [44100, 16000, 6000])
def test_resampling_keeps_a_sine(tmp_path, rate, cache):
    t = np.arange(rate) / rate
    soundfile.write(tmp_path / "a.wav", np.stack([0.5 * np.sin(2 * np.pi * 440 * t)] * 2, axis=1), rate)
    clips, _ = sounds(tmp_path, crop_seconds=0.5, min_level_db=-90, cache=cache)
    for i in range(4):
        x = clips[i][0][0].numpy()[100:-100]  # away from the ends of the file
        basis = 2 * np.pi * 440 * np.arange(len(x)) / RATE
        columns = np.stack([np.sin(basis), np.cos(basis)], axis=1)
        weights, *_ = np.linalg.lstsq(columns, x, rcond=None)
        assert np.hypot(*weights) == pytest.approx(0.5, rel=1e-2)
        assert np.abs(x - columns @ weights).max() < 5e-3


def test_short_clips_are_padded_or_continued(tmp_path):
    for i, value in enumerate((0.1, 0.2)):
        soundfile.write(tmp_path / f"{i}.wav", np.full(1000, value), RATE, subtype="FLOAT")
    padded = sounds(tmp_path, crop_seconds=0.2, short="pad")[0]
    x = padded[0][0][0]
    assert x.shape == (1600,)
    assert x[:1000].unique().numel() == 1
    assert not x[1000:].any()
    joined = sounds(tmp_path, crop_seconds=0.2, short="concat")[0]
    seen = {round(float(v), 3) for i in range(10) for v in joined[i][0].unique()}
    assert seen == {0.1, 0.2}


def test_crop_length_is_whole_hops():
    assert AudioDataConfig(crop_seconds=0.2001).media(AUDIO).length == 1680


@pytest.mark.parametrize("kind", ["rms", "lufs"])
def test_levels(tmp_path, kind):
    write_sounds(tmp_path, 3, seconds=2)
    options = {"crop_seconds": 1.0, "normalize": kind, "level_db": -26.0}
    levels = []
    for i in range(3):
        x = sounds(tmp_path, **options)[0][i][0]
        if kind == "lufs":
            import torchaudio

            levels.append(float(torchaudio.functional.loudness(x, RATE)))
        else:
            levels.append(float(20 * x.square().mean().sqrt().log10()))
    assert levels == pytest.approx([-26.0] * 3, abs=0.1)
    jittered = sounds(tmp_path, **options, level_jitter_db=6.0)[0]
    spread = [float(20 * jittered[i][0].square().mean().sqrt().log10()) for i in range(12)]
    assert max(spread) - min(spread) > 3


def test_gain_is_random_and_never_clips(tmp_path):
    write_sounds(tmp_path, 1)
    clips = sounds(tmp_path, gain_db=(-12.0, 30.0))[0]
    peaks = [float(clips[i][0].abs().max()) for i in range(20)]
    assert max(peaks) <= 1.0
    assert min(peaks) < 0.4 < 0.9 < max(peaks)


def test_equal_bounds_are_a_fixed_gain_of_training_crops(tmp_path):
    write_sounds(tmp_path, 1)
    plain, quiet = sounds(tmp_path)[0], sounds(tmp_path, gain_db=(-20.0, -20.0))[0]
    for i in range(3):
        assert torch.allclose(quiet[i][0], 0.1 * plain[i][0], atol=1e-4)


def loudest_hz(x: torch.Tensor) -> float:
    return float(np.abs(np.fft.rfft(x.numpy() * np.hanning(len(x)))).argmax() * RATE / len(x))


def test_speeds_shift_pitch_and_tempo(tmp_path):
    soundfile.write(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 500 * np.arange(4 * RATE) / RATE), RATE)
    clips = sounds(tmp_path, crop_seconds=0.5, speeds=(0.8, 1.0, 1.2))[0]
    heard = {round(loudest_hz(clips[i][0][0]), -1) for i in range(20)}
    assert {clips[i][0].shape for i in range(20)} == {(1, RATE // 2)}
    assert heard == {400.0, 500.0, 600.0}
    plain = sounds(tmp_path, crop_seconds=0.5, speeds=(1.2,), train=False)[0]
    assert loudest_hz(plain[0][0][0]) == pytest.approx(500, abs=5)


def test_a_second_clip_is_added_more_quietly(tmp_path):
    for hz, level in ((500, 0.1), (1500, 0.4)):
        soundfile.write(tmp_path / f"{hz}.wav", level * np.sin(2 * np.pi * hz * np.arange(4 * RATE) / RATE), RATE)
    clips = sounds(tmp_path, crop_seconds=0.5, mix_share=0.5, mix_db=(12.0, 12.0))[0]
    ratios = []
    for i in range(40):
        x = clips[i][0][0].numpy()
        low, high = (np.abs(x @ np.exp(2j * np.pi * hz * np.arange(len(x)) / RATE)) for hz in (500, 1500))
        ratios.append(round(20 * abs(np.log10((low + 1e-3) / (high + 1e-3)))))
    assert ratios.count(12) >= 4 and len(ratios) - ratios.count(12) >= 20, ratios
    alone = sounds(tmp_path, crop_seconds=0.5, mix_share=1.0, mix_db=(12.0, 12.0), train=False)[0]
    assert loudest_hz(alone[0][0][0]) == pytest.approx(1500, abs=5)


@pytest.mark.parametrize("options", [{"speeds": ()}, {"speeds": (0.1,)}, {"mix_share": 1.5}, {"mix_share": 0.1, "mix_db": (20.0, 5.0)}])
def test_augmentation_out_of_range_is_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        AudioDataConfig(**options)


def test_quiet_places_are_drawn_again(tmp_path):
    wave = np.zeros(8 * RATE)
    wave[4 * RATE :] = 0.3 * np.sin(np.arange(4 * RATE))
    soundfile.write(tmp_path / "a.wav", wave, RATE)
    clips = sounds(tmp_path, crop_seconds=0.5)[0]
    silent = sum(not clips[i][0].any() for i in range(40))
    assert silent < 8  # of about 18 without drawing again


def test_formats_that_only_pyav_reads(tmp_path):
    av = pytest.importorskip("av")
    t = np.arange(16000) / 16000
    tone = (8000 * np.sin(2 * np.pi * 500 * t)).astype(np.int16)
    with av.open(str(tmp_path / "a.g722"), "w", format="g722") as out:
        stream = out.add_stream("g722", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        frame.sample_rate = 16000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    for cache in ("none", "memory"):
        x = sounds(tmp_path, crop_seconds=0.5, cache=cache)[0][0][0]
        assert float(x.abs().max()) == pytest.approx(8000 / 32768, rel=0.1)
