"""The codec of Fish Audio's OpenAudio S1 and S2: a causal DAC with windowed transformers, 21.5 frames a second, which streams.

It has no paper of its own. Parity was checked against fishaudio/fish-speech @ 3dd1f85 (`fish_speech/models/dac`, `DAC` with
`DownsampleResidualVectorQuantize`; Fish Audio Research License for code and weights, that is, research and non-commercial use: own code
from the facts).

    waveform -> causal DAC encoder, transformer behind its last level -> strided convolutions with ConvNeXt blocks -> transformer
             -> residual VQ: a semantic codebook of 4096, then 9 of 1024 -> ids [B, 10, L]
    ids      -> transformer -> transposed convolutions with ConvNeXt blocks -> causal DAC decoder -> waveform

The authors quantize with two stacks, of which the second gets what the first leaves over: that is one stack with levels of two sizes.
Their tables of rotary cosines and sines are rounded to bfloat16, which moves ids.

Differs: ids too large for their codebook are refused (the authors' decoder clamps them in place). In training, dropout of codebooks
counts the semantic one, too.

Letters: B batch, T samples, D latent width, L positions, K codebooks.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from ...config import ConfigError
from ...kernels.snake import Snake
from ...layers.causal import Chain, Conv1d, ConvTranspose1d, State, Streaming
from ...layers.convnext1d import ConvNeXtBlock1d
from ...layers.dac import DACDown
from ...layers.strided import StridedConfig
from ...layers.transformer1d import Transformer1d, Transformer1dConfig
from ...quantizers.base import QuantizerConfig, straight_through
from ...quantizers.residual_vq import ResidualVQConfig
from ...spec import AudioSpec
from ...tokenizer import Reconstruction
from ..base import AudioTokenizer
from ..dac.model import DACDecoder
from ..start import start_sound
from ..stream import Streamable

#: Initial value of the ConvNeXt blocks' layer scale.
_LAYER_SCALE = 1e-6


def transformer_config(**settings: Any) -> Transformer1dConfig:
    """Settings of one of the codec's transformers, with what all of them share."""
    shared: dict[str, Any] = {"gated": True, "activation": "silu", "norm": "rms", "final_norm": True, "rope_rounded": True}
    return Transformer1dConfig(**(shared | settings))


_MIDDLE = transformer_config(width=1024, layers=8, heads=16, feed_forward=3072, context=128)


@dataclass(frozen=True, kw_only=True)
class FishConfig(StridedConfig):
    """Settings of `Fish`; the defaults are the published model's. What is not listed here is in `StridedConfig`.

    Attributes:
        latent_dim: D; 0: the encoder's channels at frame rate.
        encoder_transformers: the transformer behind each level of the encoder; None: none there.
        frame_strides: strides of the convolutions between encoder and quantizer.
        before, after: the transformers before and behind the quantizer; None: none.
        quantizer: settings of any quantizer; its `dim` is filled in.
    """

    latent_dim: int = 1024
    encoder_transformers: tuple[Transformer1dConfig | None, ...] = (
        None, None, None, transformer_config(width=1024, layers=4, heads=16, feed_forward=3072, context=512),
    )  # fmt: skip
    frame_strides: tuple[int, ...] = (2, 2)
    before: Transformer1dConfig | None = _MIDDLE
    after: Transformer1dConfig | None = _MIDDLE
    quantizer: QuantizerConfig = ResidualVQConfig(
        num_codebooks=10, codebook_size=(4096, *(1024,) * 9), codebook_dim=8, normalize=True, update="gradient", kmeans_init=False,
        replace_below=0.0, dropout=0.5,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.encoder_transformers) != len(self.strides):
            entries = len(self.encoder_transformers)
            raise ConfigError(f"encoder_transformers has {entries} entries; give one, or null, for each of strides.")
        for i, t in enumerate(self.encoder_transformers):
            width = self.encoder_width * 2 ** (i + 1)
            if t is not None and (t.width != width or not t.causal):
                raise ConfigError(f"encoder_transformers[{i}] must be causal and {width} wide, as its level.")

    @property
    def dim(self) -> int:
        """D, number of channels of the latents."""
        return self.latent_dim or self.encoder_top

    @property
    def frame_samples(self) -> int:
        """Samples of a position: the strides of the encoder and of the convolutions behind it."""
        return self.hop_samples * math.prod(self.frame_strides)


class FishEncoder(Streaming):
    """Waveforms `[B, 1, T]` to latents `[B, D, L]`."""

    def __init__(self, config: FishConfig) -> None:
        super().__init__()
        c, layers = config, list[nn.Module]()
        for i, (stride, transformer) in enumerate(zip(c.strides, c.encoder_transformers, strict=True)):
            width = c.encoder_width * 2**i
            layers.append(DACDown(width, 2 * width, stride, causal=True))
            if transformer is not None:
                layers.append(Transformer1d(transformer))
        self.stem = Conv1d(1, c.encoder_width, 7, causal=True)
        self.levels = Chain(*layers)
        self.act = Snake(c.encoder_top)
        self.head = Conv1d(c.encoder_top, c.dim, 3, causal=True)
        self.down = Chain(*(
            layer for s in c.frame_strides for layer in (Conv1d(c.dim, c.dim, s, stride=s, causal=True), _block(c.dim))
        ))  # fmt: skip
        self.transformer = None if c.before is None else _middle(c.dim, c.before)

    def convolved(self, x: Tensor, state: State | None = None) -> Tensor:
        """Output of the DAC encoder, `[B, D, T / hop]`."""
        return self.head(self.act(self.levels(self.stem(x, state), state)), state)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """Encode `[B, 1, T]`; with `state`, the next piece of a stream."""
        z = self.down(self.convolved(x, state), state)
        return z if self.transformer is None else self.transformer(z, state)


class FishDecoder(Streaming):
    """Latents `[B, D, L]` to waveforms `[B, 1, T]`."""

    def __init__(self, config: FishConfig) -> None:
        super().__init__()
        c = config
        self.transformer = None if c.after is None else _middle(c.dim, c.after)
        ups = (ConvTranspose1d(c.dim, c.dim, s, stride=s, causal=True) for s in reversed(c.frame_strides))
        self.up = Chain(*(layer for up in ups for layer in (up, _block(c.dim))))
        self.wave = DACDecoder(c.dim, c.decoder_width, c.ups, causal=True)

    def stretched(self, z: Tensor, state: State | None = None) -> Tensor:
        """Input of the DAC decoder, `[B, D, T / hop]`, of latents `[B, D, L]`."""
        z = z if self.transformer is None else self.transformer(z, state)
        return self.up(z, state)

    def forward(self, z: Tensor, state: State | None = None) -> Tensor:
        """Decode `[B, D, L]`; with `state`, the next piece of a stream."""
        return self.wave(self.stretched(z, state), state)


def _block(dim: int) -> ConvNeXtBlock1d:
    return ConvNeXtBlock1d(dim, kernel_size=7, layer_scale=_LAYER_SCALE, causal=True)


def _middle(dim: int, config: Transformer1dConfig) -> Transformer1d:
    return Transformer1d(config, in_channels=dim, out_channels=dim, proj_bias=True)


class Fish(Streamable, AudioTokenizer):
    """Fish Audio's codec; see the module's docstring. Codebook 0 is semantic; the first k codebooks alone can be decoded."""

    family: ClassVar[str] = "fish"
    config_class: ClassVar[type] = FishConfig
    config: FishConfig

    def __init__(self, config: FishConfig) -> None:
        super().__init__()
        c = self.config = config
        self.encoder, self.decoder = FishEncoder(c), FishDecoder(c)
        start_sound(self.encoder, self.decoder)
        self.quantizer = c.quantizer.build(dim=c.dim)
        self.spec = AudioSpec.of(
            self.quantizer,
            names=("semantic", *(f"acoustic {k}" for k in range(1, self.quantizer.num_codebooks))),
            sample_rate_hz=c.sample_rate_hz,
            hop_samples=c.frame_samples,
            causal=True,
            latency_samples=c.frame_samples - 1,
            semantic_dim=c.dim,
        )

    def encode_piece(self, x: Tensor, state: State | None = None) -> Tensor:
        """Latents `[B, D, L]` of samples `[B, 1, T]`, continuing where `state` ends."""
        return self.encoder(x, state)

    def decode_piece(self, z_q: Tensor, state: State | None = None) -> Tensor:
        """Waveform `[B, 1, T]` of latents `[B, D, L]`, continuing where `state` ends."""
        return self.decoder(z_q, state)

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """The semantic codebook's vectors `[B, D, L]`."""
        return self.vectors_of(ids[:, :1])

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct a batch `[B, 1, T]` with gradients.

        `Reconstruction.features` holds "semantic", the semantic codebook's vectors `[B, D, L]`, whose gradient goes to the latents.
        """
        out = super().forward(x)
        semantic = straight_through(out.z, self.quantizer.decode(out.quantized.ids[:, :1]).to(out.z.dtype))
        return dataclasses.replace(out, features={"semantic": semantic})
