"""What people have (paths, PIL pictures, arrays, tensors, `(waveform, rate)` pairs) as tensors, checked once.

Letters: C channels, T samples, H W pixels. Everything wrong is a `MediaError` saying what came, what is allowed and
what to do; nothing is clipped, dropped or guessed silently.
"""

import math
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

#: Float audio may overshoot full scale a little (resampling, lossy decoders); far beyond it is integer-scaled data.
MAX_PEAK = 4.0
#: Pictures of more pixels than this are refused as decompression bombs.
MAX_PIXELS = 200_000_000


class MediaError(ValueError):
    """Media that cannot be encoded."""


@dataclass(frozen=True)
class Waveform:
    """One clip: float32 `[C, T]` in -1..1 and its rate."""

    samples: Tensor
    sample_rate_hz: int


@dataclass(frozen=True)
class Prepared:
    """One item as `tokenizer.prepare` gives it: read, checked, and in the form that the network takes.

    Attributes:
        x: `[C, T]` at the tokenizer's rate, or `[3, H, W]` in its range and of a size that it takes.
        size: `(T,)` or `(H, W)` of what `decode` gives back: the original's or, of a crop, that of the part kept; `x` may be
            resampled, resized or padded.
        sample_rate_hz: of the original audio; None for pictures.
    """

    x: Tensor
    size: tuple[int, ...]
    sample_rate_hz: int | None = None


def is_path(media: Any) -> bool:
    """True for what names a file."""
    return isinstance(media, (str, os.PathLike))


# --- audio --------------------------------------------------------------------------------------------------------------


def read_audio(
    source: str | os.PathLike[str] | BinaryIO, *, name: str = "", max_seconds: float = math.inf
) -> Waveform:
    """Read a sound file (wav, flac, ogg, opus, mp3, aiff; other containers with `av` installed).

    Args:
        source: a path, or an open binary file.
        name: what an open file is called in messages; its ending tells formats without a header (`.g722`).
        max_seconds: longer ones are refused, before more than that is read.

    Raises:
        FileNotFoundError, MediaError: missing, unreadable, empty or too long a file.
    """
    import soundfile

    if is_path(source) and not Path(source).is_file():  # type: ignore[arg-type]
        raise FileNotFoundError(f"no such file: {source}")
    name = name or str(source)
    file = str(source) if is_path(source) else source
    try:
        with soundfile.SoundFile(file) as sound:
            rate, limit = sound.samplerate, -1
            if max_seconds < math.inf:
                limit = int(max_seconds * rate) + 1
                _check_seconds(name, sound.frames, rate, max_seconds)
            data = sound.read(limit, dtype="float32", always_2d=True)  # [T, C]
    except (soundfile.LibsndfileError, TypeError) as error:
        return _read_audio_av(source, name, max_seconds, error)
    _check_seconds(name, len(data), rate, max_seconds)  # headers may lie
    return as_waveform((torch.from_numpy(data.T.copy()), rate), name=name)


def _check_seconds(name: str, samples: int, rate: int, most: float) -> None:
    if samples > most * rate:
        raise MediaError(f"{name}: longer than {most:g} seconds: refused.")


def _read_audio_av(
    source: str | os.PathLike[str] | BinaryIO, name: str, max_seconds: float, first: Exception
) -> Waveform:
    try:
        import av
    except ImportError:
        raise MediaError(f"cannot read {name}: {first}. For more formats, install the package 'av'.") from first
    options: dict[str, Any] = {"format": "g722"} if name.lower().endswith(".g722") else {}
    if not is_path(source):
        source.seek(0)  # type: ignore[union-attr]
    frames, rate, length = [], 1, 0
    try:
        with av.open(str(source) if is_path(source) else source, **options) as container:  # type: ignore[arg-type]
            stream = container.streams.audio[0]
            rate = int(stream.rate)
            resampler = av.AudioResampler(format="fltp")
            for frame in container.decode(stream):
                frames += [f.to_ndarray() for f in resampler.resample(frame)]
                length += frame.samples
                _check_seconds(name, length, rate, max_seconds)
    except (av.FFmpegError, IndexError) as error:
        raise MediaError(f"cannot read {name}: {error}.") from error
    samples = torch.from_numpy(np.concatenate(frames, axis=1)) if frames else torch.zeros(1, 0)
    return as_waveform((samples, rate), name=name)


def as_waveform(media: Any, *, default_rate_hz: int | None = None, name: str = "audio") -> Waveform:
    """Check and convert one clip.

    Args:
        media: a path; `(waveform, sample_rate)`; or a bare waveform, taken to be at `default_rate_hz`. A waveform is
            `[T]` or `[C, T]`, float in -1..1 or int16 / int32 / uint8 PCM. `Prepared` ones are not checked again.
        default_rate_hz: rate of bare waveforms; None refuses them.
    """
    if is_path(media):
        return read_audio(media)
    rate = default_rate_hz
    if isinstance(media, Prepared) and rate is not None:
        return Waveform(media.x, rate)
    if isinstance(media, Waveform):
        media, rate = media.samples, media.sample_rate_hz
    elif isinstance(media, (tuple, list)) and len(media) == 2 and not isinstance(media[0], (int, float)):
        media, rate = media
        if isinstance(rate, bool) or not isinstance(rate, (int, np.integer)) or rate <= 0:
            raise MediaError(f"{name}: the sample rate must be a positive whole number of Hz, got {rate!r}.")
    x = _as_tensor(media, name, "a path, a waveform [T] or [C, T], or (waveform, sample_rate)")
    if rate is None:
        raise MediaError(f"{name}: no sample rate; pass (waveform, sample_rate).")
    x = x[None] if x.ndim == 1 else x
    if x.ndim != 2:
        raise MediaError(f"{name}: a waveform is [T] or [C, T], got {list(x.shape)}. Pass several clips as a list.")
    if x.shape[0] > 32:
        raise MediaError(f"{name}: {x.shape[0]} channels; a waveform is [C, T], channels first. Transpose it.")
    if x.shape[1] == 0:
        raise MediaError(f"{name} is empty: 0 samples.")
    if not x.is_floating_point():
        return Waveform(_pcm_to_float(x, name), int(rate))
    x = x.float()
    if not torch.isfinite(x).all():
        raise MediaError(f"{name} holds NaN or infinite samples at {int((~torch.isfinite(x)).sum())} places.")
    if float(x.abs().max()) > MAX_PEAK:
        raise MediaError(
            f"{name}: float samples reach {float(x.abs().max()):.4g}; -1..1 is allowed. Divide by the full scale "
            "(32768 for 16 bits) or pass the integers themselves."
        )
    return Waveform(x, int(rate))


def _pcm_to_float(x: Tensor, name: str) -> Tensor:
    if x.dtype == torch.uint8:
        return (x.float() - 128) / 128
    scale = {torch.int8: 2**7, torch.int16: 2**15, torch.int32: 2**31}.get(x.dtype)
    if scale is None:
        raise MediaError(f"{name}: {x.dtype} samples are ambiguous; pass int16, int32, uint8 or floats in -1..1.")
    return (x.double() / scale).float()


def to_channels(x: Tensor, channels: int) -> Tensor:
    """Mix `[C, T]` down to mono, or repeat mono, to get `channels`."""
    if x.shape[0] == channels:
        return x
    if channels == 1:
        return x.mean(0, keepdim=True)
    if x.shape[0] == 1:
        return x.expand(channels, -1)
    raise MediaError(f"{x.shape[0]} channels cannot become {channels}; pass mono or {channels} channels.")


def resample(x: Tensor, from_hz: int, to_hz: int) -> Tensor:
    """Windowed-sinc resampling of `[..., T]` to `ceil(T * to / from)` samples (torchaudio's kernel, width 32)."""
    if from_hz == to_hz:
        return x
    import torchaudio.functional as F

    return F.resample(x, from_hz, to_hz, lowpass_filter_width=32)


# --- pictures -----------------------------------------------------------------------------------------------------------


def read_image(
    source: str | os.PathLike[str] | BinaryIO, *, name: str = "", max_pixels: int = MAX_PIXELS
) -> Tensor:
    """Read a picture file as float32 `[3, H, W]` in 0..1, upright, on white where it is transparent.

    Args:
        source: a path, or an open binary file.
        name: what an open file is called in messages.
        max_pixels: larger pictures are refused before they are decoded.

    Raises:
        FileNotFoundError, MediaError: missing, unreadable or too large a file.
    """
    if is_path(source) and not Path(source).is_file():  # type: ignore[arg-type]
        raise FileNotFoundError(f"no such file: {source}")
    from PIL import Image, UnidentifiedImageError

    name = name or str(source)
    try:
        with Image.open(source) as image:
            if image.width * image.height > max_pixels:
                raise MediaError(f"{name}: {image.width} x {image.height} pixels, more than {max_pixels}: refused.")
            return _pil_to_tensor(image)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise MediaError(f"cannot read {name}: {error}") from error


def _pil_to_tensor(image: Any) -> Tensor:
    """PIL picture of any mode to `[3, H, W]` in 0..1: orientation applied, alpha on white, 16 bits kept."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return _grey_to_tensor(image)
    if image.mode == "La":
        image = image.convert("LA")  # from there Pillow knows the way
    if image.mode in ("RGBA", "RGBa", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    data = np.asarray(image.convert("RGB"), dtype=np.uint8)
    return torch.from_numpy(data.copy()).permute(2, 0, 1).float() / 255  # [3, H, W]


def _grey_to_tensor(image: Any) -> Tensor:
    """Grey PIL picture of 16 bits (also in 32-bit integers) or of floats in 0..1 to `[3, H, W]`."""
    grey = torch.from_numpy(np.asarray(image, dtype=np.float32).copy())
    top = 1 if image.mode == "F" else 65535
    if not torch.isfinite(grey).all() or float(grey.min()) < 0 or float(grey.max()) > top:
        raise MediaError(
            f"a picture of mode {image.mode} with values {float(grey.min()):.4g}..{float(grey.max()):.4g}; 0..{top} is "
            "allowed. Rescale them."
        )
    return (grey / top).expand(3, -1, -1).contiguous()


def as_image(media: Any, value_range: tuple[float, float], *, name: str = "picture") -> Tensor:
    """Check one picture and return float32 `[3, H, W]` in `value_range`.

    Args:
        media: a path; a PIL picture; uint8 or uint16 `[H, W]`, `[H, W, 3]`, `[H, W, 4]` or `[3, H, W]`; or floats of
            these shapes with values in `value_range`, a fourth channel in 0..1. Where the first and the last axis could
            both be the channels, they are the last of an array and the first of a tensor. `Prepared` ones are not checked again.
        value_range: the range of float values, in and out.
    """
    low, high = value_range
    if isinstance(media, Prepared):
        return media.x
    if is_path(media):
        return read_image(media, max_pixels=MAX_PIXELS) * (high - low) + low
    if hasattr(media, "getbands"):  # PIL, without importing it
        if media.width * media.height > MAX_PIXELS:
            raise MediaError(f"{name}: {media.width} x {media.height} pixels, more than {MAX_PIXELS}: refused.")
        return _pil_to_tensor(media) * (high - low) + low
    x = _as_tensor(media, name, "a path, a PIL picture, an array [H, W, 3] or a tensor [3, H, W]")
    last = isinstance(media, np.ndarray)
    if not x.is_floating_point():
        return _integer_image(x, name, last) * (high - low) + low
    x = _channels_first(x.float(), name, white=high, last=last)
    if not torch.isfinite(x).all():
        raise MediaError(f"{name} holds NaN or infinite values.")
    slack = 0.05 * (high - low)  # bicubic resizing overshoots a little
    if float(x.min()) < low - slack or float(x.max()) > high + slack:
        raise MediaError(
            f"{name}: float values lie in {float(x.min()):.4g}..{float(x.max()):.4g}; this tokenizer takes {low:g}..{high:g}. "
            "Rescale them, or pass uint8."
        )
    if low < 0 and float(x.min()) >= 0 and float(x.max()) > 0.5 * high:
        warnings.warn(
            f"{name}: no float value is below 0, but this tokenizer takes {low:g}..{high:g}. If yours are 0..1, pass "
            "x * 2 - 1 or uint8.",
            stacklevel=4,
        )
    return x


def _integer_image(x: Tensor, name: str, last: bool) -> Tensor:
    top = {torch.uint8: 255, torch.uint16: 65535}.get(x.dtype)
    if top is None:
        raise MediaError(f"{name}: {x.dtype} pixels are ambiguous; pass uint8, uint16 or floats.")
    return _channels_first(x.float() / top, name, white=1.0, last=last)


def _channels_first(x: Tensor, name: str, *, white: float, last: bool) -> Tensor:
    """`[H, W]`, `[H, W, C]` or `[C, H, W]` to `[3, H, W]`; alpha, 0..1, is laid on white.

    `last` says which axis holds the channels of a picture so low or narrow that either could.
    """
    first_fits, last_fits = (x.ndim == 3 and x.shape[axis] in (1, 3, 4) for axis in (0, -1))
    if x.ndim == 2:
        x = x[None]
    elif last_fits and (last or not first_fits):
        x = x.permute(2, 0, 1)
    if x.ndim != 3 or x.shape[0] not in (1, 3, 4) or 0 in x.shape:
        raise MediaError(f"{name}: expected [3, H, W] or [H, W, 3], got {list(x.shape)}. Pass several pictures as a list.")
    if x.shape[0] == 4:
        alpha = x[3:]
        if not 0 <= float(alpha.min()) <= float(alpha.max()) <= 1:
            low, high = float(alpha.min()), float(alpha.max())
            raise MediaError(f"{name}: alpha, the fourth channel, lies in {low:.4g}..{high:.4g}; 0..1 is allowed. Rescale it.")
        x = x[:3] * alpha + white * (1 - alpha)
    return x.expand(3, -1, -1)


def _as_tensor(media: Any, name: str, allowed: str) -> Tensor:
    if isinstance(media, Tensor):
        return media.detach()
    if isinstance(media, np.ndarray):
        if media.dtype.kind not in "fiu":
            raise MediaError(f"{name}: an array of {media.dtype} is not media; {allowed} is allowed.")
        return torch.from_numpy(np.ascontiguousarray(media, dtype=media.dtype.newbyteorder("=")))
    raise MediaError(f"{name}: got {type(media).__name__}; {allowed} is allowed.")
