"""Writes decoded media to files, atomically: a file is complete or absent."""

from pathlib import Path

from torch import Tensor

from ..codecs.files import replacing

#: How long each frame of a written clip is shown; clips know no frame rate.
FRAME_MS = 40


def write_audio(path: Path, samples: Tensor, sample_rate_hz: int) -> None:
    """Write float samples `[C, T]` as 16-bit WAV, clipped to -1..1."""
    import soundfile

    with replacing(path) as file:
        soundfile.write(file, samples.detach().cpu().clamp(-1, 1).T.numpy(), sample_rate_hz, format="WAV", subtype="PCM_16")


def write_image(path: Path, pixels: Tensor) -> None:
    """Write uint8 `[3, H, W]` as PNG, and a clip `[T, 3, H, W]` as an animated one (of one frame: a plain one)."""
    from PIL import Image

    frames = pixels.detach().cpu().reshape(-1, *pixels.shape[-3:]).permute(0, 2, 3, 1).contiguous().numpy()
    first, *others = (Image.fromarray(frame) for frame in frames)
    with replacing(path) as file:
        if others:
            first.save(file, "PNG", save_all=True, append_images=others, duration=FRAME_MS)
        else:
            first.save(file, "PNG")
