"""Opus, Codec2 and Speex at the bit rates of a speech tokenizer, measured on the fixed list of test clips.

The programs do the work that `tokenzoo/zoo/bench/command_codecs.py` names. A codec's delay is removed before the
comparison: the shift at which the mel spectra of all clips match best.

Letters: T samples, at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
from tokenzoo.zoo.bench.command_codecs import code, codec2, delay_by_spectra, opus, shifted, speex
from torchaudio.transforms import MelSpectrogram

RATE_HZ = 16_000
CODECS = {
    "opus-6k": opus(6),
    "opus-8k": opus(8),
    "opus-12k": opus(12),
    "codec2-3200": codec2(3200),
    "speex-nb-4k": speex(1, wide=False),
    "speex-wb-4k": speex(0, wide=True),
}
_MEL = dict(sample_rate=RATE_HZ, n_fft=1024, hop_length=256, n_mels=80, power=1.0)


def mel_distance(decoded: np.ndarray, original: np.ndarray) -> float:
    """Mean absolute difference of natural-log mel spectra (80 bands, magnitudes from 1e-5)."""
    mel = MelSpectrogram(**_MEL)
    one, two = (torch.log(mel(torch.from_numpy(x)).clamp_min(1e-5)) for x in (decoded, original))
    return float((one - two).abs().mean())


def run(clips: list[Path]) -> Iterator[list[dict[str, object]]]:
    """One row a codec: bit rate, PESQ-WB, STOI, ESTOI, mel distance, delay. Yields the rows so far after each codec.

    Raises:
        RuntimeError: a program is missing.
    """
    for missing in filter(None, (c.missing for c in CODECS.values())):
        raise RuntimeError(missing)
    originals = [torch.from_numpy(soundfile.read(path, dtype="float32")[0]) for path in clips]
    seconds = sum(map(len, originals)) / RATE_HZ
    rows = []
    for name, commands in CODECS.items():
        coded = [code(commands, samples, RATE_HZ) for samples in originals]
        delay = delay_by_spectra([(x, y) for (_, x), y in zip(coded, originals, strict=True)], RATE_HZ)
        results = [_score(shifted(x, delay, len(y)).numpy(), y.numpy()) for (_, x), y in zip(coded, originals, strict=True)]
        rows.append(_row(name, sum(size for size, _ in coded) * 8 / seconds / 1000, delay, np.array(results)))
        yield rows


def _score(decoded: np.ndarray, original: np.ndarray) -> tuple[float, float, float, float]:
    from pesq import PesqError, pesq
    from pystoi import stoi

    try:
        quality = pesq(RATE_HZ, original, decoded, "wb")
    except PesqError:
        quality = float("nan")
    plain, extended = (stoi(original, decoded, RATE_HZ, extended=flag) for flag in (False, True))
    return quality, plain, extended, mel_distance(decoded, original)


def _row(codec: str, kbps: float, delay: int, values: np.ndarray) -> dict[str, object]:
    mean = np.nanmean(values, axis=0)
    return {
        "codec": codec,
        "kbps": round(kbps, 2),
        "pesq_wb": round(float(mean[0]), 3),
        "stoi": round(float(mean[1]), 4),
        "estoi": round(float(mean[2]), 4),
        "mel_l1": round(float(mean[3]), 4),
        "delay_ms": delay / RATE_HZ * 1000,
        "clips": len(values),
        "pesq_failed": int(np.isnan(values[:, 0]).sum()),
    }
