"""The parts of MiMo-Audio-Tokenizer: its mel, its encoder, and its decoder in two steps, to mel frames and to the waveform.

Letters: B batch, T samples, M mel bands, N mel frames, W width, P frames behind the convolutions, L positions.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError, Signed
from ...layers.transformer1d import rotary_angles
from ...layers.vocos import FourierHead
from ...layers.whisper import WhisperBlock, WhisperStem, whisper_norm
from ...precision import KeepsDtype, widened


@dataclass(frozen=True, kw_only=True)
class RotaryStackConfig:
    """Settings of one stack of Whisper's blocks with rotary positions.

    Attributes:
        width: W.
        heads: attention heads.
        hidden: hidden width of the blocks' MLPs.
        layers: number of blocks.
        reach: (earlier, later) positions that a position attends to; -1: all of them. (-1, 0): causal.
        rms: RMSNorm in place of LayerNorm.
        rope_period: base of the rotary frequencies.
    """

    width: int = 1280
    heads: int = 20
    hidden: int = 5120
    layers: int = 32
    reach: tuple[Signed, Signed] = (-1, -1)
    rms: bool = False
    rope_period: float = 10000.0

    def __post_init__(self) -> None:
        for name in ("width", "heads", "hidden", "layers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if self.width % self.heads or self.width // self.heads % 2:
            raise ConfigError(f"width is {self.width}; it must divide into {self.heads} heads of an even number of channels.")
        if any(n < -1 or n != int(n) for n in self.reach):
            raise ConfigError(f"reach is {list(self.reach)}; both are whole numbers from 0, or -1 for all.")


class RotaryStack(nn.Module):
    """Blocks and a norm over `[B, P, W]`; the output of block `skip` (from 1; 0: none) is added to that of the last."""

    def __init__(self, config: RotaryStackConfig, *, skip: int = 0) -> None:
        super().__init__()
        c = self.config = config
        self.skip, before, after = skip, *(int(n) for n in c.reach)
        eps = 1e-6 if c.rms else 1e-5
        self.blocks = nn.ModuleList(
            WhisperBlock(c.width, c.heads, hidden=c.hidden, reach=(before, after), rms=c.rms, eps=eps) for _ in range(c.layers)
        )
        self.norm = whisper_norm(c.width, rms=c.rms, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the stack to `[B, P, W]`."""
        angles = rotary_angles(x.shape[1], self.config.width // self.config.heads, self.config.rope_period, x)
        kept: Tensor | None = None
        for number, block in enumerate(self.blocks, 1):
            x = block(x, angles)
            kept = x if number == self.skip else kept
        return self.norm(x if kept is None else x + kept)


class AmplitudeMel(KeepsDtype):
    """Logarithms of amplitudes in mel bands (HTK's), at least 1e-7, of centred frames with reflection; in float32.

    Args:
        bands: M.
        sample_rate_hz: of the waveforms.
        fft_samples, window_samples, hop_samples: of the transform, of its Hann window, and from frame to frame.
        low_hz, high_hz: lowest and highest edge of the bands.
    """

    window: Tensor
    filters: Tensor

    def __init__(
        self, bands: int, *, sample_rate_hz: int, fft_samples: int, window_samples: int, hop_samples: int, low_hz: float, high_hz: float
    ) -> None:
        super().__init__()
        from torchaudio import functional as AF

        self.size, self.hop = fft_samples, hop_samples
        self.register_buffer("window", torch.hann_window(window_samples), persistent=False)
        with torch.device("cpu"):  # torchaudio looks at the values, which a model on "meta" does not have
            filters = AF.melscale_fbanks(fft_samples // 2 + 1, low_hz, high_hz, bands, sample_rate_hz)
        self.register_buffer("filters", filters, persistent=False)

    def frames(self, samples: int) -> int:
        """N of a clip of `samples` samples."""
        return max(samples, self.size // 2 + 1) // self.hop + 1

    def reflected(self, x: Tensor) -> Tensor:
        """Waveforms `[B, T]` with what the outermost frames take beyond their ends; short ones are filled up with silence first."""
        x = F.pad(widened(x), (0, max(0, self.size // 2 + 1 - x.shape[-1])))
        return F.pad(x[:, None], (self.size // 2, self.size // 2), mode="reflect")[:, 0]

    def forward(self, x: Tensor, start: int, stop: int) -> Tensor:
        """Frames `start..stop` `[B, M, N]` of waveforms that `reflected` returned."""
        x = x[:, start * self.hop : (stop - 1) * self.hop + self.size]
        with torch.autocast(x.device.type, enabled=False):
            window = self.window.to(x.dtype)
            spectra = torch.stft(x, self.size, self.hop, window.shape[0], window, center=False, return_complex=True)
            amplitudes = torch.matmul(spectra.abs().transpose(1, 2), self.filters.to(x.dtype)).transpose(1, 2)
            return amplitudes.clamp(min=1e-7).log()


class MiMoEncoder(nn.Module):
    """Mel frames `[B, M, N]` to `[B, W, L]`: convolutions, a stack, and `pool` frames to one position."""

    def __init__(self, config: RotaryStackConfig, *, bands: int, stride: int, pool: int, skip: int) -> None:
        super().__init__()
        self.stride, self.pool, width = stride, pool, config.width
        self.stem = WhisperStem(bands, width, strides=(1, stride))
        self.stack = RotaryStack(config, skip=skip)
        self.down = nn.Conv1d(width, width, pool, stride=pool, bias=False) if pool > 1 else None
        self.norm = whisper_norm(width, rms=config.rms, eps=1e-6 if config.rms else 1e-5) if pool > 1 else None

    def forward(self, x: Tensor, *, beside_longer: bool = False) -> Tensor:
        """Encode `[B, M, N]`.

        Args:
            x: mel frames.
            beside_longer: do at the end what the authors' code does to pieces that share a batch with longer ones: the second
                convolution finds the first one's answer to zeros there, and the last position is filled up with the last frame.
        """
        frames = -(-x.shape[-1] // self.stride)
        x = self.stem(F.pad(x, (0, int(beside_longer))))[..., :frames]
        x = self.stack(x.transpose(1, 2)).transpose(1, 2)  # [B, W, P]
        if self.down is None or self.norm is None:
            return x
        x = F.pad(x, (0, -frames % self.pool), mode="replicate" if beside_longer else "constant")
        x = F.gelu(self.down(x))
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


class CausalUp(nn.Module):
    """A transposed convolution and a norm over all of it: `[B, C, L]` to `[B, C', stride L]`; what lies beyond is cut off."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.ConvTranspose1d(channels, out_channels, kernel, stride=stride)
        self.norm = nn.GroupNorm(1, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply both to `[B, C, L]`."""
        return self.norm(self.conv(x))[..., : x.shape[-1] * self.stride]


class MiMoDecoder(nn.Module):
    """`[B, W, L]` to waveforms `[B, 1, T]`: more frames, a stack, mel frames, a second stack, an inverse Fourier transform."""

    def __init__(
        self,
        config: RotaryStackConfig,
        vocoder: RotaryStackConfig,
        *,
        bands: int,
        stride: int,
        kernel: int,
        pool: int,
        fft_samples: int,
        hop_samples: int,
    ) -> None:
        super().__init__()
        self.up = CausalUp(config.width, config.width, pool, pool) if pool > 1 else nn.Identity()
        self.stack = RotaryStack(config)
        self.mel = CausalUp(config.width, bands, kernel, stride)
        self.embed = nn.Linear(bands, vocoder.width, bias=False)
        self.vocoder = RotaryStack(vocoder)
        self.head = FourierHead(vocoder.width, window_samples=fft_samples, hop_samples=hop_samples)

    def forward(self, z: Tensor) -> Tensor:
        """Decode `[B, W, L]`."""
        mel = self.mel(self.stack(self.up(z).transpose(1, 2)).transpose(1, 2))  # [B, M, N]
        return self.head(self.vocoder(self.embed(mel.transpose(1, 2))))[:, None]
