"""Settings of waveform codecs in the shape of DAC: an encoder that shortens level by level, and a decoder that lengthens again."""

import math
from dataclasses import dataclass

from ..config import ConfigError


@dataclass(frozen=True, kw_only=True)
class StridedConfig:
    """Settings that codecs in the shape of DAC share.

    Attributes:
        sample_rate_hz: rate of the waveform.
        strides: down-sampling of each level of the encoder, from the waveform to the frames.
        decoder_strides: up-sampling of each level of the decoder, from the frames; empty: the encoder's backwards.
        encoder_width: channels at the waveform's rate; each level doubles them.
        decoder_width: channels at frame rate; each level halves them.
    """

    sample_rate_hz: int = 44100
    strides: tuple[int, ...] = (2, 4, 8, 8)
    decoder_strides: tuple[int, ...] = ()
    encoder_width: int = 64
    decoder_width: int = 1536

    def __post_init__(self) -> None:
        if math.prod(self.ups) != math.prod(self.strides):
            raise ConfigError(f"decoder_strides {self.decoder_strides} and strides {self.strides} give other hops.")
        if self.decoder_width % 2 ** len(self.ups):
            raise ConfigError(f"decoder_width is {self.decoder_width}; it is halved {len(self.ups)} times.")

    @property
    def ups(self) -> tuple[int, ...]:
        """Strides of the decoder."""
        return self.decoder_strides or self.strides[::-1]

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return math.prod(self.strides)

    @property
    def encoder_top(self) -> int:
        """The encoder's channels at frame rate."""
        return self.encoder_width * 2 ** len(self.strides)
