"""Sound: decode with soundfile (PyAV for what it cannot read), resample, random crops, levels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import soundfile
import torch
import torchaudio.functional as AF
from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.media import resample
from ...codecs.spec import AudioSpec, TokenizerSpec
from ..preview import AudioPreview
from .config import DataConfig
from .media import Blob, Item, MediaError, Preview, as_file


@dataclass(frozen=True, kw_only=True)
class AudioDataConfig(DataConfig):
    """How crops are cut from sound files.

    Attributes:
        crop_seconds: length of a crop, rounded up to whole hops.
        short: a clip shorter than the crop is continued with other clips ("concat") or with silence ("pad").
        normalize: bring each clip's crop to `level_db`: root mean square over full scale ("rms"), ITU-R BS.1770
            loudness ("lufs", DAC: -16), or leave it ("none").
        level_db: target level.
        level_jitter_db: random deviation from it, evenly drawn from +- this.
        gain_db: random gain of the whole crop, evenly drawn from this range.
        min_level_db: crops quieter than this root mean square are drawn again, up to 4 times.
        max_visits: see `DataConfig`; long files are visited in proportion to their length.
    """

    kind: ClassVar[str] = "audio"
    max_visits: int = 1000
    crop_seconds: float = 1.0
    short: Literal["concat", "pad"] = "concat"
    normalize: Literal["none", "rms", "lufs"] = "none"
    level_db: float = -20.0
    level_jitter_db: float = 0.0
    gain_db: tuple[float, float] = (0.0, 0.0)
    min_level_db: float = -60.0

    def __post_init__(self) -> None:
        if self.crop_seconds <= 0 or self.gain_db[0] > self.gain_db[1]:
            raise ConfigError(f"data.crop_seconds is {self.crop_seconds}, data.gain_db {self.gain_db}; need > 0 and low <= high.")

    def media(self, spec: TokenizerSpec) -> "Audio":
        if not isinstance(spec, AudioSpec):
            raise ConfigError(f"data.kind is 'audio', but the tokenizer's modality is {spec.modality!r}.")
        return Audio(self, spec)


class Audio:
    """The `Media` of sound. The cache keeps int16 at the tokenizer's rate: 115 MB an hour at 16 kHz."""

    suffixes = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".g722", ".m4a", ".aac")

    def __init__(self, config: AudioDataConfig, spec: AudioSpec) -> None:
        if spec.channels not in (1, 2):
            raise ConfigError(f"sound has 1 or 2 channels here; the tokenizer wants {spec.channels}.")
        self.config, self.rate, self.channels = config, spec.sample_rate_hz, spec.channels
        self.length = -(-round(config.crop_seconds * self.rate) // spec.hop_samples) * spec.hop_samples
        self.shape = (self.channels, self.length)

    def decode(self, blob: Blob) -> np.ndarray:
        """Return int16 `[C, T]` at the tokenizer's rate."""
        wave, rate = read_audio(blob)  # [C, T]
        wave = resample(self._mix(wave), rate, self.rate)  # as `encode` does: models see their own filter
        return (wave * 32767).round().clamp(-32768, 32767).to(torch.int16).numpy()

    def crops_in(self, item: Item) -> float:
        """Length in crops."""
        if isinstance(item, np.ndarray):
            return item.shape[1] / self.length
        frames, rate = probe_audio(item)
        return frames / rate * self.rate / self.length

    def crop(self, draw: Callable[[], Item], rng: np.random.Generator, train: bool) -> Tensor:
        """Return float32 `[C, crop]` in -1..1."""
        pieces, missing = [], self.length
        while missing > 0:
            piece = self._piece(draw(), missing, rng, train)  # [C, t]
            pieces.append(self._level(piece, rng, train))
            missing -= piece.shape[1]
            if self.config.short == "pad" and missing > 0:
                pieces.append(piece.new_zeros(self.channels, missing))
                break
        x = torch.cat(pieces, dim=1)
        low, high = self.config.gain_db
        if train and high > low:
            x = x * 10 ** (rng.uniform(low, high) / 20)
        return x / x.abs().max().clamp(min=1.0)  # never beyond full scale

    def preview(self) -> Preview:
        """Return the wav and spectrogram writer."""
        return AudioPreview(self.rate)

    def _piece(self, item: Item, most: int, rng: np.random.Generator, train: bool) -> Tensor:
        """Up to `most` samples from a random place of the item (its start outside training), float32 `[C, t]`."""
        floor = 10 ** (self.config.min_level_db / 20)
        for _ in range(4 if train else 1):
            if isinstance(item, np.ndarray):
                spare = max(0, item.shape[1] - most)
                start = int(rng.integers(spare + 1)) if train else 0
                piece = torch.from_numpy(item[:, start : start + most].astype(np.float32)) / 32767
            else:
                piece = self._read_piece(item, most, rng, train)
            if piece.shape[1] == 0:
                raise MediaError("holds no samples")
            if piece.square().mean().sqrt() >= floor:
                break
        return piece

    def _read_piece(self, blob: Blob, most: int, rng: np.random.Generator, train: bool) -> Tensor:
        """As `_piece`, decoding only what is needed."""
        frames, rate = probe_audio(blob)
        need = -(-most * rate // self.rate)
        # A few more on both sides, so that the resampling filter sees no edge.
        margin = 0 if rate == self.rate else -(-64 * rate // min(rate, self.rate))
        start = int(rng.integers(max(0, frames - need) + 1)) if train else 0
        first = max(0, start - margin)
        wave, _ = read_audio(blob, first, start + need + margin - first)
        wave = resample(self._mix(wave), rate, self.rate)  # as `encode` does: models see their own filter
        skip = (start - first) * self.rate // rate
        return wave[:, skip : skip + most]

    def _mix(self, wave: Tensor) -> Tensor:
        """Bring `[C', T]` to the tokenizer's channels: mean for mono, a copy of mono for stereo."""
        if wave.shape[0] == self.channels:
            return wave
        if self.channels == 1:
            return wave.mean(dim=0, keepdim=True)
        return wave.expand(2, -1) if wave.shape[0] == 1 else wave[:2]

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


def probe_audio(blob: Blob) -> tuple[int, int]:
    """Return frames and sample rate without decoding where the format allows it.

    Raises:
        MediaError: not a sound file that soundfile or PyAV reads.
    """
    try:
        with as_file(blob) as file:
            info = soundfile.info(file)
        return info.frames, info.samplerate
    except (soundfile.LibsndfileError, TypeError):
        wave, rate = _read_with_av(blob)
        return wave.shape[1], rate


def read_audio(blob: Blob, start: int = 0, frames: int = -1) -> tuple[Tensor, int]:
    """Decode `frames` frames from `start` on (-1: all): float32 `[C, T]` and the sample rate.

    Raises:
        MediaError: not a sound file that soundfile or PyAV reads.
    """
    try:
        with as_file(blob) as file, soundfile.SoundFile(file) as sound:
            sound.seek(min(start, sound.frames))
            data = sound.read(frames, dtype="float32", always_2d=True)  # [T, C]
            rate = sound.samplerate
        wave = torch.from_numpy(np.ascontiguousarray(data.T))
    except (soundfile.LibsndfileError, TypeError):  # TypeError: "no format given" for raw extensions
        whole, rate = _read_with_av(blob)
        wave = whole[:, start:] if frames < 0 else whole[:, start : start + frames]
    if not torch.isfinite(wave).all():
        raise MediaError("holds samples that are not finite")
    return wave, rate


def _read_with_av(blob: Blob) -> tuple[Tensor, int]:
    """Decode a whole file with PyAV, float32 `[C, T]`."""
    try:
        import av
        from av.error import FFmpegError
    except ImportError as error:
        raise MediaError("soundfile cannot read it; 'pip install av' reads mp3, g722, aac and more") from error
    hint: dict[str, Any] = {"format": "g722"} if blob.name.lower().endswith(".g722") else {}
    try:
        with as_file(blob) as file, av.open(file, **hint) as container:
            stream = container.streams.audio[0]
            resampler = av.AudioResampler(format="fltp")
            parts = [f.to_ndarray() for frame in container.decode(stream) for f in resampler.resample(frame)]
            rate = int(stream.rate)
    except (FFmpegError, IndexError, ValueError) as error:
        raise MediaError(f"not a readable sound file ({error})") from error
    if not parts:
        raise MediaError("holds no samples")
    return torch.from_numpy(np.concatenate(parts, axis=1)), rate
