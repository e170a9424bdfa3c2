"""Short-time Fourier analysis and synthesis with exactly T / hop frames, centred or causal, streaming when causal.

Letters: B batch, T samples, L = T / hop frames, W window samples, F = W / 2 + 1 frequencies.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..precision import KeepsDtype
from .causal import State


class STFT(KeepsDtype):
    """STFT of a waveform with a Hann window, and its inverse by overlap-add; in float32, whatever the dtype of the model.

    Centred: frame l is centred on samples `l*hop .. (l+1)*hop`. Causal: analysis frame l ends with sample `(l+1)*hop`,
    synthesis frame l starts with sample `l*hop`, so that a sample depends on no frame later than its own.

    Args:
        window_samples: W, at least two hops; if causal a multiple of the hop.
        hop_samples: samples from one frame to the next.
        causal: see above.
    """

    window: Tensor

    def __init__(self, *, window_samples: int, hop_samples: int, causal: bool) -> None:
        super().__init__()
        if window_samples < 2 * hop_samples or (causal and window_samples % hop_samples):
            whole = "two whole hops" if causal else "two hops"
            raise ValueError(f"window_samples ({window_samples}) must be at least {whole} of {hop_samples}.")
        self.size, self.hop, self.causal = window_samples, hop_samples, causal
        self.register_buffer("window", torch.hann_window(window_samples), persistent=False)

    def analyse(self, x: Tensor, state: State | None = None) -> Tensor:
        """Complex spectra `[B, L, F]` of waveforms `[B, T]`, T a multiple of hop; with `state`, of the next piece of a stream."""
        extra = self.size - self.hop
        if state is None:
            x = F.pad(x, (extra, 0) if self.causal else (extra // 2, extra - extra // 2))
        else:
            x = torch.cat([state.get(self, x.new_zeros(x.shape[0], extra)), x], dim=-1)
            state[self] = x[:, x.shape[1] - extra :]
        return torch.fft.rfft(x.unfold(-1, self.size, self.hop) * self.window)  # [B, L, F]

    def synthesise(self, spectra: Tensor, state: State | None = None, key: nn.Module | None = None) -> Tensor:
        """Waveform `[B, L * hop]` of complex spectra `[B, L, F]`; `key` is the module whose entry in `state` keeps the overlap."""
        frames = torch.fft.irfft(spectra, n=self.size) * self.window  # [B, L, W]
        y = self._overlap_add(frames)  # [B, L * hop + W - hop]
        extra, length = self.size - self.hop, frames.shape[1] * self.hop
        if not self.causal:
            envelope = self._overlap_add((self.window**2).expand(1, frames.shape[1], -1))
            return (y / envelope.clamp(min=1e-6))[:, extra // 2 : extra // 2 + length]
        if state is not None and key is not None:
            if key in state:
                y = torch.cat([y[:, :extra] + state[key], y[:, extra:]], dim=-1)
            state[key] = y[:, length:]
        # The window sum of the middle of a signal, at its start too, so that pieces of a stream equal the whole.
        steady = (self.window**2).view(-1, self.hop).sum(0)
        return (y[:, :length].unflatten(-1, (-1, self.hop)) / steady).flatten(-2)

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """Sum of frames `[B, L, W]`, each shifted by hop: `[B, (L - 1) * hop + W]`, W rounded up to whole hops."""
        frames = F.pad(frames, (0, -self.size % self.hop))
        pieces = frames.unflatten(-1, (-1, self.hop))  # [B, L, W / hop, hop]: the sum of W / hop shifted copies
        n = pieces.shape[2]
        out = functools.reduce(torch.add, (F.pad(pieces[:, :, i], (0, 0, i, n - 1 - i)) for i in range(n)))
        return out.flatten(1)
