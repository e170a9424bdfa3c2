"""Random crops of sound for training, read as `encode` reads it, with level and gain."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
import torchaudio.functional as AF
from torch import Tensor

from ...codecs.config import ConfigError, Signed
from ...codecs.media import AUDIO_ENDINGS, Blob, MediaError, Waveform, at_hand, probe_audio, read_audio, resample, to_channels
from ...codecs.spec import AudioSpec, TokenizerSpec
from ..preview import AudioPreview
from .config import DataConfig
from .media import Item, Preview
from .sizes import several

#: int16 of a sample of 1.0 in the cache.
FULL_SCALE = 32767


@dataclass(frozen=True, kw_only=True)
class AudioDataConfig(DataConfig):
    """How crops are cut from sound files.

    Attributes:
        crop_seconds: length of a crop, rounded up to whole hops; of several, each batch has one, drawn at random.
        valid_crop_seconds: length of crops of the validation data and of previews; 0: the longest of `crop_seconds`.
        short: a clip shorter than the crop is continued with other clips ("concat") or with silence ("pad").
        normalize: bring each clip's crop to `level_db`: root mean square over full scale ("rms"), ITU-R BS.1770
            loudness ("lufs", DAC: -16), or leave it ("none").
        level_db: target level.
        level_jitter_db: random deviation from it, evenly drawn from +- this.
        gain_db: random gain of the whole training crop, evenly drawn from this range; two equal numbers: a fixed gain.
        min_level_db: crops quieter than this root mean square are drawn again, up to 4 times.
        speeds: training clips are played at one of these speeds, drawn at random: pitch and tempo change together.
        mix_share: share of training crops to which a second clip is added.
        mix_db: how much quieter the second clip is, evenly drawn from this range.
        max_visits: see `DataConfig`; long files are visited in proportion to their length.
    """

    kind: ClassVar[str] = "audio"
    max_visits: int = 1000
    crop_seconds: float | tuple[float, ...] = 1.0
    valid_crop_seconds: float = 0.0
    short: Literal["concat", "pad"] = "concat"
    normalize: Literal["none", "rms", "lufs"] = "none"
    level_db: Signed = -20.0
    level_jitter_db: float = 0.0
    gain_db: tuple[Signed, Signed] = (0.0, 0.0)
    min_level_db: Signed = -60.0
    speeds: tuple[float, ...] = (1.0,)
    mix_share: float = 0.0
    mix_db: tuple[Signed, Signed] = (5.0, 20.0)

    def __post_init__(self) -> None:
        if not self.speeds or not all(0.25 <= speed <= 4 for speed in self.speeds):
            raise ConfigError(f"data.speeds is {self.speeds}; give one or more of 0.25..4, such as (0.9, 1.0, 1.1).")
        if not 0 <= self.mix_share <= 1 or self.mix_db[0] > self.mix_db[1]:
            raise ConfigError(f"data.mix_share is {self.mix_share}, data.mix_db {self.mix_db}; need 0..1 and low <= high.")
        if min(several("data.crop_seconds", self.crop_seconds)) <= 0 or self.gain_db[0] > self.gain_db[1]:
            raise ConfigError(f"data.crop_seconds is {self.crop_seconds}, data.gain_db {self.gain_db}; need > 0 and low <= high.")

    def media(self, spec: TokenizerSpec) -> "Audio":
        if not isinstance(spec, AudioSpec):
            raise ConfigError(f"data.kind is 'audio', but the tokenizer's modality is {spec.modality!r}.")
        return Audio(self, spec)


class Audio:
    """The `Media` of sound. The cache keeps int16 at the tokenizer's rate: 115 MB an hour at 16 kHz."""

    suffixes = AUDIO_ENDINGS
    bucket = None

    def __init__(self, config: AudioDataConfig, spec: AudioSpec) -> None:
        if spec.channels not in (1, 2):
            raise ConfigError(f"sound for training has 1 or 2 channels; the tokenizer takes {spec.channels}.")
        self.config, self.rate, self.channels = config, spec.sample_rate_hz, spec.channels
        lengths = several("data.crop_seconds", config.crop_seconds)
        self.length = self._whole_hops(config.valid_crop_seconds or max(lengths), spec.hop_samples)
        self.shape = (self.channels, self.length)
        self.shapes = tuple((self.channels, self._whole_hops(seconds, spec.hop_samples)) for seconds in lengths)

    def decode(self, blob: Blob) -> np.ndarray:
        """Return int16 `[C, T]` at the tokenizer's rate; float32 of sound beyond full scale."""
        wave = self._like_encode(read_audio(blob))
        if wave.abs().max() > 1:
            return wave.numpy()
        return (wave * FULL_SCALE).round().to(torch.int16).numpy()

    def crops_in(self, item: Item) -> float:
        """Length of the item as a multiple of the longest crop's."""
        return self._samples(item) / max(length for _, length in self.shapes)

    def crop(
        self, draw: Callable[[], Item], rng: np.random.Generator, train: bool, *, shape: tuple[int, ...] | None = None
    ) -> Tensor:
        """Return float32 `[C, crop]` in -1..1."""
        length = (shape or self.shape)[1]
        x = self._clips(draw, length, rng, train)
        if train and self.config.mix_share and rng.random() < self.config.mix_share:
            other = self._clips(draw, length, rng, train)
            ratio = x.square().mean().sqrt() / other.square().mean().sqrt().clamp(min=1e-8)
            x = x + other * ratio * 10 ** (-rng.uniform(*self.config.mix_db) / 20)
        low, high = self.config.gain_db
        if train and (low, high) != (0, 0):  # equal ones: a fixed gain
            x = x * 10 ** (rng.uniform(low, high) / 20)
        return x / x.abs().max().clamp(min=1.0)  # never beyond full scale

    def figures(self, x: Tensor, x_hat: Tensor) -> dict[str, float]:
        """`si_sdr` in dB, scale-invariant signal-to-distortion ratio (arXiv 1811.02508); the mean over clips, silent ones left out."""
        a, b = x.double().flatten(1), x_hat.double().flatten(1)
        power = a.square().sum(1)
        loud = power > 0
        if not loud.any():
            return {}
        a, b, power = a[loud], b[loud], power[loud]
        target = ((a * b).sum(1) / power)[:, None] * a
        ratio = target.square().sum(1).clamp(min=1e-12) / (b - target).square().sum(1).clamp(min=1e-12)
        return {"si_sdr": float(10 * ratio.log10().mean())}

    def preview(self) -> Preview:
        """Return the writer of wav files and spectrograms."""
        return AudioPreview(self.rate)

    def _whole_hops(self, seconds: float, hop_samples: int) -> int:
        """Samples of a length, rounded up to whole hops."""
        return -(-round(seconds * self.rate) // hop_samples) * hop_samples

    def _samples(self, item: Item) -> int:
        """Number of samples of the item at the tokenizer's rate."""
        if isinstance(item, np.ndarray):
            return item.shape[1]
        frames, rate = probe_audio(item)
        return -(-frames * self.rate // rate)

    def _like_encode(self, clip: Waveform) -> Tensor:
        """`[C, T]` at the tokenizer's rate, resampled and mixed as `encode` does: training and `encode` use the same filter."""
        return to_channels(resample(clip.samples, clip.sample_rate_hz, self.rate), self.channels)

    def _clips(self, draw: Callable[[], Item], missing: int, rng: np.random.Generator, train: bool) -> Tensor:
        """Clips one after another, as many as `missing` samples need: float32 `[C, missing]`."""
        pieces = []
        while missing > 0:
            speed = self._speed(rng) if train else 1.0
            piece = self._piece(draw(), math.ceil(missing * speed), rng, train)  # [C, t]
            if speed != 1:
                piece = AF.resample(piece, round(self.rate * speed), self.rate)[:, :missing]
            pieces.append(self._level(piece, rng, train))
            missing -= piece.shape[1]
            if self.config.short == "pad" and missing > 0:
                pieces.append(piece.new_zeros(self.channels, missing))
                break
        return torch.cat(pieces, dim=1)

    def _piece(self, item: Item, most: int, rng: np.random.Generator, train: bool) -> Tensor:
        """Up to `most` samples from a random place of the item (its start outside training), float32 `[C, t]`."""
        item = item if isinstance(item, np.ndarray) else at_hand(item)
        floor = 10 ** (self.config.min_level_db / 20)
        spare = max(0, self._samples(item) - most)
        left = 4 if train else 1
        while True:
            left -= 1
            start = int(rng.integers(spare + 1)) if train else 0
            piece = self._cut(item, start, most)
            if piece.shape[1] == 0:
                raise MediaError(f"{getattr(item, 'name', 'an item')} holds no samples.")
            if not left or piece.square().mean().sqrt() >= floor:
                return piece

    def _cut(self, item: Item, start: int, count: int) -> Tensor:
        """Samples `start .. start + count - 1` at the tokenizer's rate; of a file, only those are decoded."""
        if isinstance(item, np.ndarray):
            part = torch.from_numpy(item[:, start : start + count].astype(np.float32))
            return part / FULL_SCALE if item.dtype == np.int16 else part
        _, rate = probe_audio(item)
        if rate == self.rate:
            return self._like_encode(read_audio(item, start=start, frames=count))
        # With a margin on both sides, so that the filter has no edge effect; and from a place where samples of both rates coincide,
        # so that the result equals this piece of the whole file, resampled.
        margin = -(-64 * rate // min(rate, self.rate))
        step = rate // math.gcd(rate, self.rate)
        first = max(0, start * rate // self.rate - margin) // step * step
        stop = -(-(start + count) * rate // self.rate) + margin
        skip = start - first * self.rate // rate
        return self._like_encode(read_audio(item, start=first, frames=stop - first))[:, skip : skip + count]

    def _speed(self, rng: np.random.Generator) -> float:
        speeds = self.config.speeds
        return speeds[0] if len(speeds) == 1 else speeds[int(rng.integers(len(speeds)))]

    def _level(self, wave: Tensor, rng: np.random.Generator, train: bool) -> Tensor:
        c = self.config
        if c.normalize == "none":
            return wave
        level = c.level_db + (rng.uniform(-c.level_jitter_db, c.level_jitter_db) if train else 0.0)
        if c.normalize == "lufs" and wave.shape[1] >= 0.4 * self.rate:  # BS.1770 measures blocks of 0.4 s
            now = float(AF.loudness(wave, self.rate))
        else:
            now = float(20 * wave.square().mean().sqrt().clamp(min=1e-8).log10())
        if not now > c.min_level_db:  # silence stays silence (and loudness of silence is not a number)
            return wave
        return wave * 10 ** ((level - now) / 20)
