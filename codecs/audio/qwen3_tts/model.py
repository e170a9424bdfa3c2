"""The 12.5 Hz tokenizer of Qwen3-TTS: Mimi's encoder, and a causal decoder with separate code vectors.

Qwen team 2026, "Qwen3-TTS Technical Report", arXiv 2601.15621. Parity was checked against QwenLM/Qwen3-TTS @ 022e286 (Apache-2.0),
class Qwen3TTSTokenizerV2Model under transformers 4.57.3.

Mimi's encoder (causal SEANet, transformer, strided convolution) turns `[B, 1, T]` into latents `[B, D, L]`, one for every hop of
1920 samples. Its split residual quantizer finds the ids `[B, K, L]`, one semantic codebook and 15 acoustic ones. The decoder looks
the ids up in codebooks of its own, `[B, code_dim, L]`; a causal transformer and up-sampling convolutions return
`[B, 1, L * hop]`.

Letters: B batch, C channels, T samples, L = T / hop frames, D latent width, K codebooks.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...kernels.residual1d import Residual1d
from ...kernels.snake import SnakeBeta
from ...kernels.stream import Layer
from ...layers.causal import Conv1d, ConvTranspose1d, State, Streaming
from ...layers.convnext1d import ConvNeXtBlock1d
from ...layers.seanet import SEANetConfig
from ...layers.transformer1d import Transformer1d, Transformer1dConfig
from ...quantizers.base import Quantized, Quantizer, straight_through
from ...quantizers.residual_vq import ResidualVQConfig
from ...quantizers.split_vq import SplitResidualVQ
from ...spec import AudioSpec
from ...tokenizer import Reconstruction
from ..base import AudioTokenizer
from ..mimi.model import MimiEncoder
from ..start import start_sound
from ..stream import Streamable

_SEANET = SEANetConfig(
    latent_dim=512,
    width=64,
    strides=(4, 5, 6, 8),
    last_kernel_size=3,
    identity_skip=True,
    lstm_layers=0,
    causal=True,
    padding="constant",
)
_ENCODER_TRANSFORMER = Transformer1dConfig(context=None)  # attends to all earlier steps; Mimi's has a window
_DECODER_TRANSFORMER = Transformer1dConfig(
    width=1024,
    layers=8,
    heads=16,
    feed_forward=3072,
    gated=True,
    activation="silu",
    context=72,
    norm="rms",
    final_norm=True,
)
_QUANTIZER = ResidualVQConfig(
    num_codebooks=32, codebook_size=2048, codebook_dim=256, projection="shared", proj_bias=False, split_first=1
)


@dataclass(frozen=True, kw_only=True)
class Qwen3TTSConfig:
    """Settings of `Qwen3TTS`; the defaults are the published 24 kHz model.

    Attributes:
        sample_rate_hz, output_rate_hz: rates of the input and of the output waveform.
        num_codebooks: K; the encoder's quantizer may have more codebooks, which are not used.
        seanet, encoder_transformer, frame_stride: settings of Mimi's encoder, as in `MimiConfig`.
        quantizer: settings of the encoder's quantizer, which finds the ids.
        code_dim: channels of the vectors that the decoder looks up; its codebooks are half as wide.
        codebook_size: V, size of the decoder's codebooks.
        latent_dim: channels between the decoder's first convolution and the waveform part.
        decoder_transformer: settings of the decoder's transformer, which runs at token rate.
        frame_strides: up-sampling factors of transposed convolutions after the transformer, each followed by a ConvNeXt block.
        width: channels of the waveform part's slowest level; each level halves them.
        strides: up-sampling of these levels, in the order in which they run.
    """

    sample_rate_hz: int = 24000
    output_rate_hz: int = 24000
    num_codebooks: int = 16
    seanet: SEANetConfig = _SEANET
    encoder_transformer: Transformer1dConfig = _ENCODER_TRANSFORMER
    frame_stride: int = 2
    quantizer: ResidualVQConfig = _QUANTIZER
    code_dim: int = 512
    codebook_size: int = 2048
    latent_dim: int = 1024
    decoder_transformer: Transformer1dConfig = _DECODER_TRANSFORMER
    frame_strides: tuple[int, ...] = (2, 2)
    width: int = 1536
    strides: tuple[int, ...] = (8, 5, 4, 3)

    def __post_init__(self) -> None:
        if not 2 <= self.num_codebooks <= self.quantizer.num_codebooks:
            raise ValueError(f"num_codebooks is {self.num_codebooks}; the encoder has {self.quantizer.num_codebooks}.")
        hop_out = math.prod(self.frame_strides) * math.prod(self.strides)
        if hop_out * self.sample_rate_hz != self.hop_samples * self.output_rate_hz:
            raise ValueError(
                f"a frame is {self.hop_samples} samples in and {hop_out} out; sample_rate_hz {self.sample_rate_hz} and "
                f"output_rate_hz {self.output_rate_hz} need the same ratio."
            )
        if self.codebook_size < max(self.quantizer.sizes[: self.num_codebooks]):
            raise ValueError(
                f"codebook_size is {self.codebook_size}; the decoder's codebooks must be at least as large as the encoder's, "
                f"{max(self.quantizer.sizes[: self.num_codebooks])}."
            )

    @property
    def hop_samples(self) -> int:
        """Input samples from one token position to the next."""
        return self.seanet.hop_samples * self.frame_stride


class TwinResidualVQ(Quantizer):
    """Two split residual quantizers: `search` finds the ids of latents `[B, D, L]`, `tables` looks up their vectors `[B, code_dim, L]`.

    Differs: the authors publish inference only. In training here, `tables` gets gradients through the decoder. The encoder gets the
    commitment loss and, if D = code_dim, the straight-through gradient of the vectors.
    """

    def __init__(self, config: Qwen3TTSConfig) -> None:
        sizes, k = config.quantizer.sizes, config.num_codebooks
        search = dataclasses.replace(config.quantizer, dim=config.seanet.latent_dim)
        super().__init__(search, sizes[:k])
        self.search = SplitResidualVQ(search)
        self.tables = SplitResidualVQ(
            ResidualVQConfig(
                dim=config.code_dim,
                num_codebooks=k,
                codebook_size=config.codebook_size,
                codebook_dim=config.code_dim // 2,
                projection="shared",
                proj_bias=False,
                split_first=1,
                update="gradient",
                kmeans_init=False,
            )
        )
        for name, table in self.tables.named_parameters():
            if name.endswith("codebook.embed"):  # as large as the latents: no data starts these, and the decoder sees nothing else
                nn.init.normal_(table, std=k**-0.5)
        # Half of the projections is never used: they are only here because the authors' files contain them.
        for stack in (self.tables.first, self.tables.rest):
            assert stack.in_proj is not None
            stack.in_proj.requires_grad_(False)
        for stack in (self.search.first, self.search.rest):
            assert stack.out_proj is not None
            stack.out_proj.requires_grad_(False)

    def _quantize(self, z: Tensor, grid: tuple[int, ...] | None, mask: Tensor | None) -> Quantized:
        found = self.search(z, mask=mask)
        ids = found.ids[:, : self.num_codebooks]
        z_q = self._decode(ids, grid)
        if z.shape == z_q.shape:
            z_q = z_q + (straight_through(z, z_q.detach()) - z_q.detach())
        return Quantized(z_q, ids, found.loss, found.metrics)

    def first_part(self, z: Tensor, ids: Tensor) -> Tensor:
        """Vectors of the first codebook alone, `[B, code_dim, L]`, for latents `[B, D, L]` and their ids; with gradients."""
        first = self.tables.first.decode(ids[:, :1])
        return first + (straight_through(z.float(), first.detach()) - first.detach()) if z.shape == first.shape else first

    def _encode(self, z: Tensor, grid: tuple[int, ...] | None, num_codebooks: int) -> Tensor:
        return self.search.encode(z, num_codebooks=num_codebooks)

    def _decode(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        return self.tables.decode(ids)


class WaveUnit(Residual1d):
    """SnakeBeta, dilated convolution (kernel 7), SnakeBeta, convolution (kernel 1), and the input added; `[B, C, T]`."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.act1, self.act2 = SnakeBeta(channels), SnakeBeta(channels)
        self.conv1 = Conv1d(channels, channels, 7, dilation=dilation, causal=True)
        self.conv2 = Conv1d(channels, channels, 1, causal=True)

    def branch(self) -> list[Layer]:
        """The layers whose output is added to the input."""
        return [self.act1, self.conv1, self.act2, self.conv2]


class WaveLevel(Streaming):
    """SnakeBeta, transposed convolution, three units; `[B, C, L]` to `[B, C / 2, L s]`."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.act = SnakeBeta(channels)
        self.up = ConvTranspose1d(channels, channels // 2, 2 * stride, stride=stride, causal=True)
        self.units = nn.ModuleList(WaveUnit(channels // 2, d) for d in (1, 3, 9))

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Apply the level: `[B, C, L]` to `[B, C / 2, L s]`."""
        x = self.up(self.act(x), state)
        for unit in self.units:
            x = unit(x, state)
        return x


class FrameLevel(Streaming):
    """Transposed convolution without overlap and a ConvNeXt block; `[B, C, L]` to `[B, C, L s]`."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.up = ConvTranspose1d(channels, channels, stride, stride=stride, causal=True)
        self.block = ConvNeXtBlock1d(channels, kernel_size=7, expansion=4, layer_scale=1e-6, causal=True)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Apply the level: `[B, C, L]` to `[B, C, L s]`."""
        return self.block(self.up(x, state), state)


class Qwen3TTSDecoder(Streaming):
    """Vectors `[B, code_dim, L]` to waveforms `[B, 1, L * hop]`, clamped to -1..1."""

    def __init__(self, config: Qwen3TTSConfig) -> None:
        super().__init__()
        c = config
        self.first = Conv1d(c.code_dim, c.latent_dim, 3, causal=True)
        self.transformer = Transformer1d(
            c.decoder_transformer,
            in_channels=c.latent_dim,
            out_channels=c.latent_dim,
            proj_bias=True,
            always_project=True,
        )
        self.frame_levels = nn.ModuleList(FrameLevel(c.latent_dim, s) for s in c.frame_strides)
        self.wave_first = Conv1d(c.latent_dim, c.width, 7, causal=True)
        self.wave_levels = nn.ModuleList(WaveLevel(c.width // 2**i, s) for i, s in enumerate(c.strides))
        last = c.width // 2 ** len(c.strides)
        self.wave_act = SnakeBeta(last)
        self.wave_last = Conv1d(last, 1, 7, causal=True)

    def forward(self, z: Tensor, state: State | None = None) -> Tensor:
        """Decode `[B, code_dim, L]` to `[B, 1, L * hop]`; with `state` the piece `z` continues where the last one ended."""
        x = self.transformer(self.first(z, state), state)
        for level in self.frame_levels:
            x = level(x, state)
        x = self.wave_first(x, state)
        for level in self.wave_levels:
            x = level(x, state)
        return self.wave_last(self.wave_act(x), state).clamp(-1, 1)


class Qwen3TTS(Streamable, AudioTokenizer):
    """Streaming speech codec; see the module's docstring. The decoder needs all codebooks.

    `forward` returns `features["semantic"]`, the first codebook's vectors `[B, code_dim, L]`, for a distillation loss.
    """

    family: ClassVar[str] = "qwen3_tts"
    config_class: ClassVar[type] = Qwen3TTSConfig
    encoder_only = ("encoder", "quantizer.search")
    decoder_only = ("decoder", "quantizer.tables")
    pad_rest = False  # the layers pad a partial last frame themselves
    quantizer: TwinResidualVQ

    def __init__(self, config: Qwen3TTSConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = MimiEncoder(config.seanet, config.encoder_transformer, config.frame_stride, fill=True)
        self.quantizer = TwinResidualVQ(config)
        self.decoder = Qwen3TTSDecoder(config)
        start_sound(self.encoder, self.decoder)
        self.spec = AudioSpec.of(
            self.quantizer,
            names=("semantic",) + ("acoustic",) * (config.num_codebooks - 1),
            sample_rate_hz=config.sample_rate_hz,
            output_rate_hz=config.output_rate_hz,
            hop_samples=config.hop_samples,
            causal=True,
            latency_samples=config.hop_samples - 1,
            semantic_dim=config.code_dim,
        )

    def encode_piece(self, x: Tensor, state: State | None = None) -> Tensor:
        """Latents `[B, D, L]` of samples `[B, 1, T]`, continuing where `state` ends."""
        return self.encoder(x, state)

    def decode_piece(self, z_q: Tensor, state: State | None = None) -> Tensor:
        """Waveform `[B, 1, L * hop]` of latents `[B, code_dim, L]`, continuing where `state` ends."""
        return self.decoder(z_q, state)

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct a batch `[B, 1, T]` with gradients; `features["semantic"]` is `[B, code_dim, L]`."""
        out = super().forward(x)
        return dataclasses.replace(out, features={"semantic": self.quantizer.first_part(out.z, out.quantized.ids)})

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """The first codebook's vectors `[B, code_dim, L]`."""
        return self.quantizer.tables.first.decode(ids[:, :1]).to(self.dtype)

    @torch.no_grad()
    def decode_as_published(self, ids: Tensor, *, chunk_frames: int = 300, left_frames: int = 25) -> Tensor:
        """Decode ids `[B, K, L]` to `[B, 1, L * hop]` as the authors do: in chunks, each with a fixed number of past frames.

        Differs: `decode` carries the state from piece to piece instead, so that its output equals that for the whole clip.

        Args:
            ids: ids of whole clips.
            chunk_frames: frames of a chunk.
            left_frames: frames before each chunk that are decoded with it and dropped.
        """
        hop, out = self.hop_out_samples, []
        for start in range(0, ids.shape[-1], chunk_frames):
            left = left_frames if start > left_frames else start
            z_q = self.quantizer.decode(ids[..., start - left : start + chunk_frames]).to(self.dtype)
            out.append(self.decode_piece(z_q)[..., left * hop :])
        return torch.cat(out, dim=-1)
