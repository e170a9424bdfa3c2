"""Codecs that are programs of the system. Run: pytest tests/zoo/bench/test_command_codecs.py"""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tokenzoo.codecs.media import Waveform
from tokenzoo.zoo.bench import command_codecs, reference_codecs
from tokenzoo.zoo.bench.command_codecs import Commands, code, codec2, delay_by_spectra, ogg_payload_bytes, shifted, speex

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def speech():
    samples, rate_hz = soundfile.read(ROOT / "zoo/demo/media/speech.flac", dtype="float32", frames=32000)
    assert rate_hz == 16000
    return torch.from_numpy(samples)


def test_samples_pass_through_the_programs(speech):
    size, back = code(Commands("cp {0} {1}", "cp {0} {1}", 16000, ".bit", ".raw"), speech, 16000)
    assert size == 2 * len(speech)
    assert torch.equal(back, (speech * 32768).round() / 32768)
    with pytest.raises(RuntimeError, match="cp failed: .*missing file operand"):
        code(Commands("cp", "cp {0} {1}", 16000, ".bit", ".raw"), speech, 16000)


@pytest.mark.parametrize("commands", [codec2(3200), speex(0, wide=True), speex(1, wide=False)], ids=lambda c: c.encode)
def test_installed_programs(speech, commands):
    if commands.missing:
        pytest.skip(commands.missing)
    size, back = code(commands, speech, 16000)
    assert 3000 < 8 * size / 2 < 4500, "bits a second"
    delay = delay_by_spectra([(back, speech)], 16000)
    assert 5 * 16 <= delay <= 40 * 16


@pytest.mark.parametrize("delay", [-320, 0, 480])
def test_a_delay_is_found_in_spectra_though_the_phase_is_another(speech, delay):
    late = shifted(-speech, -delay, len(speech))
    assert delay_by_spectra([(late, speech)], 16000) == delay
    assert torch.equal(shifted(late, delay, len(speech))[1000:-1000], -speech[1000:-1000])


def test_clips_too_short_for_a_delay_have_none():
    assert delay_by_spectra([(torch.rand(500), torch.rand(500))], 16000) == 0


def test_pages_and_headers_do_not_count():
    def page(position, *sizes):
        return b"OggS\0\0" + struct.pack("<q", position) + bytes(12) + bytes([len(sizes), *sizes]) + bytes(sum(sizes))

    assert ogg_payload_bytes(page(0, 80) + page(0, 17) + page(640, 10, 20) + page(960, 5)) == 35
    with pytest.raises(ValueError, match="no Ogg page at byte 0"):
        ogg_payload_bytes(b"RIFF" + bytes(40))


def test_what_is_not_installed_is_noted(monkeypatch):
    monkeypatch.setattr(command_codecs.shutil, "which", lambda _: None)
    codecs, notes = reference_codecs._sound_codecs(16000)
    assert "no Codec2: c2enc was not found: apt-get install codec2" in notes
    assert "Codec2" not in [c.name for c in codecs]


def test_items_keep_their_length(monkeypatch, speech):
    copy = Commands("cp {0} {1}", "cp {0} {1}", 8000, ".bit", ".raw")
    size, back = reference_codecs._by_command(lambda _: copy, Waveform(speech[None, :-7].repeat(2, 1), 16000), 0)
    assert size == pytest.approx(len(speech), abs=8) and back.shape == (1, len(speech) - 7)
    assert float((back[0] - speech[:-7]).norm() / speech.norm()) < 0.5


def test_music_is_compared_at_its_own_rate():
    pytest.importorskip("av")
    assert reference_codecs.rate_of([{}, {"rate_hz": 8000}]) == 16000
    assert reference_codecs.rate_of([{"rate_hz": 16000}, {"rate_hz": 24000}]) == 24000
    codecs, notes = reference_codecs._sound_codecs(24000)
    assert [c.name for c in codecs] == ["Opus"] and any("24 kHz" in note for note in notes)
    rng = np.random.default_rng(0)
    x = torch.from_numpy(0.1 * rng.standard_normal((1, 48000))).float()
    _, decoded = codecs[0].code(Waveform(x, 24000), 64)
    above = [float(torch.fft.rfft(v[0])[18000:].abs().square().sum()) for v in (x, decoded)]  # beyond 9 kHz, of 12
    assert decoded.shape == x.shape and above[1] > 0.3 * above[0]
    assert reference_codecs.metrics("audio", rate_hz=24000).spec.sample_rate_hz == 24000
