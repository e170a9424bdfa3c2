"""MP3: its length is counted, whatever its first frame says or does not say.

    pytest tests/codecs/media/test_mpeg.py
"""

import io

import numpy as np
import pytest
import soundfile
import torch
from media_cases import chirp, sound, vbr_mp3, without_first_frame
from tokenzoo.codecs.media import MediaError, mpeg, probe_audio, read_audio

TAG = b"TAG" + b"x" * 125
APE = b"APETAGEX" + bytes(24) + b"k" * 3000 + b"APETAGEX" + bytes(24)
ID3 = b"ID3\x03\x00\x00" + bytes([0, 0, 23, 56]) + b"APIC" + bytes(2996)


def test_a_variable_rate_without_its_first_frame_is_read_whole(tmp_path):
    """libsndfile guesses the length from the first frame's rate, and stops there."""
    data = without_first_frame(vbr_mp3())
    frames = mpeg.frames_of(data, "x").count
    assert soundfile.info(io.BytesIO(data)).frames < 0.8 * frames * 576, "else this test shows nothing"
    path = tmp_path / "x.mp3"
    path.write_bytes(data)
    for source in (data, path):
        clip = read_audio(source)
        assert clip.samples.shape[1] == frames * 576 and abs(frames * 576 - 64000) <= 2 * 1152
        assert probe_audio(source) == (frames * 576, 16000)
    late = read_audio(path, start=50000, frames=4000).samples
    assert torch.allclose(late, clip.samples[:, 50000:54000], atol=1e-6)


def test_the_same_sound_with_and_without_its_first_frame():
    data = vbr_mp3()
    with_facts, without = read_audio(data).samples[0], read_audio(without_first_frame(data)).samples[0]
    assert len(with_facts) == 64000, "a decoder leaves out what the encoder added"
    delay = 1105
    assert torch.allclose(without[delay : delay + 60000], with_facts[:60000], atol=1e-5)


def test_what_libsndfile_reads_rightly_stays_as_it_is():
    for options in ({}, {"bitrate_mode": "CONSTANT", "compression_level": 0.9}, {"bitrate_mode": "AVERAGE"}):
        for channels in (1, 2):
            data = sound("mp3", chirp(2.0, 44100, channels), 44100, **options)
            theirs, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
            assert np.array_equal(read_audio(data).samples.numpy().T, theirs)


@pytest.mark.parametrize("around", [(b"", TAG), (ID3, b""), (ID3, APE + TAG), (b"", bytes(5000)), (ID3 + ID3, TAG)])
def test_tags_around_the_frames_change_nothing(around):
    data = vbr_mp3(1.0)
    for frames in (data, without_first_frame(data)):
        tagged = around[0] + frames + around[1]
        assert torch.equal(read_audio(tagged).samples, read_audio(frames).samples)
        with pytest.raises(MediaError, match="truncated"):
            read_audio(around[0] + frames[:-5])


def test_files_put_behind_one_another_are_read_to_the_end():
    """The first frame claims only the first of them."""
    data = vbr_mp3(1.0)
    frames = mpeg.frames_of(data, "x")
    twice = read_audio(data + TAG + data).samples
    alone = read_audio(data).samples
    assert twice.shape[1] > 1.95 * alone.shape[1] and frames.is_as_claimed
    assert torch.allclose(twice[:, 1105 : 1105 + 15000], alone[:, :15000], atol=1e-5)


def test_less_than_the_first_frame_claims_is_truncated():
    data = vbr_mp3(1.0)
    offsets = mpeg.frames_of(data, "x").offsets
    with pytest.raises(MediaError, match=r"x is truncated: \d+ of \d+ frames"):
        read_audio(data[: offsets[-10]], name="x")
    with pytest.raises(MediaError, match="x is truncated: 20 of .* bytes of its last frame"):
        read_audio(without_first_frame(data[: offsets[-2] + 20]), name="x")
    assert read_audio(without_first_frame(data[: offsets[-10]])).samples.shape[1], "nothing tells that frames are missing here"


def test_junk_between_frames_is_passed_over():
    data = vbr_mp3(1.0)
    at = int(mpeg.frames_of(data, "x").offsets[20])
    damaged = data[:at] + b"junk" * 50 + data[at:]
    found = mpeg.frames_of(damaged, "x")
    assert not found.clean and found.count == mpeg.frames_of(data, "x").count
    whole = read_audio(damaged).samples
    assert abs(whole.shape[1] - 16000) < 4 * 1152
    assert torch.equal(read_audio(damaged, start=9000, frames=500).samples, whole[:, 9000:9500])


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 32000, 44100, 48000])
def test_parts_are_exact_at_every_rate_and_bit_rate(rate, capfd):
    for mode, level in (("VARIABLE", 0.3), ("CONSTANT", 0.95), ("CONSTANT", 0.2)):
        data = sound("mp3", chirp(3.0, rate, 2), rate, bitrate_mode=mode, compression_level=level)
        whole = read_audio(data).samples
        for start in range(0, whole.shape[1] - 2000, whole.shape[1] // 7):
            part = read_audio(data, start=start, frames=2000).samples
            assert torch.allclose(part, whole[:, start : start + 2000], atol=1e-6)
    assert not capfd.readouterr().err, "the decoder complained of missing bits"


def test_bytes_that_are_no_frames():
    with pytest.raises(MediaError, match="no frames of MPEG audio"):
        mpeg.frames_of(b"\xff\xfb" + bytes(4000), "x")
    with pytest.raises(MediaError, match="ends within its tag"):
        mpeg.frames_of(ID3[:100], "x")
