"""Writes decoded media to files, atomically: a file is complete or absent."""

from pathlib import Path

from torch import Tensor

from ..codecs.files import replacing


def write_audio(path: Path, samples: Tensor, sample_rate_hz: int) -> None:
    """Write float samples `[C, T]` as 16-bit WAV, clipped to -1..1."""
    import soundfile

    with replacing(path) as file:
        soundfile.write(file, samples.detach().cpu().clamp(-1, 1).T.numpy(), sample_rate_hz, format="WAV", subtype="PCM_16")


def write_image(path: Path, pixels: Tensor) -> None:
    """Write uint8 `[3, H, W]` as PNG."""
    from PIL import Image

    picture = Image.fromarray(pixels.detach().cpu().permute(1, 2, 0).contiguous().numpy())
    with replacing(path) as file:
        picture.save(file, "PNG")
