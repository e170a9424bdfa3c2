"""DAC, the Descript Audio Codec: Snake convolutions and residual quantization with factorised, cosine lookup.

Kumar et al. 2023, arXiv 2306.06546. Parity was checked against descriptinc/descript-audio-codec @ c7cfc5d (MIT) and
transformers 5.23 (Apache-2.0).

The last samples: the decoder's transposed convolutions give one step less for every odd stride, so the decoded signal
may end a little before the original; `decode` fills up with zeros.

Letters: B batch, T samples, D latent width, K codebooks, L positions (frames).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...kernels.time_tiles import decoder_in_tiles, encoder_in_tiles
from ...layers.causal import Conv1d, State, Streaming
from ...layers.dac import DACDown, DACUp, dac_context_frames, dac_init
from ...layers.snake import Snake
from ...quantizers.base import QuantizerConfig
from ...quantizers.residual_vq import ResidualVQConfig
from ...spec import AudioSpec
from ..base import AudioTokenizer


@dataclass(frozen=True, kw_only=True)
class DACConfig:
    """Settings of `DAC`; the defaults are the 44.1 kHz model's.

    Attributes:
        sample_rate_hz: rate of the waveform.
        strides: down-sampling of each level of the encoder, from the waveform to the frames.
        decoder_strides: up-sampling of each level of the decoder, from the frames; empty: the encoder's backwards.
        encoder_width: channels at the waveform's rate; each level doubles them.
        decoder_width: channels at frame rate; each level halves them.
        latent_dim: D; 0: the encoder's channels at frame rate.
        quantizer: any kind; its `dim` is filled in.
        fill: "frame" pads a clip with zeros to whole frames; a number pads it to a multiple of so many samples, whatever
            the frames (512 in the feature extractors of all three hub repositories, two of which have frames of 320);
            "none" pads nothing. What the convolutions then leave over is dropped.
    """

    sample_rate_hz: int = 44100
    strides: tuple[int, ...] = (2, 4, 8, 8)
    decoder_strides: tuple[int, ...] = ()
    encoder_width: int = 64
    decoder_width: int = 1536
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

    def __post_init__(self) -> None:
        if isinstance(self.fill, int) and self.fill < 1:
            raise ValueError(f"fill is {self.fill}; give 'frame', 'none' or a positive number of samples.")
        if math.prod(self.ups) != math.prod(self.strides):
            raise ValueError(f"decoder_strides {self.decoder_strides} and strides {self.strides} give other hops.")
        if self.decoder_width % 2 ** len(self.ups):
            raise ValueError(f"decoder_width is {self.decoder_width}; it is halved {len(self.ups)} times.")

    @property
    def ups(self) -> tuple[int, ...]:
        """Strides of the decoder."""
        return self.decoder_strides or self.strides[::-1]

    @property
    def dim(self) -> int:
        """D."""
        return self.latent_dim or self.encoder_width * 2 ** len(self.strides)


class DACEncoder(Streaming):
    """`[B, 1, T]` to `[B, D, L]`."""

    def __init__(self, width: int, strides: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.stem = Conv1d(1, width, 7)
        self.levels = nn.ModuleList(DACDown(width * 2**i, width * 2 ** (i + 1), s) for i, s in enumerate(strides))
        top = width * 2 ** len(strides)
        self.act = Snake(top)
        self.head = Conv1d(top, dim, 3)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Encode."""
        return self.head(self.act(encoder_in_tiles(self.stem, self.levels, x, state)), state)


class DACDecoder(Streaming):
    """`[B, D, L]` to `[B, 1, about L * hop]`, in -1..1 with `tanh`; `whole`: exactly L * hop (see `DACUp`)."""

    def __init__(self, dim: int, width: int, strides: tuple[int, ...], *, whole: bool = False, tanh: bool = True) -> None:
        super().__init__()
        self.stem = Conv1d(dim, width, 7)
        self.levels = nn.ModuleList(DACUp(width // 2**i, width // 2 ** (i + 1), s, whole=whole) for i, s in enumerate(strides))
        low = width // 2 ** len(strides)
        self.act = Snake(low)
        self.head = Conv1d(low, 1, 7)
        self.tanh = tanh

    def forward(self, z: Tensor, state: State | None = None) -> Tensor:
        """Decode."""
        return decoder_in_tiles(self.levels, self._last, self.stem(z, state), state)

    def _last(self, x: Tensor, state: State | None) -> Tensor:
        y = self.head(self.act(x), state)
        return torch.tanh(y) if self.tanh else y


class DAC(AudioTokenizer):
    """DAC; see the module's docstring. Any first codebooks decode."""

    family: ClassVar[str] = "dac"
    config_class: ClassVar[type] = DACConfig

    def __init__(self, config: DACConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = DACEncoder(config.encoder_width, config.strides, config.dim)
        self.decoder = DACDecoder(config.dim, config.decoder_width, config.ups)
        self.apply(dac_init)
        self.quantizer = config.quantizer.build(dim=config.dim)
        self.context_frames = max(dac_context_frames(config.strides, edge=1), dac_context_frames(config.ups[::-1], edge=3))
        self.spec = AudioSpec(
            vocab_sizes=self.quantizer.codebook_sizes,
            prefix=("codebooks",) if self.quantizer.prefix_decodable else (),
            channels=1,
            sample_rate_hz=config.sample_rate_hz,
            hop_samples=math.prod(config.strides),
        )

    def num_frames(self, samples: int) -> int:
        """L of a clip of `samples`."""
        samples += self._missing(samples)
        for s in self.config.strides:
            samples = (samples + 2 * math.ceil(s / 2) - 2 * s) // s + 1
        return samples

    def _missing(self, samples: int) -> int:
        """Zeros that a clip of `samples` gets; what is too short for one frame is filled up anyway."""
        fill, hop = self.config.fill, self.spec.hop_samples
        samples, given = max(samples, hop), samples
        multiple = hop if fill == "frame" else 1 if fill == "none" else fill
        return -(-samples // multiple) * multiple - given

    def _filled(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, self._missing(x.shape[-1])))

    def _latents(self, x: Tensor) -> Iterator[Tensor]:
        # filled up once, counted from the start of the whole clip
        return self._pieces(self._filled(x), lambda piece: self.encode_latents(piece, filled=True))

    def encode_latents(self, x: Tensor, *, filled: bool = False) -> Tensor:
        """Latents `[B, D, L]` of `[B, 1, T]`; `filled`: without filling up first."""
        return self.encoder(x if filled else self._filled(x))

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Waveform `[B, 1, L * hop]` of latents `[B, D, L]`, or a little less where strides are odd."""
        return self.decoder(z_q)
