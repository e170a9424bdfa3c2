"""DAC, the Descript Audio Codec: Snake convolutions and residual quantization with factorised, cosine lookup.

Kumar et al. 2023, "High-Fidelity Audio Compression with Improved RVQGAN", arXiv 2306.06546. Parity was checked against
descriptinc/descript-audio-codec @ c7cfc5d (MIT) and transformers 5.23 (Apache-2.0).

Strided convolutions with Snake activations encode `[B, 1, T]` to latents `[B, D, L]`, one for every hop of 512 samples: 86 a
second at 44.1 kHz. Each level of the residual quantizer projects the remaining error to 8 channels and takes the code with the
highest cosine similarity: ids `[B, K, L]`. Transposed convolutions decode the latents to `[B, 1, L * hop]`, in -1..1.

The last samples: each transposed convolution with an odd stride returns one step less than `stride` times its input, so the
decoded signal may end a little before the original; `decode` pads it with zeros.

Letters: B batch, T samples, D latent width, K codebooks, L positions (frames).
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ...coding import Batch
from ...kernels.snake import Snake
from ...kernels.time_tiles import in_turn
from ...layers.causal import Conv1d, State, Streaming
from ...layers.dac import DACDown, DACUp, dac_context_frames, dac_init
from ...layers.frame_backbone import FrameBackbone
from ...layers.strided import StridedConfig
from ...layers.vocos import FourierHead
from ...quantizers.base import QuantizerConfig
from ...quantizers.residual_vq import ResidualVQConfig
from ...spec import AudioSpec
from ..base import AudioTokenizer


@dataclass(frozen=True, kw_only=True)
class FrameDecoderConfig:
    """Settings of `FrameDecoder`.

    Attributes:
        width, hidden: channels of the ConvNeXt blocks, and inside of them.
        layers: number of blocks.
        window_samples: window of the inverse transform; its hop is the codec's.
    """

    width: int = 512
    hidden: int = 4096
    layers: int = 30
    window_samples: int = 1920


@dataclass(frozen=True, kw_only=True)
class DACConfig(StridedConfig):
    """Settings of `DAC`; the defaults are the 44.1 kHz model's. What is not listed here is in `StridedConfig`.

    Attributes:
        latent_dim: D, channels of the latents; 0: the encoder's channels at frame rate.
        quantizer: settings of any quantizer; its `dim` is filled in.
        fill: "frame" pads a clip with zeros to whole frames; a number pads it to a multiple of this many samples, whatever
            the frames (512 in the feature extractors of all three hub repositories, two of which have frames of 320);
            "none" pads nothing. What the convolutions then leave over is dropped.
        frame_decoder: a decoder at frame rate in place of DAC's (MaskGCT's acoustic codec); None: DAC's.
    """

    latent_dim: int = 0
    quantizer: QuantizerConfig = ResidualVQConfig(
        num_codebooks=9,
        codebook_dim=8,
        normalize=True,
        update="gradient",
        kmeans_init=False,
        replace_below=0.0,
        dropout=0.5,
    )
    fill: Literal["frame", "none"] | int = "frame"
    frame_decoder: FrameDecoderConfig | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.fill, int) and self.fill < 1:
            raise ValueError(f"fill is {self.fill}; give 'frame', 'none' or a positive number of samples.")

    @property
    def dim(self) -> int:
        """D, number of channels of the latents."""
        return self.latent_dim or self.encoder_top


class DACEncoder(Streaming):
    """Convolutional encoder: waveforms `[B, 1, T]` to latents `[B, D, L]`."""

    def __init__(self, width: int, strides: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.stem = Conv1d(1, width, 7)
        self.levels = nn.ModuleList(DACDown(width * 2**i, width * 2 ** (i + 1), s) for i, s in enumerate(strides))
        top = width * 2 ** len(strides)
        self.act = Snake(top)
        self.head = Conv1d(top, dim, 3)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Encode: `[B, 1, T]` to `[B, D, L]`."""
        return self.head(self.act(in_turn([self.stem, *self.levels], x, state)), state)


class DACDecoder(Streaming):
    """Convolutional decoder: `[B, D, L]` to `[B, 1, about L * hop]`, in -1..1 with `tanh`; `whole`: exactly L * hop (`DACUp`)."""

    def __init__(
        self, dim: int, width: int, strides: tuple[int, ...], *, whole: bool = False, tanh: bool = True, causal: bool = False
    ) -> None:
        super().__init__()
        self.stem = Conv1d(dim, width, 7, causal=causal)
        self.levels = nn.ModuleList(
            DACUp(width // 2**i, width // 2 ** (i + 1), s, whole=whole, causal=causal) for i, s in enumerate(strides)
        )
        low = width // 2 ** len(strides)
        self.act = Snake(low)
        self.head = Conv1d(low, 1, 7, causal=causal)
        self.final = nn.Tanh() if tanh else nn.Identity()

    def forward(self, z: Tensor, state: State | None = None) -> Tensor:
        """Decode: `[B, D, L]` to `[B, 1, about L * hop]`."""
        return in_turn([*self.levels, self.act, self.head, self.final], self.stem(z, state), state)


class FrameDecoder(nn.Module):
    """Vocos (arXiv 2306.00814): `[B, D, L]` to `[B, 1, L * hop]`; `context_frames` on either side reach a frame's samples."""

    def __init__(self, dim: int, hop_samples: int, config: FrameDecoderConfig) -> None:
        super().__init__()
        c = config
        self.backbone = FrameBackbone(dim, c.width, c.hidden, c.layers)
        self.head = FourierHead(c.width, window_samples=c.window_samples, hop_samples=hop_samples)
        self.context_frames = 3 * (c.layers + 1) + math.ceil(c.window_samples / hop_samples)

    def forward(self, z: Tensor) -> Tensor:
        """Decode `[B, D, L]`."""
        return self.head(self.backbone(z).transpose(1, 2))[:, None].to(z.dtype)


class DAC(AudioTokenizer):
    """DAC; see the module's docstring. The first k codebooks alone can be decoded."""

    family: ClassVar[str] = "dac"
    config_class: ClassVar[type] = DACConfig

    def __init__(self, config: DACConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = DACEncoder(config.encoder_width, config.strides, config.dim)
        reach = dac_context_frames(config.ups[::-1], edge=3)
        if config.frame_decoder is None:
            self.decoder: nn.Module = DACDecoder(config.dim, config.decoder_width, config.ups)
            self.apply(dac_init)
        else:
            self.encoder.apply(dac_init)
            self.decoder = FrameDecoder(config.dim, config.hop_samples, config.frame_decoder)
            reach = self.decoder.context_frames
        self.quantizer = config.quantizer.build(dim=config.dim)
        self.context_frames = max(dac_context_frames(config.strides, edge=1), reach)
        self.spec = AudioSpec.of(
            self.quantizer,
            sample_rate_hz=config.sample_rate_hz,
            hop_samples=config.hop_samples,
        )

    def num_frames(self, samples: int) -> int:
        """L, the number of frames of a clip of `samples` samples, after the padding that `config.fill` specifies."""
        samples += self._missing(samples)
        for s in self.config.strides:
            samples = (samples + 2 * math.ceil(s / 2) - 2 * s) // s + 1
        return samples

    def _missing(self, samples: int) -> int:
        """Number of zeros that pad a clip of `samples` samples; a clip shorter than one frame is always padded to one."""
        fill, hop = self.config.fill, self.spec.hop_samples
        samples, given = max(samples, hop), samples
        multiple = hop if fill == "frame" else 1 if fill == "none" else fill
        return -(-samples // multiple) * multiple - given

    def fill(self, x: Tensor) -> Tensor:
        """Pad whole clips `[B, 1, T]` with zeros as `config.fill` specifies."""
        return F.pad(x, (0, self._missing(x.shape[-1])))

    def latents_of(self, x: Tensor, batch: Batch) -> Tensor:
        """Latents `[B, D, L]` of a piece `[B, 1, T]` of a clip that is already padded."""
        return self.encode_latents(x, filled=True)

    def encode_latents(self, x: Tensor, *, filled: bool = False) -> Tensor:
        """Latents `[B, D, L]` of clips `[B, 1, T]`; `filled`: they are already padded."""
        return self.encoder(x if filled else self.fill(x))

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Waveform `[B, 1, L * hop]` of latents `[B, D, L]`, or a little less where strides are odd."""
        return self.decoder(z_q)
