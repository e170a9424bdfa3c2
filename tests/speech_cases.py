"""Clips like speech, and damaged ones."""

import numpy as np
import scipy.signal

RATE = 16_000


def speech_like(seconds: int = 8) -> np.ndarray:
    """A clip `[T]`: pulses of a gliding voice through formants that change from syllable to syllable, with rests."""
    rng, parts = np.random.default_rng(0), []
    while sum(map(len, parts)) < seconds * RATE:
        count = int(rng.uniform(0.12, 0.3) * RATE)
        phase = np.cumsum(np.linspace(rng.uniform(90, 180), rng.uniform(90, 180), count) / RATE)
        sound = np.diff(np.floor(phase), prepend=0.0) + 0.02 * rng.standard_normal(count)
        for low, high in ((300, 800), (900, 2200), (2300, 3300), (3500, 6500)):
            sound = sound + 4 * scipy.signal.lfilter(*scipy.signal.iirpeak(rng.uniform(low, high), 8, fs=RATE), sound)
        parts += [sound * np.hanning(count), 1e-3 * rng.standard_normal(int(rng.uniform(0.0, 0.15) * RATE))]
    x = np.concatenate(parts)[: seconds * RATE]
    return (0.5 * x / np.abs(x).max()).astype(np.float32)


def damaged(x: np.ndarray, kind: str, strength: float) -> np.ndarray:
    """The clip `x [T]` with "noise" of -`strength` dB, "dull" above `strength` Hz, or "blurred" amplitudes."""
    rng = np.random.default_rng(1)
    if kind == "noise":
        return x + np.float32(10 ** (-strength / 20)) * rng.standard_normal(x.shape).astype(np.float32)
    if kind == "dull":
        return scipy.signal.sosfiltfilt(scipy.signal.butter(6, strength, fs=RATE, output="sos"), x).astype(np.float32)
    _, _, spectrum = scipy.signal.stft(x, nperseg=512)
    blurred = spectrum * np.exp(strength * rng.standard_normal(spectrum.shape))
    return scipy.signal.istft(blurred, nperseg=512)[1][: len(x)].astype(np.float32)
