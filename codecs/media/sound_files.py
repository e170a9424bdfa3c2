"""The one reader of sound files: whole files, and parts of them for training. Decoded by libsndfile, else by PyAV.

The number of samples in a header is never trusted without a check: sound is read to its end, and a file with fewer samples than
its header states is refused as truncated. A part of a file has the same samples as that part of the whole.

Letters: C channels, T samples.
"""

import functools
import io
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from . import mpeg, ogg
from .av_files import open_av
from .blobs import Medium, Source, opened
from .decoder import Decoder, part_of
from .errors import MediaError, decoding, reason
from .items import Waveform
from .limits import check_channel_count, check_rate, check_samples
from .waveforms import checked_samples
from .whole import whole

#: Containers that are read with libsndfile; others are not checked for completeness.
_CONTAINERS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC", "OGG", "MP3")
#: libsndfile reports at least this number of frames if the length of a file is not known.
_UNKNOWN = 2**62
#: Number of frames (samples of all channels) that are decoded at a time.
_BLOCK = 1 << 18


def read_audio(
    source: Source, *, name: str = "", max_seconds: float = math.inf, start: int = 0, frames: int | None = None
) -> Waveform:
    """Read a sound file: wav, flac, ogg, opus, mp3, aiff, caf, au, w64; m4a, aac, g722, webm with `av` installed.

    Args:
        source: a path, bytes, an open binary file (read from its beginning), or a blob.
        name: name of the file in messages; its ending identifies formats without a header (`.g722`).
        max_seconds: longer files are refused, before more than that is read.
        start: first sample to read, at the file's own rate.
        frames: number of samples to read, fewer where the file ends; None: to the end.

    Raises:
        FileNotFoundError, MediaError: missing, no regular file, unreadable, truncated, empty or too long; see `limits.py`.
    """
    with opened(source, name) as medium, decoding(medium.name):
        decoder = _open(medium)
        _check_header(decoder, medium.name)
        stop = None if frames is None else start + frames
        if decoder.frames is not None:
            _check_seconds(decoder.frames, decoder, medium.name, max_seconds)
            stop = decoder.frames if stop is None else min(decoder.frames, stop)
            check_samples((stop - start) * decoder.channels, medium.name)
            if stop < decoder.frames and decoder.end_is_claimed and not _ends_well(medium, decoder):
                raise MediaError(f"{medium.name} is truncated: its last samples are missing.")
        samples = _collect(decoder, start, stop, medium.name, max_seconds)
    if not samples.shape[1] and not start:
        raise MediaError(f"{medium.name} is empty: 0 samples.")
    return Waveform(checked_samples(samples, medium.name), decoder.rate_hz)


def probe_audio(source: Source, *, name: str = "") -> tuple[int, int]:
    """Length in samples and sample rate in Hz, without decoding where the format allows it.

    Raises:
        FileNotFoundError, MediaError: as `read_audio`.
    """
    with opened(source, name) as medium, decoding(medium.name):
        return _remembered(medium, "length", lambda: _probe(medium))


def _probe(medium: Medium) -> tuple[int, int]:
    decoder = _open(medium)
    _check_header(decoder, medium.name)
    if decoder.frames is not None:
        return decoder.frames, decoder.rate_hz
    return sum(len(block) for block in _decoded(decoder.blocks(0, None), medium.name)), decoder.rate_hz


def _check_header(decoder: Decoder, name: str) -> None:
    check_rate(decoder.rate_hz, name)
    check_channel_count(decoder.channels, name)


def _check_seconds(frames: int, decoder: Decoder, name: str, max_seconds: float) -> None:
    if frames > max_seconds * decoder.rate_hz:
        raise MediaError(f"{name}: longer than {max_seconds:g} seconds: refused.")


def _collect(decoder: Decoder, start: int, stop: int | None, name: str, max_seconds: float) -> torch.Tensor:
    """Decode the samples `start .. stop - 1` as `[C, T]`, and check that none is missing."""
    at, parts = 0, []
    out = None if stop is None else torch.empty(decoder.channels, max(0, stop - start))  # no memory is touched yet
    for block in _decoded(decoder.blocks(start, stop), name):
        piece = torch.from_numpy(block.T)
        _check_seconds(start + at + len(block), decoder, name, max_seconds)
        check_samples((at + len(block)) * decoder.channels, name)
        if out is not None and not at and piece.shape == out.shape and piece.is_contiguous():
            out = piece  # all of a file with one channel
        elif out is None:
            parts.append(piece)
        else:
            out[:, at : at + len(block)] = piece
        at += len(block)
    if out is None:
        return torch.cat(parts, dim=1) if parts else torch.zeros(decoder.channels, 0)
    if decoder.frames is not None and at < out.shape[1]:
        raise MediaError(f"{name} is truncated: {start + at} of {decoder.frames} samples are there.")
    return out[:, :at]


def _decoded(blocks: Iterator[np.ndarray], name: str) -> Iterator[np.ndarray]:
    """The same blocks; an error of the decoder after the header becomes a MediaError: the file is truncated or damaged."""
    try:
        yield from blocks
    except (MediaError, MemoryError):
        raise
    except Exception as error:
        raise MediaError(f"{name} is truncated or damaged: {reason(error)}") from error


# --- decoders -----------------------------------------------------------------------------------------------------------


def _open(medium: Medium) -> Decoder:
    """Open a file with the decoder that fits its contents; raises MediaError if there is none."""
    import soundfile

    file, name = medium.file, medium.name
    if file.read(4) == b"OggS" and len(chain := ogg.links(file, name)) > 1:
        return _chained(medium, chain)
    if mpeg.is_mpeg(file):
        return _mpeg(medium)
    complete = whole(file, name)
    try:
        sound = _sound(medium) if complete is file else soundfile.SoundFile(complete)
    except (soundfile.LibsndfileError, TypeError) as error:
        return open_av(medium, error)
    if sound.format == "MP3":  # after junk at the start of the file
        return _mpeg(medium)
    if sound.format not in _CONTAINERS:
        raise MediaError(f"{name} is a {sound.format} file; {', '.join(_CONTAINERS)} are allowed.")
    decoder = _libsndfile(sound)
    if decoder.frames is None:  # FLAC from a pipe: libsndfile cannot read to the end without knowing the length
        return open_av(medium, MediaError("its header does not give its length."))
    return decoder


def _sound(medium: Medium) -> Any:
    """Open a file with libsndfile. After this nothing else must seek in the file."""
    import soundfile

    medium.file.seek(0)
    if not medium.on_disk:
        return soundfile.SoundFile(medium.file)
    descriptor = medium.file.fileno()  # libsndfile then reads by itself, without calling back into Python
    os.lseek(descriptor, 0, os.SEEK_SET)  # Python's seek may only have moved within its buffer
    return soundfile.SoundFile(descriptor, closefd=False)


def _libsndfile(sound: Any) -> Decoder:
    fresh = True

    def blocks(start: int, stop: int | None) -> Iterator[np.ndarray]:
        nonlocal fresh
        at = 0 if (fresh and not start) or not sound.seekable() else sound.seek(start)  # in FLAC a fifth of decoding a clip
        fresh = False
        while stop is None or at < stop:
            block = sound.read(_BLOCK if stop is None else min(_BLOCK, stop - at), dtype="float32", always_2d=True)
            if not len(block):
                return
            at += len(block)
            if at > start:  # files that cannot seek are decoded from their start
                yield block[max(0, len(block) - (at - start)) :]

    frames = sound.frames if sound.frames < _UNKNOWN else None
    return Decoder(sound.samplerate, sound.channels, frames, blocks, end_is_claimed=sound.format == "FLAC")


def _chained(medium: Medium, chain: list[tuple[int, int]]) -> Decoder:
    """Decoder for chained streams, which follow one another in one Ogg file, as one sound."""
    import soundfile

    decoders = []
    for start, stop in chain:
        medium.file.seek(start)
        decoders.append(_libsndfile(soundfile.SoundFile(io.BytesIO(medium.file.read(stop - start)))))
    lengths = [d.frames for d in decoders if d.frames is not None]
    if len({(d.rate_hz, d.channels) for d in decoders}) > 1 or len(lengths) < len(decoders):
        raise MediaError(f"{medium.name} holds {len(chain)} streams of different rates or channels, one after the other. Split it.")

    def blocks(start: int, stop: int | None) -> Iterator[np.ndarray]:
        before = 0
        for d, length in zip(decoders, lengths, strict=True):
            low, high = max(0, start - before), length if stop is None else min(length, stop - before)
            if low < high:
                yield from d.blocks(low, high)
            before += length

    return Decoder(decoders[0].rate_hz, decoders[0].channels, sum(lengths), blocks)


def _mpeg(medium: Medium) -> Decoder:
    """Decoder for MPEG audio: `mpeg.py` counts and cuts out frames, since libsndfile may guess length and positions."""
    import soundfile

    def everything() -> bytes:
        medium.file.seek(0)
        return medium.file.read()

    def survey() -> mpeg.Frames:
        return mpeg.frames_of(everything(), medium.name)

    frames: mpeg.Frames | None = None if mpeg.trusted(medium.file) else _remembered(medium, "frames", survey)
    try:
        if frames is None:
            sound, skip, length = _sound(medium), 0, None
        else:
            file, skip = mpeg.all_frames(everything(), frames)
            sound, length = soundfile.SoundFile(file), frames.length
    except soundfile.LibsndfileError as error:
        return open_av(medium, error)
    known = frames is None or frames.is_as_claimed
    length = sound.frames if known else length

    def blocks(start: int, stop: int | None) -> Iterator[np.ndarray]:
        whole_file = not start and stop in (None, length)
        found = frames if whole_file or frames else _remembered(medium, "frames", survey)
        if whole_file or found is None or not found.clean:
            all_blocks = part_of(_libsndfile(sound).blocks(0, length if known else None), skip, None)
            yield from part_of(all_blocks, start, stop)
            return
        end = (length or 0) if stop is None else stop
        file, more = mpeg.part(medium.file, found, start, end)
        yield from part_of(_libsndfile(soundfile.SoundFile(file)).blocks(0, more + end - start), more, None)

    return Decoder(sound.samplerate, sound.channels, length, blocks)


# --- cache --------------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=512)
def _cell(key: tuple[str, int, int], what: str) -> list[Any]:
    return []


def _remembered(medium: Medium, what: str, find: Callable[[], Any]) -> Any:
    """`find()`, cached for a file that is read many times in parts; `what` names the fact."""
    if medium.key is None:
        return find()
    cell = _cell(medium.key, what)
    if not cell:
        cell.append(find())
    return cell[0]


def _ends_well(medium: Medium, decoder: Decoder) -> bool:
    """Whether the last frame of a file can be decoded; checked when only a part of the file is read."""

    def look() -> bool:
        last = decoder.frames or 0
        return last < 1 or sum(len(b) for b in _decoded(decoder.blocks(last - 1, last), medium.name)) == 1

    return _remembered(medium, "end", look)
