"""Whisper's log-mel features and the layers of its encoder, which tokenizers of speech have taken over.

Radford et al. 2022, arXiv 2212.04356. S3 (CosyVoice), GLM-4-Voice, XY-Tokenizer and MiMo-Audio-Tokenizer differ in strides, positions,
masks, and in an FSMN branch (Zhang et al. 2018, arXiv 1803.05030) beside the attention; all have the same blocks: pre-norm, exact GELU,
biases everywhere but in the map to keys.

Letters: B batch, T samples, M mel bands, N mel frames, W width, L positions, H heads, d width of a head.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..precision import KeepsDtype, widened
from ..recomputable import Recomputable
from .transformer1d import rotate
from .window_attention import window_attention

#: Below this the power of a band counts as this.
_FLOOR = 1e-10
#: Decades below the loudest band of a clip to which quieter ones are raised.
_DECADES = 8.0


class LogMel(KeepsDtype):
    """Whisper's features: log10 of the power in Slaney's mel bands, at most 8 decades below the clip's loudest, scaled to about -1..1.

    Each clip sets its own floor, so that a frame depends on the loudest one of its clip, but not on other clips of a batch. Computed
    in float32, whatever the dtype of the model.

    Args:
        bands: M.
        sample_rate_hz: of the waveforms.
        window_samples: Hann window of each frame; frames are centred, with reflection at both ends.
        hop_samples: samples from one frame to the next.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, bands: int, *, sample_rate_hz: int = 16000, window_samples: int = 400, hop_samples: int = 160) -> None:
        super().__init__()
        self.size, self.hop = window_samples, hop_samples
        self.register_buffer("window", torch.hann_window(window_samples), persistent=False)
        self.register_buffer("filters", slaney_filters(bands, window_samples // 2 + 1, sample_rate_hz), persistent=False)

    @property
    def least_samples(self) -> int:
        """The shortest clip that can be reflected at its ends."""
        return self.size // 2 + 1

    def forward(self, x: Tensor) -> Tensor:
        """Features `[B, M, T // hop]`, float32, of waveforms `[B, T]`; shorter ones than `least_samples` are filled up with silence."""
        x = F.pad(widened(x), (0, max(0, self.least_samples - x.shape[-1])))
        with torch.autocast(x.device.type, enabled=False):
            spectra = torch.stft(x, self.size, self.hop, window=self.window.to(x.dtype), return_complex=True)[..., :-1]
            power = self.filters.to(x.dtype) @ spectra.abs().square()
            logs = power.clamp(min=_FLOOR).log10()
            loudest = logs.amax(dim=(1, 2), keepdim=True)
            return (torch.maximum(logs, loudest - _DECADES) + 4) / 4


def slaney_filters(bands: int, bins: int, sample_rate_hz: int) -> Tensor:
    """Triangular mel filters `[bands, bins]` of equal area, on Slaney's scale: linear up to 1 kHz, logarithmic above.

    In float64 inside: torchaudio's, computed in float32, differ from librosa's, with which Whisper was trained, in the fifth digit.
    """
    linear, log_step = 200 / 3, math.log(6.4) / 27
    highest = 15 + math.log(sample_rate_hz / 2000) / log_step if sample_rate_hz > 2000 else sample_rate_hz / 2 / linear
    mels = torch.linspace(0, highest, bands + 2, dtype=torch.float64)
    edges = torch.where(mels < 15, mels * linear, 1000 * torch.exp(log_step * (mels - 15)))  # Hz
    places = torch.linspace(0, sample_rate_hz / 2, bins, dtype=torch.float64)
    low, centre, high = (edges[i : bands + i, None] for i in range(3))
    triangles = torch.minimum((places - low) / (centre - low), (high - places) / (high - centre)).clamp(min=0)
    return (triangles * 2 / (high - low)).float()


def sinusoids(length: int, width: int, *, period: float = 10000.0) -> Tensor:
    """Whisper's table of positions `[length, width]`: sines, then cosines; wavelengths grow geometrically to 2 pi `period`."""
    steps = torch.exp(-math.log(period) / max(1, width // 2 - 1) * torch.arange(width // 2))
    phase = torch.arange(length)[:, None] * steps
    return torch.cat([phase.sin(), phase.cos()], dim=1)


def first_rows(table: Tensor, length: int) -> Tensor:
    """The first `length` rows of a table of positions; raises ValueError where it has fewer."""
    if length > len(table):
        raise ValueError(f"got {length} frames at once; this model has positions for {len(table)} only. Encode shorter clips.")
    return table[:length]


class WhisperStem(nn.Module):
    """Two convolutions of kernel 3, each with GELU: `[B, M, N]` to `[B, W, L]`, where each stride divides the length, rounding up.

    Args:
        bands: M.
        width: W.
        strides: of the two convolutions.
        causal: pad on the left only, so that a position depends on no later frame.
    """

    def __init__(self, bands: int, width: int, *, strides: tuple[int, int] = (1, 2), causal: bool = False) -> None:
        super().__init__()
        self.causal = causal
        padding = 0 if causal else 1
        self.conv_in = nn.Conv1d(bands, width, 3, stride=strides[0], padding=padding)
        self.conv_out = nn.Conv1d(width, width, 3, stride=strides[1], padding=padding)
        for conv in (self.conv_in, self.conv_out):  # torch's own first weights would leave all sounds alike behind two GELUs
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the convolutions to `[B, M, N]`."""
        for conv in (self.conv_in, self.conv_out):
            x = F.gelu(conv(F.pad(x, (2, 0)) if self.causal else x))
        return x


#: (earlier, later) positions that a position attends to beside itself; -1: all of them.
Reach = tuple[int, int]


class WhisperAttention(nn.Module):
    """Self-attention `[B, L, W]`, and beside it, if `memory` is not 0, an FSMN branch: a depthwise convolution of the values, and they.

    Args:
        width: W.
        heads: H.
        memory: kernel of the convolution over the values, an odd number; 0: no such branch.
        reach: positions that each attends to; (-1, -1): all.
    """

    def __init__(self, width: int, heads: int, *, memory: int = 0, reach: Reach = (-1, -1)) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} does not divide into {heads} heads.")
        if memory and not memory % 2:
            raise ValueError(f"memory is {memory}; the kernel of the convolution over the values must be odd.")
        self.heads, self.reach = heads, reach
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width, bias=False)
        self.v = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.memory = nn.Conv1d(width, width, memory, padding=memory // 2, groups=width, bias=False) if memory else None

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor] | None = None, mask: Tensor | None = None) -> Tensor:
        """Attention over `[B, L, W]`.

        Args:
            x: the sequence.
            angles: cosines and sines `[L, d/2]` by which queries and keys are rotated; None: they are not.
            mask: bool, True where a query attends to a key, broadcast to `[B, H, L, L]`; None: within `reach`.
        """
        values = self.v(x)
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (self.q(x), self.k(x), values))  # [B, H, L, d]
        if angles is not None:
            q, k = rotate(q, *angles), rotate(k, *angles)
        near = mask is None and self.reach != (-1, -1)
        y = window_attention(q, k, v, self.reach) if near else F.scaled_dot_product_attention(q, k, v, mask)
        y = self.out(y.transpose(1, 2).flatten(2))
        return y if self.memory is None else y + self.memory(values.transpose(1, 2)).transpose(1, 2) + values


class WhisperBlock(nn.Module, Recomputable):
    """x + attention(norm(x)), then x + MLP(norm(x)); `[B, L, W]`.

    Args:
        width, heads, memory, reach: as in `WhisperAttention`.
        hidden: hidden width of the MLP; 0: 4 W.
        rms: RMSNorm in place of LayerNorm.
        eps: epsilon of both norms.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        hidden: int = 0,
        memory: int = 0,
        reach: Reach = (-1, -1),
        rms: bool = False,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        hidden = hidden or 4 * width
        self.norm_attention = whisper_norm(width, rms=rms, eps=eps)
        self.attention = WhisperAttention(width, heads, memory=memory, reach=reach)
        self.norm_mlp = whisper_norm(width, rms=rms, eps=eps)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor] | None = None, mask: Tensor | None = None) -> Tensor:
        """Apply the block to `[B, L, W]`; `angles` and `mask` as in `WhisperAttention`."""
        x = x + self.attention(self.norm_attention(x), angles, mask)
        return x + self.mlp(self.norm_mlp(x))


def whisper_norm(width: int, *, rms: bool = False, eps: float = 1e-5) -> nn.Module:
    """The norm of the blocks, and behind the last one: LayerNorm, or RMSNorm."""
    return nn.RMSNorm(width, eps=eps) if rms else nn.LayerNorm(width, eps=eps)
