"""SQ-Codec: no codebook at all, every latent channel rounded to one of 19 values.

Yang et al. 2024, "SimpleSpeech: Towards Simple and Efficient Text-to-Speech with Scalar Latent Transformer Diffusion Models", arXiv
2406.02328. Parity was checked against yangdongchao/SimpleSpeech @ 6b95cf0, `ldm/models/scalar16k.py` (no licence stated; written
anew from its behaviour).

Strided convolutions and a tanh encode `[B, C, T]` to latents `[B, D, L]` in -1..1, one for every hop of 320 samples: 50 a second at
16 kHz. Each channel is rounded to a multiple of 1 / m (m = 9: 19 values). Transposed convolutions decode the rounded latents to
`[B, C, L * hop]`.

Differs: the authors' code has no integer ids; here `id = round(m z) + m`, one codebook for each channel, `[B, K, L]` with K = D.

All layers are causal except the decoder's first convolution, which looks a few frames ahead; so the codec does not
stream, and long audio is processed in overlapping pieces whose output equals that for the whole clip.

Letters: B batch, C channels, T samples, D latent width, K = D codebooks, L positions (frames), s stride.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...members import members
from ...quantizers.base import QuantizerConfig
from ...quantizers.scalar import ScalarConfig
from ...recomputable import Recomputable
from ...spec import AudioSpec
from ..base import AudioTokenizer, pad_to_hop
from ..start import start_sound

#: Dilation of each residual unit of a level.
DILATIONS = (1, 3, 5, 7, 9)


@dataclass(frozen=True, kw_only=True)
class SQCodecConfig:
    """Settings of `SQCodec`.

    Attributes:
        sample_rate_hz: rate of the waveform.
        channels: channels of the waveform (bands of a filter bank in the authors' terms).
        pool: samples that the encoder averages before its levels, and the decoder repeats after its levels; 1: no pooling.
        strides: down-sampling of each level of the encoder, from the waveform to the frames.
        stride_kernels: kernel sizes of the strided convolutions.
        decoder_strides: up-sampling of each level of the decoder, from the frames to the waveform.
        decoder_stride_kernels: kernel sizes of the transposed convolutions; twice the stride if causal.
        width: channels at the waveform's rate; each level doubles them.
        kernel_size: kernel size of the convolutions before and after the levels.
        residual_kernel_size: kernel size of the residual units.
        delay_kernel_size: kernel size of the decoder's first convolution, which looks ahead by half of it.
        latent_dim: D, channels of the latents.
        causal: convolutions are padded on the left only.
        quantizer: settings of `scalar` without tanh, which the encoder applies; its `dim` is filled in.
    """

    sample_rate_hz: int = 16000
    channels: int = 1
    pool: int = 2
    strides: tuple[int, ...] = (2, 4, 4, 5)
    stride_kernels: tuple[int, ...] = (4, 8, 8, 10)
    decoder_strides: tuple[int, ...] = (5, 4, 4, 2)
    decoder_stride_kernels: tuple[int, ...] = (10, 8, 8, 4)
    width: int = 32
    kernel_size: int = 7
    residual_kernel_size: int = 7
    delay_kernel_size: int = 5
    latent_dim: int = 50
    causal: bool = True
    quantizer: QuantizerConfig = ScalarConfig(steps=9, tanh=False)

    def __post_init__(self) -> None:
        for name in ("strides", "decoder_strides"):
            kernels = name.removesuffix("s") + "_kernels"
            if len(getattr(self, name)) != len(getattr(self, kernels)):
                raise ValueError(f"{name} {getattr(self, name)} and {kernels} {getattr(self, kernels)} must have the same length.")
        if math.prod(self.decoder_strides) != math.prod(self.strides):
            raise ValueError(f"decoder_strides {self.decoder_strides} and strides {self.strides} give other hops.")
        pairs = zip(self.decoder_strides, self.decoder_stride_kernels, strict=True)
        if self.causal and any(k != 2 * s for s, k in pairs):
            raise ValueError("decoder_stride_kernels must be twice decoder_strides where causal is true.")

    @property
    def hop_samples(self) -> int:
        """Hop: number of samples for each frame."""
        return self.pool * math.prod(self.strides)


class SQConv1d(nn.Conv1d):
    """Convolution padded with zeros: on the left when causal, otherwise on both sides; `[B, C, T]`."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, dilation: int = 1, causal: bool
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, dilation=dilation)
        total = dilation * (kernel_size - 1)
        self.pads = (total, 0) if causal else (total // 2, total // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve: `[B, C, T]` to `[B, C', length(T)]`."""
        return super().forward(F.pad(x, self.pads))

    def length(self, steps: int) -> int:
        """Number of output steps for `steps` input steps."""
        reach = self.dilation[0] * (self.kernel_size[0] - 1) + 1
        return (steps + sum(self.pads) - reach) // self.stride[0] + 1


class SQUp(nn.ConvTranspose1d):
    """Transposed convolution `[B, C, T]` to `[B, C', T * s]`; the surplus is cut on the right when causal."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int, causal: bool) -> None:
        padding = 0 if causal else (kernel_size - stride) // 2
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, padding=padding)
        self.cut = stride if causal else 0

    def forward(self, x: Tensor) -> Tensor:
        """Convolve: `[B, C, T]` to `[B, C', T * s]`."""
        y = super().forward(x)
        return y[..., : y.shape[-1] - self.cut]


class SQUnit(nn.Module, Recomputable):
    """Dilated convolution, PReLU, pointwise convolution, PReLU, and the input added; `[B, C, T]`."""

    def __init__(self, channels: int, dilation: int, c: SQCodecConfig) -> None:
        super().__init__()
        self.conv_in = SQConv1d(channels, channels, c.residual_kernel_size, dilation=dilation, causal=c.causal)
        self.act_in = nn.PReLU()
        self.conv_out = SQConv1d(channels, channels, 1, causal=c.causal)
        self.act_out = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the unit: `[B, C, T]` to the same shape."""
        return x + self.act_out(self.conv_out(self.act_in(self.conv_in(x))))


def _units(channels: int, c: SQCodecConfig) -> nn.Sequential:
    return nn.Sequential(*(SQUnit(channels, d, c) for d in DILATIONS))


class SQEncoder(nn.Module):
    """Waveforms `[B, C, T]` to latents `[B, D, L]` in -1..1."""

    def __init__(self, c: SQCodecConfig) -> None:
        super().__init__()
        self.pool = c.pool
        self.stem = SQConv1d(c.channels, c.width, c.kernel_size, causal=c.causal)
        if c.pool > 1:
            self.pool_conv = SQConv1d(c.width, c.width, c.kernel_size, causal=c.causal)
            self.pool_act = nn.PReLU()
        widths = [c.width * 2**i for i in range(len(c.strides) + 1)]
        self.units = nn.ModuleList(_units(w, c) for w in widths[:-1])
        self.downs = nn.ModuleList(
            SQConv1d(widths[i], widths[i + 1], k, stride=s, causal=c.causal)
            for i, (s, k) in enumerate(zip(c.strides, c.stride_kernels, strict=True))
        )
        self.down_act = nn.PReLU()  # one for all levels, as in the authors' class
        self.head = SQConv1d(widths[-1], c.latent_dim, c.kernel_size, causal=c.causal)

    def forward(self, x: Tensor) -> Tensor:
        """Encode: `[B, C, T]` to `[B, D, L]`."""
        x = self.stem(x)
        if self.pool > 1:
            x = F.avg_pool1d(self.pool_act(self.pool_conv(x)), self.pool)
        for units, down in zip(self.units, self.downs, strict=True):
            x = self.down_act(down(units(x)))
        return torch.tanh(self.head(x))

    def length(self, samples: int) -> int:
        """L, the number of frames of a clip of `samples` samples; 0 or less: the clip is too short."""
        steps = self.stem.length(samples)
        steps = self.pool_conv.length(steps) // self.pool if self.pool > 1 else steps
        for down in members(self.downs, SQConv1d):
            steps = down.length(steps) if steps > 0 else 0
        return self.head.length(steps) if steps > 0 else 0


class SQDecoder(nn.Module):
    """Latents `[B, D, L]` to waveforms `[B, C, about L * hop]`."""

    def __init__(self, c: SQCodecConfig) -> None:
        super().__init__()
        self.pool = c.pool
        widths = [c.width * 2**i for i in reversed(range(len(c.decoder_strides) + 1))]
        self.stem = SQConv1d(c.latent_dim, widths[0], c.delay_kernel_size, causal=False)
        self.ups = nn.ModuleList(
            SQUp(widths[i], widths[i + 1], k, stride=s, causal=c.causal)
            for i, (s, k) in enumerate(zip(c.decoder_strides, c.decoder_stride_kernels, strict=True))
        )
        self.units = nn.ModuleList(_units(w, c) for w in widths[1:])
        if c.pool > 1:
            self.pool_conv = SQConv1d(c.width, c.width, c.kernel_size, causal=c.causal)
            self.pool_act = nn.PReLU()
        self.head = SQConv1d(c.width, c.channels, c.kernel_size, causal=c.causal)

    def forward(self, z: Tensor) -> Tensor:
        """Decode: `[B, D, L]` to `[B, C, about L * hop]`."""
        x = self.stem(z)
        for up, units in zip(self.ups, self.units, strict=True):
            x = units(up(x))
        if self.pool > 1:
            x = self.pool_act(self.pool_conv(x.repeat_interleave(self.pool, dim=-1)))
        return self.head(x)


class SQCodec(AudioTokenizer):
    """SQ-Codec; see the module's docstring."""

    family: ClassVar[str] = "sq_codec"
    config_class: ClassVar[type] = SQCodecConfig

    def __init__(self, config: SQCodecConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = SQEncoder(config)
        self.quantizer = config.quantizer.build(dim=config.latent_dim)
        self.decoder = SQDecoder(config)
        start_sound(self.encoder, self.decoder)
        self.context_frames = _context(config)
        self.spec = AudioSpec.of(
            self.quantizer,
            channels=config.channels,
            sample_rate_hz=config.sample_rate_hz,
            hop_samples=config.hop_samples,
        )

    def num_frames(self, samples: int) -> int:
        """L, the number of frames of a clip of `samples` samples, at least 1; pooling drops samples that do not fill a step."""
        return max(1, self.encoder.length(samples))

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, L]` of `[B, C, T]`, in -1..1, not rounded yet."""
        if self.encoder.length(x.shape[-1]) < 1:  # too short for a frame
            x = pad_to_hop(x, self.spec.hop_samples)
        return self.encoder(x)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Waveform `[B, C, L * hop]` of latents `[B, D, L]`."""
        return self.decoder(z_q)


def _context(c: SQCodecConfig) -> int:
    """Frames on each side that a frame or a sample depends on, at most."""
    units = (c.residual_kernel_size - 1) * sum(DILATIONS)
    step, outer = c.pool, 2 * (c.kernel_size - 1)
    encoder = decoder = outer * c.pool
    for s, k in zip(c.strides, c.stride_kernels, strict=True):
        encoder += (units + k) * step
        step *= s
    encoder += (c.kernel_size - 1) * step
    step = c.pool
    for s, k in zip(reversed(c.decoder_strides), reversed(c.decoder_stride_kernels), strict=True):
        decoder += (units + k) * step
        step *= s
    decoder += (c.delay_kernel_size - 1) * step
    return -(-max(encoder, decoder) // c.hop_samples) + 1
