"""Settings of waveform codecs with the structure of DAC: strided levels in the encoder, transposed ones in the decoder."""

import math
from dataclasses import dataclass

from ..config import ConfigError


@dataclass(frozen=True, kw_only=True)
class StridedConfig:
    """Settings that codecs with the structure of DAC share.

    Attributes:
        sample_rate_hz: sampling rate of the waveform.
        strides: down-sampling of each level of the encoder, from the waveform to the frames.
        decoder_strides: up-sampling of each level of the decoder, from the frames on; empty: `strides` in reverse order.
        encoder_width: channels of the encoder at the rate of the waveform; each level doubles them.
        decoder_width: channels of the decoder at frame rate; each level halves them.
    """

    sample_rate_hz: int = 44100
    strides: tuple[int, ...] = (2, 4, 8, 8)
    decoder_strides: tuple[int, ...] = ()
    encoder_width: int = 64
    decoder_width: int = 1536

    def __post_init__(self) -> None:
        if math.prod(self.ups) != math.prod(self.strides):
            raise ConfigError(f"decoder_strides {self.decoder_strides} and strides {self.strides} give different hops; match them.")
        if self.decoder_width % 2 ** len(self.ups):
            raise ConfigError(f"decoder_width is {self.decoder_width}; it must be a multiple of {2 ** len(self.ups)}.")

    @property
    def ups(self) -> tuple[int, ...]:
        """Strides of the decoder, from the frames to the waveform."""
        return self.decoder_strides or self.strides[::-1]

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return math.prod(self.strides)

    @property
    def encoder_top(self) -> int:
        """Number of channels of the encoder at frame rate."""
        return self.encoder_width * 2 ** len(self.strides)
