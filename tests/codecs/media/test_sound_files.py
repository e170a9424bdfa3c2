"""Sound files: whole ones, parts of them, truncated ones, and files that are no regular files.

    pytest tests/codecs/media/test_sound_files.py
"""

import contextlib
import io
import os
import socket
import struct
import threading

import numpy as np
import pytest
import torch
from media_cases import SOUNDS, chirp, sound, wav_header
from tokenzoo.codecs.media import MediaError, probe_audio, read_audio
from waiting import PATIENCE_SECONDS

PCM = (chirp(0.5)[:, 0] * 32767).astype("<i2").tobytes()


def av_file(format: str, codec: str, seconds: float = 2.0, rate: int = 48000) -> bytes:
    """A file that only PyAV writes."""
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format=format) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        pcm = (chirp(seconds, rate)[:, 0] * 32767).astype(np.int16)
        for i in range(0, len(pcm), 1024):
            frame = av.AudioFrame.from_ndarray(pcm[None, i : i + 1024].copy(), format="s16", layout="mono")
            frame.sample_rate, frame.pts = rate, i
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
    return file.getvalue()


# --- whole files and parts of them ------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", SOUNDS)
def test_any_part_of_a_file_is_that_part_of_the_whole(kind, channels, tmp_path):
    if kind == "gsm wav" and channels == 2:
        pytest.skip("GSM is mono")
    data = sound(kind, chirp(4.0, channels=channels))
    path = tmp_path / "x.bin"
    path.write_bytes(data)
    whole = read_audio(data).samples
    length = whole.shape[1]
    assert whole.shape[0] == channels and abs(length - 64000) < 2300
    assert torch.equal(read_audio(path).samples, whole), "a path and its bytes"
    assert probe_audio(path) == probe_audio(data) == (length, 16000)
    for start, frames in ((0, 100), (1, 3000), (777, 20000), (30001, 3000), (length - 50, 3000), (length, 10)):
        for source in (path, data):
            part = read_audio(source, start=start, frames=frames).samples
            assert part.shape[1] == min(frames, length - start)
            assert torch.allclose(part, whole[:, start : start + frames], atol=1e-6), (start, frames)


@pytest.mark.parametrize(("format", "codec"), [("mp4", "aac"), ("webm", "libopus"), ("adts", "aac"), ("mp2", "mp2"), ("g722", "g722")])
def test_formats_of_pyav(format, codec, recwarn):
    data = av_file(format, codec, rate=16000 if format == "g722" else 48000)
    name = "x.g722" if format == "g722" else ""
    whole = read_audio(data, name=name)
    length, rate = probe_audio(data, name=name)
    assert whole.samples.shape == (1, length) and abs(length / rate - 2) < 0.1
    part = read_audio(data, name=name, start=10000, frames=3000).samples
    assert torch.allclose(part, whole.samples[:, 10000:13000], atol=1e-6) and not recwarn.list


def test_flac_from_a_pipe_that_does_not_say_how_long_it_is():
    pytest.importorskip("av")
    data = bytearray(sound("flac", chirp(0.5)))
    whole = read_audio(bytes(data)).samples
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    assert torch.equal(read_audio(bytes(data)).samples, whole) and probe_audio(bytes(data)) == (8000, 16000)


@pytest.mark.parametrize("same", [True, False])
def test_streams_that_follow_one_another_in_one_ogg_file_are_all_read(same):
    a, b = sound("vorbis", chirp(0.5)), sound("vorbis", chirp(0.5) if same else chirp(0.3) * 0.5)
    parts = [read_audio(x).samples for x in (a, b)]
    both = torch.cat(parts, dim=1)
    assert torch.equal(read_audio(a + b).samples, both) and probe_audio(a + b)[0] == both.shape[1]
    assert torch.equal(read_audio(a + b, start=7000, frames=2000).samples, both[:, 7000:9000])
    with pytest.raises(MediaError, match="2 streams of different rates or channels"):
        read_audio(a + sound("vorbis", chirp(0.3, channels=2)))


# --- is all of it there? ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SOUNDS)
def test_truncated_files_are_refused_wherever_they_are_cut(kind):
    data = sound(kind, chirp(1.5))
    size = len(data)
    last = {"alac": 3, "gsm wav": 2}.get(kind, 1)  # what these end in is no sound
    for cut in (size - last, size - 100, *(size * k // 10 for k in range(1, 10))):
        for part in ({}, {"start": 100, "frames": 50}):
            with pytest.raises(MediaError, match="x is truncated"):
                read_audio(data[:cut], name="x", **part)


@pytest.mark.parametrize("kind", ["vorbis", "opus"])
def test_ogg_without_its_last_pages_is_truncated(kind):
    data = sound(kind, chirp(1.5))
    for _ in range(2):
        data = data[: data.rindex(b"OggS")]
        for part in ({}, {"start": 100, "frames": 50}):
            with pytest.raises(MediaError, match="x is truncated: its last page is missing"):
                read_audio(data, name="x", **part)


@pytest.mark.parametrize(("format", "codec"), [("mp4", "aac"), ("webm", "libopus"), ("mp2", "mp2"), ("adts", "aac")])
def test_truncated_files_of_pyav_are_refused(format, codec):
    data = av_file(format, codec)
    for cut in (*(len(data) * k // 10 + 3 for k in range(1, 10)), len(data) - 20, len(data) - 1):
        with pytest.raises(MediaError, match="x is truncated"):
            read_audio(data[:cut], name="x")


@pytest.mark.parametrize(
    ("riff", "data"),
    [
        (0xFFFFFFFF, 0xFFFFFFFF), (0, 0), (0xFFFFFFFF, 0), (36, 0), (0x7FFFF024, 0x7FFFF000), (0, 0xFFFFFFFF),
        (0x80000024, 0x80000000), (0x7FFFFFFF, 0x7FFFFFFF - 36), (0x7F000024, 0x7F000000),
    ],
)  # fmt: skip
def test_wav_from_a_pipe_is_read_to_its_end(riff, data, tmp_path):
    file = wav_header(riff, data) + PCM
    (tmp_path / "x.wav").write_bytes(file)
    whole = torch.from_numpy(np.frombuffer(PCM, "<i2") / 32768).float()[None]
    for source in (file, tmp_path / "x.wav"):
        assert torch.equal(read_audio(source).samples, whole)
        assert torch.equal(read_audio(source, start=100, frames=50).samples, whole[:, 100:150])
        assert probe_audio(source) == (8000, 16000)


def test_a_length_that_is_only_large_is_a_length():
    for length in (len(PCM) + 2, 2_000_000_000, 3_000_000_000):
        with pytest.raises(MediaError, match=f"truncated: {len(PCM)} of {length} bytes"):
            read_audio(wav_header(36 + length, length) + PCM)


def test_what_follows_the_samples_is_no_sound():
    tail = b"LIST" + struct.pack("<I", 4) + b"INFO"
    assert read_audio(wav_header(36 + len(PCM) + 12, len(PCM)) + PCM + tail).samples.shape[1] == 8000
    with pytest.raises(MediaError, match="is empty: 0 samples"):
        read_audio(wav_header(36 + 12, 0) + tail)
    with pytest.raises(MediaError, match="is empty: 0 samples"):
        read_audio(wav_header(36, 0))


# --- what is no sound file --------------------------------------------------------------------------------------------


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file: .*no\.wav"):
        read_audio(tmp_path / "no.wav")
    with pytest.raises(MediaError, match="is a folder"):
        read_audio(tmp_path)
    with pytest.raises(MediaError, match="cannot open .*embedded null (byte|character)"):
        read_audio("a\0b.wav")
    (tmp_path / "broken.wav").write_bytes(b"RIFF....WAVEnothing")
    with pytest.raises(MediaError, match=r"broken\.wav is truncated"):
        read_audio(tmp_path / "broken.wav")
    (tmp_path / "text.wav").write_bytes(b"this is no sound at all")
    with pytest.raises(MediaError, match=r"cannot read .*text\.wav: libsndfile reports 'Format not recognised\.'"):
        read_audio(tmp_path / "text.wav")
    (tmp_path / "none.wav").write_bytes(b"")
    with pytest.raises(MediaError, match=r"none\.wav is an empty file: 0 bytes"):
        read_audio(tmp_path / "none.wav")


def test_fifos_devices_and_sockets_are_refused_without_being_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "null.wav").symlink_to("/dev/null")
    (tmp_path / "terminal.wav").symlink_to("/dev/tty")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "s.wav"))
    server.close()
    kinds = {"pipe.wav": "a FIFO", "null.wav": "a device", "terminal.wav": "a device", "s.wav": "a socket"}
    for name, kind in kinds.items():
        if os.path.exists(tmp_path / name):
            said: list[str] = []

            def read(path=tmp_path / name, said=said) -> None:
                try:
                    read_audio(path)
                except MediaError as error:
                    said.append(str(error))

            thread = threading.Thread(target=read, daemon=True)
            thread.start()
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive(), f"{name} was opened, and nobody writes to it"
            assert f"{name} is {kind}; only regular files are read" in said[0]


def test_a_name_that_is_no_unicode_is_read_and_can_be_printed(tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff.flac"
    try:
        with open(name, "wb") as file:
            file.write(sound("flac", chirp(0.1)))
    except OSError:
        pytest.skip("this file system has Unicode names only")
    assert read_audio(os.fsdecode(name)).samples.shape == (1, 1600)
    with open(name, "wb") as file:
        file.write(b"none")
    with pytest.raises(MediaError, match=r"\\udcff\.flac") as error:
        read_audio(os.fsdecode(name))
    str(error.value).encode()


def test_play_lists_name_no_other_files(tmp_path):
    pytest.importorskip("av")
    (tmp_path / "other.mp3").write_bytes(sound("mp3", chirp(0.5)))
    for text in ("ffconcat version 1.0\nfile other.mp3\n", "#EXTM3U\n#EXTINF:1,\nother.mp3\n#EXT-X-ENDLIST\n"):
        (tmp_path / "x.wav").write_text(text)
        with pytest.raises(MediaError, match="cannot read"):
            read_audio(tmp_path / "x.wav")


def test_containers_that_are_not_meant_are_refused():
    file = io.BytesIO()
    import soundfile

    soundfile.write(file, chirp(0.1), 16000, format="VOC", subtype="PCM_16")
    with pytest.raises(MediaError, match="is a VOC file; WAV, .* are allowed"):
        read_audio(file)


@pytest.mark.parametrize("bits", [0, 7, 16])
def test_headers_that_make_decoders_stumble(bits):
    broken = bytearray(wav_header(36 + len(PCM), len(PCM), bits=bits) + PCM)
    broken[20:22] = struct.pack("<H", 0x7777)  # a codec that nobody knows
    with pytest.raises(MediaError, match="cannot read the bytes"):
        read_audio(bytes(broken))


def test_a_wave_of_very_many_channels_is_refused_before_it_is_decoded():
    pytest.importorskip("av")
    broken = bytearray(sound("float wav", chirp(0.1)))
    broken[22:24] = struct.pack("<H", 3000)
    with pytest.raises(MediaError):
        read_audio(bytes(broken))


def test_random_damage_ends_in_one_kind_of_error():
    rng = np.random.default_rng(0)
    good = [sound(kind, chirp(0.3)) for kind in SOUNDS]
    for i in range(300):
        data = bytearray(good[i % len(good)])
        for at in rng.integers(0, min(len(data), [60, 600, 10**9][i % 3]), rng.integers(1, 8)):
            data[at] = rng.integers(256)
        with contextlib.suppress(MediaError):  # no other error
            assert read_audio(bytes(data)).samples.isfinite().all()


def test_nan_in_a_file_is_named():
    x = chirp(0.1)
    x[100] = np.nan
    with pytest.raises(MediaError, match="x.wav holds NaN or infinite samples: 1 of [0-9,]+\\."):
        read_audio(sound("float wav", x), name="x.wav")
    assert float(read_audio(sound("float wav", chirp(0.1) * 5)).samples.max()) > 1, "a little beyond full scale is sound"
