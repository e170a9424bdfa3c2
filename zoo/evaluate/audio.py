"""Figures of reconstructed audio: mel and STFT distance, SI-SDR, PESQ, STOI.

PESQ (ITU-T P.862.2) and STOI (Taal et al. 2011) come from the packages `pesq` and `pystoi`, SI-SDR from torchmetrics.
"""

import warnings
from pathlib import Path
from typing import Any

import torch
import torchaudio
from torch import Tensor

from ...codecs.media import Waveform, read_audio, resample, to_channels
from ...codecs.tokenizer import Tokenizer

#: Windows of the STFT distance, as in DAC's evaluation (arXiv 2306.06546, section 4.3).
STFT_WINDOWS = (2048, 512)


class AudioMetrics:
    """Measures at the codec's own rate; PESQ-WB and STOI at 16 kHz."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.spec: Any = tokenizer.spec
        rate = self.spec.decoded_rate_hz
        self.mel = torchaudio.transforms.MelSpectrogram(rate, n_fft=1024, hop_length=256, n_mels=80, power=1.0)
        self.notes = ["mel distance: L1 of natural logs, 80 bands, window 1024, hop 256, floor 1e-5"]
        self._pesq, self._stoi = self._find("pesq"), self._find("pystoi")

    def _find(self, package: str) -> Any:
        try:
            module = __import__(package)
        except ImportError:
            self.notes.append(f"{package} is not installed: pip install 'tokenzoo[eval]'")
            return None
        return module

    def read(self, path: Path) -> Waveform:
        """One file at the codec's rate and channels."""
        clip, rate = read_audio(path), self.spec.sample_rate_hz
        return Waveform(to_channels(resample(clip.samples, clip.sample_rate_hz, rate), self.spec.channels), rate)

    def add(self, original: Waveform, decoded: Tensor) -> dict[str, float]:
        """Figures of one clip; `decoded` is `[C, T]`."""
        from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio as si_sdr

        rate = self.spec.decoded_rate_hz
        x = resample(original.samples, original.sample_rate_hz, rate)
        y = decoded.cpu()[..., : x.shape[-1]]
        x = x[..., : y.shape[-1]]
        out = {"mel distance": self._mel(x, y), "STFT distance": _stft(x, y), "SI-SDR dB": float(si_sdr(y, x).mean())}
        return out | self._speech(resample(x, rate, 16000).mean(0), resample(y, rate, 16000).mean(0))

    def totals(self) -> dict[str, float]:
        """Nothing is measured on the whole set."""
        return {}

    def _mel(self, x: Tensor, y: Tensor) -> float:
        a, b = (self.mel(v).clamp(min=1e-5).log() for v in (x, y))
        return float((a - b).abs().mean())

    def _speech(self, x: Tensor, y: Tensor) -> dict[str, float]:
        """PESQ-WB and STOI of 16 kHz mono `[T]`; a clip that PESQ cannot judge (no speech found) is left out and noted."""
        out = {}
        if self._pesq is not None:
            try:
                out["PESQ-WB"] = float(self._pesq.pesq(16000, x.numpy(), y.numpy(), "wb"))
            except self._pesq.PesqError as error:
                self.notes.append(f"PESQ left a clip out: {error}")
        if self._stoi is not None:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                value = float(self._stoi.stoi(x.numpy(), y.numpy(), 16000))
            if any("Not enough" in str(w.message) for w in caught):
                self.notes.append("STOI left a clip out: too short")
            else:
                out["STOI"] = value
        return out


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
