"""Decoded media as files."""

from pathlib import Path

from torch import Tensor


def write_audio(path: Path, samples: Tensor, sample_rate_hz: int) -> None:
    """Write `[C, T]` as 16-bit WAV, clipped to full scale."""
    import soundfile

    soundfile.write(path, samples.detach().cpu().clamp(-1, 1).T.numpy(), sample_rate_hz, subtype="PCM_16")


def write_image(path: Path, pixels: Tensor) -> None:
    """Write uint8 `[3, H, W]` as PNG."""
    from PIL import Image

    Image.fromarray(pixels.detach().cpu().permute(1, 2, 0).contiguous().numpy()).save(path)
