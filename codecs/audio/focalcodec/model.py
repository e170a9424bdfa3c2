"""FocalCodec: the lower layers of WavLM, focal modulation down to a few bits a frame, their signs, and back.

Della Libera et al. 2025, "FocalCodec: Low-Bitrate Speech Coding via Focal Modulation Networks", arXiv 2502.04465; causal, with
chunks of four frames: "FocalCodec-Stream: Streaming Low-Bitrate Speech Coding via Causal Distillation", arXiv 2509.16195. Parity
was checked against lucadellalib/focalcodec @ 912b7f2 (Apache-2.0).

The first six layers of WavLM encode `[B, 1, T]` to features `[B, D, L R]`, 50 a second. A compressor of focal modulation blocks
reduces them to b numbers of unit length, `[B, b, L]`; the quantizer keeps their signs: one id of b bits, `[B, 1, L]`. A decompressor
reconstructs the features from the signs, and a Vocos-like decoder synthesises the waveform from the features.

The published recipe trains the compressor, quantizer and decompressor on frozen WavLM features, and the decoder separately on the
same features; `forward` runs all parts and returns the features before and after (`configs/audio/focalcodec-50hz*.yaml`).

Letters: B batch, T samples, D width of the features, b bits, L token positions, R features a position.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...kernels.snake import Snake
from ...layers.causal import Conv1d, State, Streaming
from ...layers.convnext1d import ConvNeXtBlock1d
from ...layers.stft import STFT
from ...precision import unit_norm
from ...quantizers.base import QuantizerConfig
from ...quantizers.bsq import BSQConfig
from ...spec import AudioSpec
from ...tokenizer import Reconstruction
from ..base import AudioTokenizer
from ..stream import Streamable
from .focal import FocalBlock, FocalConfig
from .wavlm import EarlyConv1d, WavLM, WavLMConfig


@dataclass(frozen=True, kw_only=True)
class FocalDecoderConfig:
    """Settings of the decoder from features to samples.

    Attributes:
        head: "vocos" (spectra, arXiv 2306.00814) or "wavenext" (one linear map to the samples of a frame, clamped to -1..1).
        width: channels of the ConvNeXt blocks.
        blocks: number of ConvNeXt blocks.
        hidden: width inside a block.
        kernel_size: kernel size of the blocks' convolutions.
        layer_scale: initial value of the learned factor of each block; 0: 1 / blocks.
        window_samples: window length of the inverse transform of "vocos".
        hop_samples: output samples for each feature vector.
        causal: no layer looks ahead. "vocos" then keeps only the last `hop_samples` of each inverse transform.
    """

    head: Literal["vocos", "wavenext"] = "vocos"
    width: int = 512
    blocks: int = 8
    hidden: int = 1536
    kernel_size: int = 7
    layer_scale: float = 0.0
    window_samples: int = 1024
    hop_samples: int = 320
    causal: bool = False


_QUANTIZER = BSQConfig(bits=13, normalize=False, entropy="exact", commitment_weight=0.0)
_WAVLM, _FOCAL, _DECODER = WavLMConfig(), FocalConfig(), FocalDecoderConfig()


@dataclass(frozen=True, kw_only=True)
class FocalCodecConfig:
    """Settings of `FocalCodec`; the defaults are the published 50 Hz model.

    Attributes:
        sample_rate_hz: sampling rate of the input waveform.
        encoder: settings of WavLM.
        widths: channels of the compressor's levels; the decompressor mirrors them.
        factors: number of features that each compressor level merges into one.
        compressor, decompressor: settings of the focal modulation blocks.
        window, decompressor_window: kernel size, in frames, of the last convolution of causal blocks of the compressor and of the
            decompressor.
        last_window: that kernel size in the decompressor's last level.
        refine_frames: number of neighbouring features that a further network of the decompressor refines together; 0: no such
            network.
        quantizer: settings of any quantizer; its `dim` is filled in. The latents have unit length.
        latent_dim: b, channels of the latents and bits of an id.
        decoder: settings of the decoder from features to samples.
    """

    sample_rate_hz: int = 16000
    encoder: WavLMConfig = _WAVLM
    widths: tuple[int, ...] = (1024, 512, 256)
    factors: tuple[int, ...] = (1, 1, 1)
    compressor: FocalConfig = _FOCAL
    decompressor: FocalConfig = _FOCAL
    window: int = 512
    decompressor_window: int = 512
    last_window: int = 512
    refine_frames: int = 0
    quantizer: QuantizerConfig = _QUANTIZER
    latent_dim: int = 13
    decoder: FocalDecoderConfig = _DECODER

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.factors):
            raise ValueError("widths and factors must have one entry for each level.")
        if self.refine_frames and not self.decompressor.causal:
            raise ValueError(f"refine_frames is {self.refine_frames}; only causal decompressors have a refining network: set it to 0.")

    @property
    def features(self) -> int:
        """R, features in one token position."""
        return math.prod(self.factors)

    @property
    def hop_samples(self) -> int:
        """Input samples from one token position to the next."""
        return self.encoder.hop * self.features

    @property
    def causal(self) -> bool:
        """True if encoder, compressor, decompressor and decoder are all causal."""
        return self.encoder.causal and self.compressor.causal and self.decompressor.causal and self.decoder.causal

    @property
    def group_frames(self) -> int:
        """Token positions that a stream processes as one group: whole chunks of the encoder and of the refining network."""
        chunk = math.lcm(self.encoder.chunk_frames, self.refine_frames or 1, self.features)
        return chunk // self.features if self.causal else 1


class FocalDown(Streaming):
    """Strided convolution, snake, focal block; `[B, L, C]` to `[B, L / factor, D]`."""

    def __init__(self, in_width: int, width: int, factor: int, window: int, config: FocalConfig) -> None:
        super().__init__()
        self.factor, self.causal = factor, config.causal
        self.conv = (EarlyConv1d if config.causal else nn.Conv1d)(in_width, width, factor, factor)
        self.act = Snake(width)
        self.block = FocalBlock(width, window, config)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Apply the level: `[B, L, C]` to `[B, L / factor, D]`."""
        x = x.transpose(1, 2)
        if self.causal:
            x = self.conv(x, state)
        else:  # zeros on the right, as many as the authors count: features beyond a whole group may still be left out
            x = self.conv(F.pad(x, (0, (x.shape[-1] - self.factor) % self.factor)))
        return self.block(self.act(x).transpose(1, 2), state)


class FocalUp(Streaming):
    """Focal block, snake, transposed convolution without overlap; `[B, L, C]` to `[B, L factor, D]`."""

    def __init__(self, in_width: int, width: int, factor: int, window: int, config: FocalConfig) -> None:
        super().__init__()
        self.block = FocalBlock(in_width, window, config)
        self.act = Snake(in_width)
        self.conv = nn.ConvTranspose1d(in_width, width, factor, factor)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Apply the level: `[B, L, C]` to `[B, L factor, D]`."""
        return self.conv(self.act(self.block(x, state).transpose(1, 2))).transpose(1, 2)


class Compressor(Streaming):
    """Features `[B, D, L R]` to latents of unit length `[B, b, L]`."""

    def __init__(self, config: FocalCodecConfig) -> None:
        super().__init__()
        c, ins = config, (config.encoder.width, *config.widths)
        self.levels = nn.ModuleList(
            FocalDown(ins[i], c.widths[i], factor, c.window, c.compressor) for i, factor in enumerate(c.factors)
        )
        self.out = nn.Linear(c.widths[-1], c.latent_dim)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Compress: `[B, D, L R]` to `[B, b, L]`."""
        x = x.transpose(1, 2)
        for level in self.levels:
            x = level(x, state)
        return unit_norm(self.out(x)).transpose(1, 2)


class Decompressor(Streaming):
    """Quantized latents `[B, b, L]` to features `[B, D, L R]`."""

    def __init__(self, config: FocalCodecConfig) -> None:
        super().__init__()
        c, outs = config, (*config.widths[::-1], config.encoder.width)
        factors, last = c.factors[::-1], len(c.factors) - 1
        self.proj = nn.Linear(c.latent_dim, outs[0])
        self.levels = nn.ModuleList(
            FocalUp(outs[i], outs[i + 1], f, c.last_window if i == last else c.decompressor_window, c.decompressor)
            for i, f in enumerate(factors)
        )
        self.group, wide = c.refine_frames, c.refine_frames * c.encoder.width
        self.refine_up = nn.Linear(wide, wide) if wide else None
        self.refine_down = nn.Linear(wide, wide) if wide else None

    def forward(self, z: Tensor, state: State | None = None) -> Tensor:
        """Decompress: `[B, b, L]` to `[B, D, L R]`."""
        x = self.proj(z.transpose(1, 2))
        for level in self.levels:
            x = level(x, state)
        if self.refine_up is None or self.refine_down is None:
            return x.transpose(1, 2)
        y = F.pad(x, (0, 0, 0, -x.shape[1] % self.group))
        y = y.reshape(x.shape[0], -1, self.group * x.shape[2])  # [B, L R / group, group D]
        y = self.refine_down(F.gelu(self.refine_up(y))).reshape(x.shape[0], -1, x.shape[2])
        return (x + y[:, : x.shape[1]]).transpose(1, 2)


class FocalDecoder(Streaming):
    """Features `[B, D, N]` to `[B, 1, N hop]`: ConvNeXt blocks and a head."""

    def __init__(self, in_width: int, config: FocalDecoderConfig) -> None:
        super().__init__()
        c = config
        self.config = config
        edge = "replicate" if c.head == "vocos" else "zeros"
        self.embed = Conv1d(in_width, c.width, c.kernel_size, causal=c.causal, edge=edge if c.causal else "zeros")
        self.norm_in = nn.LayerNorm(c.width, eps=1e-6)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock1d(
                c.width,
                kernel_size=c.kernel_size,
                hidden=c.hidden,
                layer_scale=c.layer_scale or 1 / c.blocks,
                causal=c.causal,
                edge=edge if c.causal else "zeros",
            )
            for _ in range(c.blocks)
        )
        self.norm_out = nn.LayerNorm(c.width, eps=1e-6)
        self.head = nn.Linear(c.width, c.window_samples + 2 if c.head == "vocos" else c.hop_samples)
        self.stft = None
        if c.head == "vocos" and not c.causal:
            self.stft = STFT(window_samples=c.window_samples, hop_samples=c.hop_samples, causal=False)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Decode: `[B, D, N]` to `[B, 1, N hop]`."""
        c = self.config
        x = self.norm_in(self.embed(x, state).transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            x = block(x, state)
        y = self.head(self.norm_out(x.transpose(1, 2)))  # [B, N, ...]
        if c.head == "wavenext":
            return y.flatten(1).clamp(-1, 1)[:, None]
        magnitude, angle = y.float().chunk(2, dim=-1)
        spectra = torch.polar(magnitude.exp().clamp(max=1e2), angle)
        if self.stft is not None:
            return self.stft.synthesise(spectra)[:, None]
        return torch.fft.irfft(spectra, n=c.window_samples)[..., -c.hop_samples :].flatten(1)[:, None]


class FocalCodec(Streamable, AudioTokenizer):
    """Speech codec with one binary codebook; see the module's docstring.

    Where the model is not causal, ids depend on the whole clip (attention, and a mean over all frames): clips are never cut.
    """

    family: ClassVar[str] = "focalcodec"
    config_class: ClassVar[type] = FocalCodecConfig
    encoder_only = ("encoder", "compressor")
    decoder_only = ("decompressor", "decoder")
    pad_rest = False

    def __init__(self, config: FocalCodecConfig) -> None:
        super().__init__()
        c = config
        self.config = config
        self.encoder = WavLM(c.encoder)
        self.compressor = Compressor(c)
        self.quantizer = c.quantizer.build(dim=c.latent_dim)
        self.decompressor = Decompressor(c)
        self.decoder = FocalDecoder(c.encoder.width, c.decoder)
        self.group_frames = c.group_frames
        hop_out = c.decoder.hop_samples * c.features
        if c.sample_rate_hz * hop_out % c.hop_samples:
            raise ValueError(
                f"the output rate {c.sample_rate_hz} * {hop_out} / {c.hop_samples} Hz is not a whole number; "
                "change decoder.hop_samples."
            )
        self.spec = AudioSpec.of(
            self.quantizer,
            sample_rate_hz=c.sample_rate_hz,
            output_rate_hz=c.sample_rate_hz * hop_out // c.hop_samples,
            hop_samples=c.hop_samples,
            causal=c.causal,
            latency_samples=c.hop_samples * c.group_frames - 1 if c.causal else 0,
            semantic_dim=c.encoder.width,
        )

    def num_frames(self, samples: int) -> int:
        """L, the number of frames of a clip of `samples` samples; if not causal, samples that do not fill a window are dropped."""
        frames = self.config.encoder.num_frames(samples)
        for factor in self.config.factors:
            if self.config.compressor.causal:
                frames = -(-frames // factor)
            else:
                frames = max(0, (frames + (frames - factor) % factor - factor) // factor + 1)
        return frames

    def to_length(self, x: Tensor, length: int) -> Tensor:
        """Cut a waveform `[..., T]` to `length`, or pad it by repeating its last sample, as the authors do."""
        lead = x.shape[:-1]
        x = F.pad(x.reshape(-1, 1, x.shape[-1]), (0, max(0, length - x.shape[-1])), mode="replicate")
        return x.view(*lead, -1)[..., :length]

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct a batch `[B, 1, T]` with gradients.

        `Reconstruction.features` has "features", the encoder's `[B, D, N]`, and "reconstructed_features", the decompressor's.
        """
        features = self.encoder(x)
        z = self.compressor(features)
        quantized = self.quantizer(z)
        reconstructed = self.decompressor(quantized.z_q)
        length = -(-x.shape[-1] * self.spec.decoded_rate_hz // self.spec.sample_rate_hz)
        x_hat = self.to_length(self.decoder(reconstructed), length)
        n = min(features.shape[-1], reconstructed.shape[-1])
        outputs = {"features": features[..., :n], "reconstructed_features": reconstructed[..., :n]}
        return Reconstruction(x_hat=x_hat, z=z, quantized=quantized, features=outputs)

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """The encoder's features `[B, D, N]` as reconstructed by the decompressor."""
        return self.decompressor(self.vectors_of(ids))

    def encode_piece(self, x: Tensor, state: State | None = None) -> Tensor:
        """Latents of unit length `[B, b, L]` of samples `[B, 1, T]`, continuing where `state` ends."""
        return self.compressor(self.encoder(x, state), state)

    def decode_piece(self, z_q: Tensor, state: State | None = None) -> Tensor:
        """Waveform `[B, 1, L * hop]` of latents `[B, b, L]`, continuing where `state` ends."""
        return self.decoder(self.decompressor(z_q, state), state)
