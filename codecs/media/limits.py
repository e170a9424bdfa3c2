"""How large a medium may be. Checked before memory is allocated, because a header of a few bytes can claim any size.

Raise a limit for one process and those that it starts with an environment variable:

    TOKENZOO_MAX_PIXELS=400000000 tokenzoo encode huge.tif -m photo-f16-rvq7
    TOKENZOO_MAX_SAMPLES=5e9 tokenzoo tokenize ...

`read_image(max_pixels=...)` and `tokenize --max-pixels` override the first one for that call.
"""

import os

from .errors import MediaError

#: Largest number of pixels of a picture: 1.5 GB as floats. The largest cameras have about 100 million.
MAX_PIXELS = 128_000_000
#: Largest number of samples of a clip, all channels together, as read and as resampled: 4 GB as floats, 5.8 hours of mono at 48 kHz.
MAX_SAMPLES = 1_000_000_000
#: Lowest and highest allowed sample rate in Hz.
RATES_HZ = (100, 10_000_000)
#: Most channels of sound; more mean a transposed array or a broken header.
MAX_CHANNELS = 32
#: A side has at most `max_pixels()` divided by this: each row takes memory, however short it is.
_SIDE = 256


def max_pixels() -> int:
    """Largest number of pixels of a picture: `TOKENZOO_MAX_PIXELS`, or `MAX_PIXELS`."""
    return _from_environment("TOKENZOO_MAX_PIXELS", MAX_PIXELS)


def max_samples() -> int:
    """Largest number of samples of a clip: `TOKENZOO_MAX_SAMPLES`, or `MAX_SAMPLES`."""
    return _from_environment("TOKENZOO_MAX_SAMPLES", MAX_SAMPLES)


def check_pixels(width: int, height: int, name: str, most: int | None = None) -> None:
    """Raise MediaError where a picture is larger than `most` pixels (None: `max_pixels()`), or far too long."""
    most = max_pixels() if most is None else most
    if width < 1 or height < 1:
        raise MediaError(f"{name}: {width} x {height} pixels: empty.")
    if width * height > most or max(width, height) * _SIDE > max(most, _SIDE * 65536):
        raise MediaError(
            f"{name}: {width} x {height} pixels: refused; at most {most} are allowed. "
            "Shrink it, or raise the limit: TOKENZOO_MAX_PIXELS, or max_pixels where that is an option."
        )


def check_samples(count: float, name: str) -> None:
    """Raise MediaError where a clip has, or after resampling will have, more than `max_samples()` samples."""
    most = max_samples()
    if count > most:
        raise MediaError(
            f"{name}: {count:.0f} samples: refused; at most {most} are allowed, all channels together. "
            "Cut it into pieces, or raise the limit with TOKENZOO_MAX_SAMPLES."
        )


def check_rate(rate_hz: int, name: str) -> None:
    """Raise MediaError for a sample rate outside `RATES_HZ`: resampling from it could produce a clip of any size."""
    low, high = RATES_HZ
    if not low <= rate_hz <= high:
        raise MediaError(
            f"{name}: a sample rate of {rate_hz} Hz; {low} to {high} are allowed. If the file's header is wrong, pass "
            "(waveform, sample_rate) with the right one."
        )


def check_channel_count(channels: int, name: str) -> None:
    """Raise MediaError if there are more channels than sound can have."""
    if not 1 <= channels <= MAX_CHANNELS:
        raise MediaError(f"{name}: {channels} channels; 1 to {MAX_CHANNELS} are allowed. A waveform is [C, T]. Transpose [T, C].")


def _from_environment(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if not text:
        return default
    try:
        value = int(float(text))
    except (ValueError, OverflowError):
        value = 0
    if value < 1:
        raise MediaError(f"the environment variable {name} is {text!r}; give a whole number above 0.")
    return value
