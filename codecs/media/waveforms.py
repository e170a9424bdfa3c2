"""Conversion of sound in any accepted form to checked waveforms. `as_waveforms` lists the accepted forms.

Letters: B batch, C channels, T samples.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .arrays import as_tensor, is_array, kind_of
from .blobs import is_encoded, is_path
from .errors import MediaError, decoding, shown
from .items import Waveform
from .limits import check_channel_count, check_rate, check_samples

#: Largest peak of float audio: it may exceed full scale a little (resampling, lossy decoders); far beyond, it is scaled as integers.
MAX_PEAK = 4.0
_ALLOWED = (
    "a path, bytes, an open file, (waveform, sample_rate), a waveform [T] or [C, T] (an array or plain numbers), a row of `datasets`, "
    "or a list of these"
)


def as_waveforms(media: Any, *, default_rate_hz: int, channels: int | None = None) -> list[Waveform]:
    """Convert media of any accepted form to checked clips, each with its rate and channels.

    Args:
        media: one clip or a list of clips, of any mix and any lengths and rates:
            - a path, bytes, or an open binary file (read from its beginning), see `read_audio`;
            - `(waveform, sample_rate)`, as a tuple or list; a waveform is `[T]` or `[C, T]`, floats in -1..1 or int16, int32 or
              uint8 PCM, in any array;
            - a bare waveform at `default_rate_hz`: `[T]`; `[C, T]` with one channel or with `channels`;
            - a batch `[B, C, T]` of bare waveforms;
            - plain numbers, as JSON has them: `[0.1, 0.2]` is a bare `[T]`, a list of such lists is several clips of any lengths, and
              with a rate `([0.1, 0.2], 16000)` or `([[...], [...]], 16000)`, `[T]` or `[C, T]`;
            - a cell of `datasets`: `{"array", "sampling_rate"}`, `{"bytes", "path"}`, `{"path"}`, or a decoder of torchcodec;
            - a `Waveform`.
        default_rate_hz: sample rate of bare waveforms.
        channels: number of channels of the codec; None: any. Files and waveforms with a rate may have another number: later they are
            mixed down for a mono codec, and mono clips are repeated. A bare `[C, T]` with another C is refused: it could as well be
            a batch `[B, T]` of mono clips.

    Raises:
        FileNotFoundError, MediaError: what came, what is allowed, what to do.
    """
    many = isinstance(media, (list, tuple)) and not _is_pair(media) and not _is_plain(media)
    if is_array(media) and getattr(media, "ndim", 0) == 3:
        media, many = list(media), True
    if not many:
        return [as_waveform(media, default_rate_hz=default_rate_hz, channels=channels)]
    if not len(media):
        raise MediaError("got an empty list; pass at least one clip.")
    common: Any = {"default_rate_hz": default_rate_hz, "channels": channels}
    clips = [as_waveform(m, **common, name=f"clip {i}", peak=p) for i, (m, p) in enumerate(zip(media, _peaks(media), strict=True))]
    if len({c.samples.device for c in clips}) > 1:
        clips = [Waveform(c.samples.cpu(), c.sample_rate_hz) for c in clips]
    return clips


def _peaks(media: Sequence[Any]) -> list[float | None]:
    """Peaks of clips that are float tensors on an accelerator, all in one transfer to the host; None for others."""
    found: list[float | None] = [None] * len(media)
    at, values = [], []
    for i, clip in enumerate(media):
        x = clip[0] if isinstance(clip, tuple) and clip else clip.samples if isinstance(clip, Waveform) else clip
        if isinstance(x, Tensor) and x.device.type not in ("cpu", "meta") and x.is_floating_point() and x.numel():
            at.append(i)
            values.append(x.abs().amax().float())
    if len({v.device for v in values}) == 1:
        for i, value in zip(at, torch.stack(values).tolist(), strict=True):
            found[i] = value
    return found


def as_waveform(
    media: Any, *, default_rate_hz: int, channels: int | None = None, name: str = "audio", peak: float | None = None
) -> Waveform:
    """Convert one clip to a checked `Waveform`; arguments as in `as_waveforms`, its `name` in messages, and its `peak` if known."""
    from .sound_files import read_audio

    if isinstance(media, Mapping):
        media, name = _row(media, name)
    if _is_plain(media):
        media = _numbers(media, name)
    if hasattr(media, "get_all_samples"):  # torchcodec
        with decoding(name):
            media = media.get_all_samples()
    if hasattr(media, "data") and hasattr(media, "sample_rate") and not is_array(media):
        media = (media.data, media.sample_rate)
    if is_encoded(media):
        clip = read_audio(media, name="" if is_path(media) else name)
        name = shown(media) if is_path(media) else name
    elif isinstance(media, Waveform):
        clip = checked(media.samples, media.sample_rate_hz, name, peak)
    elif isinstance(media, (tuple, list)) and _is_pair(media):
        clip = _pair(media, name, peak)
    elif is_array(media):
        clip = _bare(media, name, default_rate_hz, channels, peak)
    else:
        raise MediaError(f"{name}: got {kind_of(media)}; {_ALLOWED} is allowed.")
    check_channels(clip.samples.shape[0], channels, name)
    check_samples(clip.samples.numel() * default_rate_hz / clip.sample_rate_hz, f"{name}, at the codec's {default_rate_hz} Hz")
    return clip


def _row(row: Mapping[str, Any], name: str) -> tuple[Any, str]:
    """The medium in a cell of `datasets` (a pair, bytes or a path), and its name for messages."""
    if row.get("array") is not None:
        if row.get("sampling_rate") is None:
            raise MediaError(f'{name}: {{"array": ...}} without "sampling_rate"; pass both.')
        array = row["array"]
        return (_numbers(array, name) if isinstance(array, (list, tuple)) else np.asarray(array), row["sampling_rate"]), name
    if row.get("bytes") is not None:
        return row["bytes"], str(row.get("path") or name)
    if row.get("path"):
        return row["path"], name
    keys = ", ".join(map(repr, row)) or "nothing"
    raise MediaError(
        f'{name}: got a dictionary with {keys}; {{"array", "sampling_rate"}}, {{"bytes", "path"}} or {{"path"}} is allowed. '
        'Of a row, pass the column with the sound: row["audio"].'
    )


def _is_pair(media: Any) -> bool:
    """Whether `media` is meant as (waveform, sample_rate); also wrong pairs, such as (rate, waveform), which are refused later."""
    if len(media) != 2:
        return False
    first, second = media
    if _is_number(second):
        return not _is_number(first)
    if _is_number(first):
        return is_array(second) or isinstance(second, (list, tuple))  # (rate, waveform)
    return isinstance(media, tuple) and is_array(first) and (is_path(second) or second is None)


def _is_plain(media: Any) -> bool:
    """Whether `media` is a list of plain numbers. Only the first entry is checked here; `_numbers` refuses the others."""
    return isinstance(media, (list, tuple)) and len(media) > 0 and _is_number(media[0]) and not _is_pair(media)


def _numbers(samples: list[Any] | tuple[Any, ...], name: str) -> np.ndarray:
    """Plain numbers, `[T]` or `[C, T]`, as an array: floats, or whole numbers, which are later refused as PCM of unknown width."""
    try:
        array = np.array(samples)
    except (TypeError, ValueError, OverflowError) as error:  # rows of different lengths, objects that are no numbers
        allowed = "numbers [T], or [C, T] with channels of one length, are allowed"
        raise MediaError(f"{name}: a list that is no waveform: {allowed}.") from error
    if array.dtype.kind not in "fiu":
        raise MediaError(f"{name}: a list that holds other things than numbers; a waveform is a list of floats in -1..1.")
    return array


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float, np.number)) or (is_array(x) and getattr(x, "ndim", 1) == 0)


def _pair(media: Any, name: str, peak: float | None) -> Waveform:
    samples, rate = media
    if isinstance(samples, (list, tuple)) and samples:
        samples = _numbers(samples, name)
    if _is_number(samples):
        raise MediaError(f"{name}: got (sample_rate, waveform), as some libraries have it; pass (waveform, sample_rate).")
    if not is_array(samples):
        raise MediaError(f"{name}: got {kind_of(samples)} with a sample rate; only waveforms need one. Pass (waveform, sample_rate).")
    return checked(as_tensor(samples, name), _rate(rate, name), name, peak)


def _rate(rate: Any, name: str) -> int:
    if is_array(rate) and getattr(rate, "ndim", 1) == 0:
        rate = rate.item()
    if isinstance(rate, bool) or not isinstance(rate, (int, np.integer)) or rate <= 0:
        raise MediaError(f"{name}: the sample rate must be a positive whole number of Hz, got {rate!r:.60}.")
    return int(rate)


def _bare(media: Any, name: str, rate_hz: int, channels: int | None, peak: float | None) -> Waveform:
    """A waveform without a rate. A first axis that could be channels or a batch is refused."""
    x = as_tensor(media, name)
    if x.ndim == 2 and channels is not None and x.shape[0] not in (1, channels):
        n, shape = x.shape[0], list(x.shape)
        raise MediaError(
            f"{name}: a bare array {shape} may be {n} clips or one clip of {n} channels, and the codec has {channels}. "
            f"For {n} clips pass list(x) or a batch [B, C, T]; for one clip to be mixed pass (x, sample_rate)."
        )
    return checked(x, rate_hz, name, peak)


def checked(x: Tensor, rate_hz: int, name: str, peak: float | None = None) -> Waveform:
    """Check a waveform `[T]` or `[C, T]` of floats or PCM, and convert it to float32 `[C, T]`; `peak`: that of floats, where known.

    Raises:
        MediaError: no waveform, empty, not finite, far beyond full scale; a rate that no sound has.
    """
    x = x[None] if x.ndim == 1 else x
    if x.ndim != 2:
        raise MediaError(f"{name}: a waveform is [T] or [C, T], got {list(x.shape)}. Pass several clips as a list.")
    if x.shape[0] == 0 or x.shape[1] == 0:
        raise MediaError(f"{name} is empty: {list(x.shape)}, 0 samples.")
    check_channel_count(x.shape[0], name)
    check_rate(rate_hz, name)
    check_samples(x.numel(), name)
    return Waveform(checked_samples(x, name, peak), rate_hz)


def checked_samples(x: Tensor, name: str, peak: float | None = None) -> Tensor:
    """Check samples of any shape, also empty ones, and convert them to float32; PCM is scaled to -1..1. `peak`: see `checked`."""
    if not x.is_floating_point():
        return _pcm_to_float(x, name)
    x = x.float()
    if peak is None:
        low, high = torch.stack(x.aminmax()).tolist() if x.numel() else (0.0, 0.0)  # NaN where there is one
        peak = max(-low, high) if math.isfinite(low) else math.nan
    if not math.isfinite(peak):
        raise MediaError(f"{name} holds NaN or infinite samples: {int((~torch.isfinite(x)).sum()):,} of {x.numel():,}.")
    if peak > MAX_PEAK:
        raise MediaError(
            f"{name}: float samples reach {peak:.4g}; -1..1 is allowed. Divide by the full scale "
            "(32768 for 16 bits) or pass the integers themselves."
        )
    return x


def _pcm_to_float(x: Tensor, name: str) -> Tensor:
    if x.dtype == torch.uint8:
        return (x.float() - 128) / 128
    scale = {torch.int8: 2**7, torch.int16: 2**15, torch.int32: 2**31}.get(x.dtype)
    if scale is None:
        raise MediaError(f"{name}: {x.dtype} samples are ambiguous; pass int16, int32, uint8 or floats in -1..1.")
    return (x.double() / scale).float()


def check_channels(have: int, channels: int | None, name: str) -> None:
    """Raise MediaError where `have` channels can neither be mixed down nor repeated to `channels`."""
    if channels not in (None, 1, have) and have != 1:
        raise MediaError(f"{name}: {have} channels cannot become {channels}; pass mono or {channels} channels.")


def to_channels(x: Tensor, channels: int) -> Tensor:
    """Mix `[C, T]` down to mono, or repeat mono, to get `channels`."""
    check_channels(x.shape[0], channels, "the clip")
    if x.shape[0] == channels:
        return x
    return x.mean(0, keepdim=True) if channels == 1 else x.expand(channels, -1)
