"""Metrics of reconstructed audio: mel and STFT distance, SI-SDR as it is and without delay, PESQ, STOI, ESTOI.

PESQ (ITU-T P.862.2), STOI (Taal et al. 2011) and ESTOI (Jensen and Taal 2016) come from the packages `pesq` and `pystoi`, SI-SDR
from torchmetrics.
"""

import functools
import importlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torchaudio
from torch import Tensor

from ...codecs.media import Waveform, read_audio, resample, to_channels
from ...train.figures.base import Unfit
from ...train.figures.speech import RATE_HZ, pesq_wb, stoi
from .alignment import LONGEST_SECONDS, aligned
from .figures import Figures, HasSpec

#: Window of the mel distance, in samples.
MEL_WINDOW = 1024
#: Windows of the STFT distance, as in DAC's evaluation (arXiv 2306.06546, section 4.3).
STFT_WINDOWS = (2048, 512)
#: SI-SDR after the delay of the reconstruction is taken out.
ALIGNED = "SI-SDR dB, aligned"


class AudioMetrics(Figures):
    """Metrics of clips at the sample rate of decoded audio; PESQ-WB and STOI at 16 kHz. `notes` names packages that are missing."""

    def __init__(self, tokenizer: HasSpec, extra: Sequence[str] = ()) -> None:
        """`extra`: names of metrics of `speech_models.py`."""
        super().__init__()
        self.spec: Any = tokenizer.spec
        rate = self.spec.decoded_rate_hz
        self.mel = torchaudio.transforms.MelSpectrogram(rate, n_fft=MEL_WINDOW, hop_length=256, n_mels=80, power=1.0)
        self.notes = [f"mel distance: L1 of natural logs, 80 bands, window {MEL_WINDOW}, hop 256, floor 1e-5"]
        self._si_sdr = self._find("torchmetrics.functional.audio", "SI-SDR dB")
        self._extra: dict[str, Callable[[Tensor, Tensor], float]] = {}
        if extra:
            from .speech_models import judges

            self._extra, notes = judges(extra)
            self.notes += notes
        self._pesq, self._stoi = self._find("pesq", "PESQ-WB"), self._find("pystoi", "STOI and ESTOI")

    def _find(self, module: str, metric: str) -> Any:
        try:
            return importlib.import_module(module)
        except ImportError:
            package = module.split(".")[0]
            self.notes.append(f"no {metric}: the package {package} is not installed; pip install 'tokenzoo[eval]'")
            return None

    def read(self, path: Path) -> Waveform:
        """Read one file, resampled and mixed to the sample rate and channels that `encode` works with."""
        return read_sound(path, self.spec)

    def add(self, original: Waveform, decoded: Tensor) -> dict[str, float]:
        """Metrics of one clip by name; those for which it is too short are left out, and counted in `left_out`.

        Args:
            original: as `read` returned it.
            decoded: `[C, T]` at the rate of decoded audio.
        """
        rate = self.spec.decoded_rate_hz
        x = resample(original.samples, original.sample_rate_hz, rate)
        y = decoded.cpu()[..., : x.shape[-1]]
        x = x[..., : y.shape[-1]]
        a, b = resample(x, rate, RATE_HZ).mean(0), resample(y, rate, RATE_HZ).mean(0)  # [T] at 16 kHz
        return self.measured({
            "mel distance": lambda: self._mel(x, y),
            "STFT distance": lambda: _stft(x, y),
            "SI-SDR dB": lambda: self._scale_invariant("SI-SDR dB", x, y),
            ALIGNED: lambda: self._scale_invariant(ALIGNED, *aligned(x, y, round(LONGEST_SECONDS * rate))),
            "PESQ-WB": lambda: self._perceived(a, b),
            "STOI": lambda: self._intelligible("STOI", a, b),
            "ESTOI": lambda: self._intelligible("ESTOI", a, b),
            **{name: functools.partial(self._judged, name, judge, a, b) for name, judge in self._extra.items()},
        })  # fmt: skip

    def totals(self) -> dict[str, float]:
        """Metrics of the whole set by name: there are none for audio."""
        return {}

    def _mel(self, x: Tensor, y: Tensor) -> float | None:
        if x.shape[-1] <= MEL_WINDOW // 2:  # the first window is centred on the first sample, its half mirrored
            return self.without("mel distance", "too short")
        a, b = (self.mel(v).clamp(min=1e-5).log() for v in (x, y))
        return float((a - b).abs().mean())

    def _scale_invariant(self, metric: str, x: Tensor, y: Tensor) -> float | None:
        if self._si_sdr is None:
            return None
        value = float(self._si_sdr.scale_invariant_signal_distortion_ratio(y, x).mean())
        return value if math.isfinite(value) else self.without(metric, "silent")

    def _perceived(self, x: Tensor, y: Tensor) -> float | None:
        """PESQ-WB of 16 kHz mono `[T]`."""
        return None if self._pesq is None else self._judged("PESQ-WB", pesq_wb, x, y)

    def _intelligible(self, metric: str, x: Tensor, y: Tensor) -> float | None:
        """STOI or ESTOI of 16 kHz mono `[T]`."""
        judge = functools.partial(stoi, extended=metric == "ESTOI")
        return None if self._stoi is None else self._judged(metric, judge, x, y)

    def _judged(self, metric: str, judge: Callable[[Tensor, Tensor], float], x: Tensor, y: Tensor) -> float | None:
        try:
            return judge(x, y)
        except Unfit as error:
            return self.without(metric, str(error))


def read_sound(path: Path, spec: Any) -> Waveform:
    """Read one file, resampled and mixed to the sample rate and channels of `spec`."""
    clip, rate = read_audio(path), spec.sample_rate_hz
    return Waveform(to_channels(resample(clip.samples, clip.sample_rate_hz, rate), spec.channels), rate)


def _stft(x: Tensor, y: Tensor) -> float:
    """Mean over windows of the L1 distances of magnitude and log10 magnitude."""
    total = 0.0
    for n in STFT_WINDOWS:
        window = torch.hann_window(n)
        a, b = (
            torch.stft(torch.nn.functional.pad(v, (0, max(0, n - v.shape[-1]))), n, n // 4, window=window, return_complex=True)
            .abs()
            .clamp(min=1e-5)
            for v in (x, y)
        )
        total += float((a - b).abs().mean() + (a.log10() - b.log10()).abs().mean())
    return total
