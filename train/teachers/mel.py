"""Log-mel spectrograms as targets: for tokenizers that predict them (Kanade), for a vocoder that is published apart.

The numbers must be those of that vocoder: the defaults are Vocos' at 24 kHz (arXiv 2306.00814; frothywater/kanade-tokenizer @ 8e17729,
module/audio_feature.py). HiFT's and HiFi-GAN's: `centred: false, scale: slaney, floor: 1e-5`.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.spec import AudioSpec, TokenizerSpec
from ..losses.lengths import check_length, half_window
from ..losses.mel import MelConfig, MelSpectrogram
from ..losses.stft import log_magnitude
from .base import Teacher, TeacherConfig


@dataclass(frozen=True, kw_only=True)
class MelTeacherConfig(TeacherConfig):
    """Targets `[B, M, N]`: the natural logarithm of magnitudes in mel bands.

    Attributes:
        window: length of window and FFT in samples.
        hop_ratio: hop as a share of the window.
        bands: M.
        centred: as in `Spectrogram`: T // hop + 1 frames of T samples, or T // hop.
        scale, floor, f_min_hz, f_max_hz: as in `MelConfig`.
    """

    kind: ClassVar[str] = "mel"
    window: int = 1024
    hop_ratio: float = 0.25
    bands: int = 100
    centred: bool = True
    scale: Literal["slaney", "htk"] = "htk"
    floor: float = 1e-7
    f_min_hz: float = 0.0
    f_max_hz: float = 0.0

    @property
    def mel(self) -> MelConfig:
        """The same as settings of the loss `mel`."""
        return MelConfig(
            windows=(self.window,),
            bands=(self.bands,),
            hop_ratio=self.hop_ratio,
            scale=self.scale,
            f_min_hz=self.f_min_hz,
            f_max_hz=self.f_max_hz,
        )

    def __post_init__(self) -> None:
        if self.partner:
            raise ConfigError(f"the teacher {self.kind!r} takes the media; it has no partner, got {self.partner!r}.")
        _ = self.mel  # which checks the numbers

    def build(self, spec: TokenizerSpec) -> Teacher:
        if not isinstance(spec, AudioSpec):
            raise ConfigError(f"the teacher {self.kind!r} takes sound; this tokenizer's modality is {spec.modality!r}.")
        return MelTeacher(self, spec.sample_rate_hz)


class MelTeacher(Teacher):
    """Log-mel spectrograms of mixed-down media; settings: `MelTeacherConfig`."""

    def __init__(self, config: MelTeacherConfig, sample_rate_hz: int) -> None:
        super().__init__()
        self.config = config
        self.spectrum = MelSpectrogram(config.mel, config.window, config.bands, sample_rate_hz, centred=config.centred)

    def targets(self, x: Tensor) -> Tensor:
        """`[B, C, T]` -> `[B, M, N]`; ValueError for clips of less than half a window."""
        check_length(f"the teacher {self.config.kind!r}", x.shape[-1], half_window(self.config.window))
        return log_magnitude(self.spectrum(x.float().mean(1, keepdim=True))[:, 0], self.config.floor, "e")
