"""SenseVoice's encoder: self-attention beside a convolution over the values (SAN-M), over stacked filter banks.

An et al. 2024, "FunAudioLLM", arXiv 2407.04051; Gao et al. 2020, "SAN-M: Memory Equipped Self-Attention for End-to-End Speech
Recognition", arXiv 2006.01713. Parity was checked against AmphionTeam/FlexiCodec @ f52415c, flexicodec/customized_sensevoice (MIT), and
funasr 1.4.16 (MIT).

    waveform -> log mel bands, 100 a second -> 7 at a time, every 6 -> + 4 learned vectors in front -> layers -> frames, 16.7 a second

Differs: funasr adds random noise to each sample of the waveform (dither), so that its features are never the same twice; here there
is none.

Letters: B batch, T samples, N frames, C width, S bands of a stack.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...layers.speech_features import FBANK_BINS, FBANK_HOP, FBANK_WINDOW, kaldi_fbanks

#: Filter-bank frames of a stack, frames from one stack to the next, and stacked bands S.
STACK, STEP = 7, 6
STACKED_BINS = STACK * FBANK_BINS
#: Samples at 16 kHz from one frame to the next.
FRAME_HOP = STEP * FBANK_HOP
#: Learned vectors, and which of them stand in front of the sound: any language, the two of events and emotions, no text normalization.
QUERIES, IN_FRONT = 16, (0, 1, 2, 15)


@dataclass(frozen=True, kw_only=True)
class SenseVoiceConfig:
    """Settings of `SenseVoice`; the defaults are SenseVoice-Small's.

    Attributes:
        width: C.
        heads: number of attention heads.
        hidden: inner width of the feed-forward networks.
        layers: number of layers before the first norm; the published model has 50.
        later_layers: number of layers between the first norm and the second; the published model has 20.
        kernel_size: frames that the convolution over the values sees, odd.
        outputs: the features are the mean of the outputs of these layers, counted from 0 through both stacks, each behind its stack's
            norm; empty: the output of the last of `layers`. Layers behind the last one that is needed are left out.
    """

    width: int = 512
    heads: int = 4
    hidden: int = 2048
    layers: int = 50
    later_layers: int = 20
    kernel_size: int = 11
    outputs: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width % self.heads:
            raise ValueError(f"width is {self.width}; it must be a multiple of heads = {self.heads}.")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is {self.kernel_size}; it must be odd.")
        if self.layers < 1:
            raise ValueError(f"layers is {self.layers}; there is at least 1.")
        if any(not 0 <= i < self.layers + self.later_layers for i in self.outputs):
            raise ValueError(f"outputs are {self.outputs}; layers count from 0 to {self.layers + self.later_layers - 1}.")

    @property
    def chosen(self) -> tuple[int, ...]:
        """The layers whose outputs are the features."""
        return self.outputs or (self.layers - 1,)


def stacked_bins(x: Tensor) -> Tensor:
    """Stacks of filter-bank frames `[N, S]` of a clip `[T]` at 16 kHz; T is a window of 400 samples or more.

    Log energies of 80 mel bands (Kaldi's conventions, Hamming windows). Before the first frame it stands three more times, behind the
    last one as often as the last stack needs it.
    """
    frames = kaldi_fbanks(x, window_type="hamming", energy_floor=0.0)
    before, stacks = (STACK - 1) // 2, stack_count(x.shape[-1])
    at = torch.arange(stacks, device=x.device)[:, None] * STEP + torch.arange(STACK, device=x.device) - before
    return frames[at.clamp(0, len(frames) - 1)].flatten(1)


def stack_count(samples: int) -> int:
    """N, number of frames of a clip of `samples` samples at 16 kHz, 400 or more."""
    return -(-((samples - FBANK_WINDOW) // FBANK_HOP + 1) // STEP)


def samples_for(stacks: int) -> int:
    """Smallest number of samples at 16 kHz that has `stacks` frames."""
    return FBANK_WINDOW + FBANK_HOP * STEP * (stacks - 1)


class MemoryAttention(nn.Module):
    """Self-attention plus a depthwise convolution over the values; `[B, N, C']` to `[B, N, C]`."""

    def __init__(self, in_width: int, c: SenseVoiceConfig) -> None:
        super().__init__()
        self.heads = c.heads
        self.qkv = nn.Linear(in_width, 3 * c.width)
        self.out = nn.Linear(c.width, c.width)
        self.memory = nn.Conv1d(c.width, c.width, c.kernel_size, padding=c.kernel_size // 2, groups=c.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Attention over `[B, N, C']`."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        heads = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))  # [B, H, N, d]
        mixed = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        return self.out(mixed) + self.memory(v.transpose(1, 2)).transpose(1, 2) + v


class SenseVoiceLayer(nn.Module):
    """Pre-norm attention and feed-forward network; the first layer, which changes the width, has no residual around attention."""

    def __init__(self, in_width: int, c: SenseVoiceConfig) -> None:
        super().__init__()
        self.residual = in_width == c.width
        self.norm_attention = nn.LayerNorm(in_width)
        self.attention = MemoryAttention(in_width, c)
        self.norm_feed_forward = nn.LayerNorm(c.width)
        self.up = nn.Linear(c.width, c.hidden)
        self.down = nn.Linear(c.hidden, c.width)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to `[B, N, C']`."""
        y = self.attention(self.norm_attention(x))
        x = x + y if self.residual else y
        return x + self.down(F.relu(self.up(self.norm_feed_forward(x))))


class SenseVoice(nn.Module):
    """Frozen encoder: clips at 16 kHz to features, a frame every 960 samples. It has no training mode and no gradients.

    `shift` and `scale` `[S]` are the statistics that come with its weights: a band b goes in as (b + shift) * scale.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, config: SenseVoiceConfig) -> None:
        super().__init__()
        self.config = c = config
        self.register_buffer("shift", torch.zeros(STACKED_BINS))
        self.register_buffer("scale", torch.ones(STACKED_BINS))
        self.queries = nn.Embedding(QUERIES, STACKED_BINS)
        count, last = c.layers + c.later_layers, max(c.chosen)
        self.layers = nn.ModuleList(SenseVoiceLayer(c.width if i else STACKED_BINS, c) for i in range(count) if i <= last)
        self.norm = nn.LayerNorm(c.width)
        self.later_norm = nn.LayerNorm(c.width) if last >= c.layers else None
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "SenseVoice":
        """Stay in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, clips: Tensor) -> Tensor:
        """Features `[B, C, N]` of clips `[B, T]` at 16 kHz, T 400 or more."""
        bins = torch.stack([stacked_bins(clip) for clip in clips])  # [B, N, S]
        bins = (bins + self.shift.float()) * self.scale.float()
        return self.encode(bins.to(self.queries.weight.dtype)).transpose(1, 2)

    @torch.no_grad()
    def encode(self, bins: Tensor) -> Tensor:
        """Features `[B, N, C]` of normalised stacks of filter banks `[B, N, S]`."""
        c, front = self.config, self.queries.weight[list(IN_FRONT)]
        x = torch.cat([front.expand(len(bins), -1, -1), bins], dim=1) * c.width**0.5
        x = x + positions(x)
        found = []
        for i, layer in enumerate(self.layers):
            x = layer(x)
            norm = self.norm if i < c.layers or self.later_norm is None else self.later_norm
            if i in c.chosen:
                found.append(norm(x))
            if i == c.layers - 1:  # the later layers go on from the normalised output
                x = self.norm(x)
        return _mean(found)[:, len(IN_FRONT) :]


def _mean(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.stack(list(parts)).mean(0)


def positions(like: Tensor) -> Tensor:
    """Sines, then cosines, of positions from 1 on: `[N, S]` for `[B, N, S]`, with periods from 2 pi to 20000 pi."""
    length, half = like.shape[1], like.shape[2] // 2
    rates = torch.exp(torch.arange(half, device=like.device, dtype=torch.float32) * (-torch.log(torch.tensor(10000.0)) / (half - 1)))
    angles = torch.arange(1, length + 1, device=like.device, dtype=torch.float32)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1).to(like.dtype)
