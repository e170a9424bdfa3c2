"""What a visitor of the page brings: one picture or one sound, read within limits. Letters: C channels, H W pixels, T samples."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ...codecs.media import AUDIO_ENDINGS, IMAGE_ENDINGS, VIDEO_ENDINGS, MediaError, probe_audio, read_audio, read_image, shown

Kind = Literal["image", "audio"]

#: Endings that browsers give to recordings, besides those of sound files.
_RECORDINGS = (".webm", ".mp4")


@dataclass(frozen=True)
class Limits:
    """What the page accepts.

    Attributes:
        file_mb: largest file in MB.
        pixels: a picture with more is refused before it is decoded.
        side: a picture with a longer side is scaled down to it.
        seconds: longer sound is cut.
    """

    file_mb: int = 25
    pixels: int = 40_000_000
    side: int = 768
    seconds: float = 20.0


LIMITS = Limits()


@dataclass(frozen=True)
class Medium:
    """A picture or a sound that was read.

    Attributes:
        kind: "image" or "audio".
        name: the file's name, without its folder.
        data: uint8 `[3, H, W]`, or float32 `[C, T]` in about -1..1.
        rate_hz: sampling rate of sound; 0 for pictures.
        note: what was changed to keep the limits; "": nothing.
    """

    kind: Kind
    name: str
    data: Tensor
    rate_hz: int = 0
    note: str = ""


def read_medium(path: Path, limits: Limits = LIMITS) -> Medium:
    """Read a picture or a sound; its kind is known by the file's ending.

    Raises:
        MediaError: neither picture nor sound, broken, or over a limit; the message names the file and the limit.
        FileNotFoundError: there is no such file.
    """
    name, ending = shown(path.name)[-80:], path.suffix.lower()
    if not path.is_file():
        raise FileNotFoundError(f"{name} is no longer there; give it again.")
    if path.stat().st_size > limits.file_mb * 1_000_000:
        raise MediaError(f"{name} has {path.stat().st_size / 1e6:.0f} MB; files up to {limits.file_mb} MB are taken.")
    if ending in IMAGE_ENDINGS:
        return _picture(path, name, limits)
    if ending in AUDIO_ENDINGS or ending in _RECORDINGS:
        return _sound(path, name, limits)
    what = "a film" if ending in VIDEO_ENDINGS else f"a file that ends in {ending!r}" if ending else "a file without an ending"
    raise MediaError(f"{name} is {what}; pictures ({_listed(IMAGE_ENDINGS)}) and sounds ({_listed(AUDIO_ENDINGS)}) are taken.")


def _listed(endings: tuple[str, ...]) -> str:
    return ", ".join(e[1:] for e in endings)


def _picture(path: Path, name: str, limits: Limits) -> Medium:
    with path.open("rb") as file:
        x = read_image(file, name=name, max_pixels=limits.pixels)
    height, width = x.shape[1:]
    note, scale = "", limits.side / max(height, width)
    if scale < 1:
        size = max(1, round(height * scale)), max(1, round(width * scale))
        x = torch.nn.functional.interpolate(x[None], size=size, mode="bicubic", antialias=True, align_corners=False)[0]
        note = f"{name} was scaled from {width} x {height} to {size[1]} x {size[0]} pixels: the longest side here is {limits.side}."
    return Medium("image", name, (x * 255).round().clamp(0, 255).to(torch.uint8), note=note)


def _sound(path: Path, name: str, limits: Limits) -> Medium:
    with path.open("rb") as file:
        frames, rate = probe_audio(file, name=name)
        most = int(limits.seconds * rate)
        clip = read_audio(file, name=name, frames=min(frames, most))
    note = ""
    if frames > most:
        note = f"{name} has {frames / rate:.1f} s; the first {limits.seconds:g} s are used, the most that is taken here."
    return Medium("audio", name, clip.samples, clip.sample_rate_hz, note)
