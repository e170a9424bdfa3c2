"""Limits, looked at before memory is taken, and how to raise them; resampling.

    pytest tests/codecs/media/test_limits.py
"""

import io
import subprocess
import sys

import pytest
import torch
from media_cases import chirp, claimed_png, image_file, picture, sound, wav_header
from tokenzoo.codecs.media import MediaError, as_pictures, as_waveforms, read_audio, read_image, resample
from waiting import PATIENCE_SECONDS


def test_pixels(monkeypatch):
    from PIL import Image

    data = image_file(picture(48, 64), "PNG")
    monkeypatch.setenv("TOKENZOO_MAX_PIXELS", str(48 * 64 - 1))
    for form in (data, Image.open(io.BytesIO(data)), picture(48, 64), torch.zeros(3, 48, 64)):
        with pytest.raises(MediaError, match="64 x 48 pixels: refused; at most 3071 are allowed.*TOKENZOO_MAX_PIXELS"):
            as_pictures(form, (0.0, 1.0))
    assert read_image(data, max_pixels=48 * 64).shape == (3, 48, 64), "what is asked for goes before the environment"
    monkeypatch.setenv("TOKENZOO_MAX_PIXELS", "3.1e3")
    assert read_image(data).shape == (3, 48, 64)


def test_the_limit_can_be_raised_beyond_that_of_pillow(monkeypatch):
    monkeypatch.setenv("TOKENZOO_MAX_PIXELS", "4e8")
    with pytest.raises(MediaError, match="cannot read|truncated") as error:
        read_image(claimed_png(15_000, 15_000), name="x")
    assert "refused" not in str(error.value), "it was read as far as there is something"


def test_samples(monkeypatch):
    x, rate = chirp(0.1), 16000
    monkeypatch.setenv("TOKENZOO_MAX_SAMPLES", "3000")
    for form in (sound("wav", chirp(0.1, channels=2)), (torch.zeros(2, 1600), rate), (torch.from_numpy(x.T), 8000)):
        with pytest.raises(MediaError, match=r"3200 samples: refused; at most 3000 are allowed.*TOKENZOO_MAX_SAMPLES"):
            as_waveforms(form, default_rate_hz=rate)
    data = sound("flac", chirp(1.0))
    assert read_audio(data, start=9000, frames=3000).samples.shape == (1, 3000), "a part of a long file is no long clip"
    with pytest.raises(MediaError, match="16000 samples: refused"):
        read_audio(data)
    with pytest.raises(MediaError, match="resampled from 8000 to 16000 Hz"):
        resample(torch.zeros(1, 1501), 8000, 16000)


@pytest.mark.parametrize("text", ["x", "-1", "0", "inf"])
def test_a_senseless_limit(text, monkeypatch):
    monkeypatch.setenv("TOKENZOO_MAX_SAMPLES", text)
    with pytest.raises(MediaError, match=f"TOKENZOO_MAX_SAMPLES is '{text}'; give a whole number above 0"):
        read_audio(sound("wav", chirp(0.1)))


def test_headers_that_claim_very_much_take_no_memory(tmp_path):
    """In a process of its own that may not take another GiB."""
    flac = bytearray(sound("flac", chirp(0.1)))
    flac[21] |= 0x0F
    flac[22:26] = b"\xff" * 4  # 2^36 - 1 samples
    slow = wav_header(36 + 28000, 28000, rate=1) + bytes(28000)
    fast = wav_header(36 + 28000, 28000, rate=2**31 - 1) + bytes(28000)
    for i, data in enumerate((bytes(flac), slow, fast, claimed_png(1, 100_000_000))):
        (tmp_path / str(i)).write_bytes(data)
    code = f"""
import resource
from tokenzoo.codecs.media import MediaError, as_pictures, as_waveforms
import soundfile, PIL.Image, torchaudio
PIL.Image.init()
with open("/proc/self/statm") as file:
    now = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 2**30, now + 2**30))
for name in "0123":
    path = {str(tmp_path)!r} + "/" + name
    for read in (lambda: as_waveforms(path, default_rate_hz=16000), lambda: as_pictures(path, (0.0, 1.0))):
        try:
            read()
        except MediaError as error:
            assert "not enough memory" not in str(error) and "more memory" not in str(error), error
        else:
            raise SystemExit("accepted")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert not done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("rate", [1, 99, 2**31 - 1])
def test_rates_that_no_sound_has(rate):
    for form in (wav_header(36 + 2000, 2000, rate=rate) + bytes(2000), (torch.zeros(1000), rate)):
        with pytest.raises(MediaError, match=f"a sample rate of {rate} Hz; 100 to 10000000 are allowed"):
            as_waveforms(form, default_rate_hz=16000)


# --- resampling -------------------------------------------------------------------------------------------------------


def test_resampling_keeps_a_tone():
    tone = torch.sin(torch.arange(4000) * 0.05) * 0.5
    y = resample(tone, 8000, 12000)
    expected = torch.sin(torch.arange(6000) * 0.05 * 8 / 12) * 0.5
    assert len(y) == 6000 and (y - expected)[200:-200].abs().max() < 1e-3


@pytest.mark.parametrize(("old", "new"), [(16000, 22051), (44101, 16000), (22255, 16000), (191999, 24000)])
def test_rates_without_a_common_divisor_take_the_same_filter_without_its_memory(old, new):
    """torchaudio would keep `new` filters of `old` values each; its own are exact to some 1e-3 at such rates only."""
    t = torch.arange(old // 4, dtype=torch.float64) / old
    tone = (0.5 * torch.sin(2 * torch.pi * 400 * t)).float()
    y = resample(tone.expand(2, -1), old, new)
    expected = 0.5 * torch.sin(2 * torch.pi * 400 * torch.arange(-(-len(t) * new // old), dtype=torch.float64) / new)
    assert y.shape == (2, len(expected)) and (y[0] - expected)[300:-300].abs().max() < 1e-4 and torch.equal(y[0], y[1])


def test_both_ways_to_resample_agree(monkeypatch):
    from tokenzoo.codecs.media import resampling

    x = torch.randn(2, 3000, generator=torch.Generator().manual_seed(0))
    for old, new in ((44100, 16000), (16000, 44100), (8000, 24000), (48000, 16000)):
        usual = resample(x, old, new)
        monkeypatch.setattr(resampling, "_MOST_VALUES", 0)
        assert torch.allclose(resample(x, old, new), usual, atol=5e-5)
        monkeypatch.undo()
