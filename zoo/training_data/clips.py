"""Preprocessing of one recording for a corpus: decode, resample, trim, level, write.

Letters: T samples. Waveforms are float32 [T], mono, full scale 1.0. Silence is found by energy alone (20 ms frames):
the sources are quiet studio recordings, so a trained voice detector adds little and takes twenty times as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Waveform = NDArray[np.float32]

_FRAME_SECONDS = 0.02
_STEP_SECONDS = 0.01
_FADE_SECONDS = 0.005


class ClipError(ValueError):
    """A recording could not be decoded; the message names the file."""


@dataclass(frozen=True, kw_only=True)
class ClipRules:
    """How recordings are cleaned. The defaults are the recipe that the speech corpus is built with."""

    sample_rate_hz: int = 16_000
    level_db: float = -23.0  # root mean square of the whole trimmed clip, dB below full scale
    peak: float = 0.98  # loud peaks lower the whole clip instead of being clipped
    longest_pause_seconds: float = 0.3
    shortest_seconds: float = 0.35
    least_active: float = 0.2  # share of frames with sound in the recording as it came


def decode(path: Path) -> tuple[Waveform, int]:
    """Samples [T], mono float32 and the rate in Hz, of any file that soundfile reads, or of a `.g722` file.

    Raises:
        ClipError: the file is damaged or of an unknown format, or it is g722 and `av` is not installed.
    """
    if path.suffix == ".g722":
        return _decode_g722(path), 16_000
    import soundfile

    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise ClipError(f"{path}: {error}") from error
    return np.ascontiguousarray(samples.mean(axis=1, dtype=np.float32)), int(rate)


def _decode_g722(path: Path) -> Waveform:
    try:
        import av
        from av.error import FFmpegError
    except ImportError as error:
        raise ClipError(f"{path} is g722: reading it needs `pip install av`") from error
    try:
        with av.open(str(path), format="g722") as container:
            blocks = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    except (FFmpegError, OSError) as error:
        raise ClipError(f"{path}: {error}") from error
    if not blocks:
        return np.zeros(0, np.float32)
    return (np.concatenate(blocks).astype(np.float32) / 32768.0).astype(np.float32)


def resample(samples: Waveform, rate_hz: int, target_hz: int) -> Waveform:
    """Band-limited resampling of [T] by a windowed sinc."""
    if rate_hz == target_hz or not len(samples):
        return samples
    import torch
    from torchaudio.functional import resample as sinc

    with torch.inference_mode():
        return sinc(torch.from_numpy(samples), rate_hz, target_hz, lowpass_filter_width=32).numpy()


def active_frames(samples: Waveform, rate_hz: int) -> NDArray[np.bool_]:
    """Which 10 ms steps hold sound: True where a 20 ms frame is loud against the clip's own loud parts.

    The threshold is 38 dB under the 95th percentile of the frame levels, or 8 dB over the noise floor (5th
    percentile) where that is higher, but never nearer than 15 dB to the loud parts.
    """
    frame, step = round(_FRAME_SECONDS * rate_hz), round(_STEP_SECONDS * rate_hz)
    if len(samples) < frame:
        return np.zeros(0, np.bool_)
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    starts = np.arange(0, len(samples) - frame + 1, step)
    level_db = 10 * np.log10(np.maximum(energy[starts + frame] - energy[starts], 0) / frame + 1e-10)
    loud, floor = np.percentile(level_db, [95, 5])
    threshold = max(loud - 38.0, min(floor + 8.0, loud - 15.0))
    return (level_db > max(threshold, -70.0)).astype(np.bool_)


def shorten_pauses(samples: Waveform, active: NDArray[np.bool_], rate_hz: int, longest_seconds: float) -> Waveform:
    """Cut every silence down to `longest_seconds` (half of it at both ends of the clip), with 5 ms cross-fades.

    |~~~~ sound ~~~~|<- half ->|      cut      |<- half ->|~~~~ sound ~~~~|
    """
    step, half = round(_STEP_SECONDS * rate_hz), round(longest_seconds / 2 * rate_hz)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], active.astype(np.int8), [0]])))
    pieces: list[tuple[int, int]] = []
    for first, last in zip(edges[0::2], edges[1::2], strict=True):
        start, end = max(0, first * step - half), min(len(samples), (last + 1) * step + half)
        if pieces and start <= pieces[-1][1]:
            pieces[-1] = (pieces[-1][0], end)
        else:
            pieces.append((start, end))
    if not pieces:
        return samples[:0]
    fade = round(_FADE_SECONDS * rate_hz)
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    joined = [samples[slice(*pieces[0])].copy()]
    for start, end in pieces[1:]:
        piece = samples[start:end].copy()
        piece[:fade] = piece[:fade] * ramp + joined[-1][-fade:] * ramp[::-1]
        joined[-1] = joined[-1][:-fade]
        joined.append(piece)
    return np.concatenate(joined)


def set_level(samples: Waveform, level_db: float, peak: float) -> Waveform:
    """Scale [T] to a root mean square of `level_db`, or to the peak limit where that is lower."""
    if not len(samples):
        return samples
    root_mean_square = float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))
    gain = 10 ** (level_db / 20) / max(root_mean_square, 1e-9)
    return (samples * min(gain, peak / max(float(np.abs(samples).max()), 1e-9))).astype(np.float32)


def clean(samples: Waveform, rate_hz: int, rules: ClipRules) -> Waveform | None:
    """The clip as the corpus keeps it, [T] at `rules.sample_rate_hz`; None where it is too short or mostly silent."""
    samples = resample(samples, rate_hz, rules.sample_rate_hz)
    if len(samples) < rules.shortest_seconds * rules.sample_rate_hz:
        return None
    samples = samples - samples.mean(dtype=np.float64).astype(np.float32)
    active = active_frames(samples, rules.sample_rate_hz)
    if not len(active) or active.mean() < rules.least_active:
        return None
    samples = shorten_pauses(samples, active, rules.sample_rate_hz, rules.longest_pause_seconds)
    if len(samples) < rules.shortest_seconds * rules.sample_rate_hz:
        return None
    return set_level(samples, rules.level_db, rules.peak)


def write_flac(path: Path, samples: Waveform, rate_hz: int) -> None:
    """Write [T] as 16-bit mono FLAC, making the folder where needed."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate_hz, subtype="PCM_16", format="FLAC")


def use_one_thread() -> None:
    """Initialise a worker process: one thread for torch."""
    import torch

    torch.set_num_threads(1)
