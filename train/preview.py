"""Originals beside reconstructions, as files that a person opens: picture grids, wav files with spectrograms."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


class ImagePreview:
    """Writes `grid.png`: originals in the upper row, reconstructions below."""

    def __init__(self, value_range: tuple[float, float]) -> None:
        self.value_range = value_range

    def write(self, folder: Path, x: Tensor, x_hat: Tensor) -> dict[str, Any]:
        """See `data.media.Preview`; media `[B, C, H, W]`."""
        from PIL import Image

        grid = np.concatenate([self._row(x), self._row(x_hat)], axis=0)  # [2H, B*W, 3]
        Image.fromarray(grid).save(folder / "grid.png")
        return {"grid": ("image", grid)}

    def _row(self, x: Tensor) -> np.ndarray:
        low, high = self.value_range
        pixels = ((x - low) * (255 / (high - low))).round().clamp(0, 255).to(torch.uint8)
        pixels = pixels.expand(-1, 3, -1, -1)  # [B, 3, H, W]
        return pixels.permute(2, 0, 3, 1).flatten(1, 2).numpy()  # [H, B*W, 3]


class AudioPreview:
    """Writes `N-original.wav`, `N-reconstruction.wav`, and `spectrograms.png`: one column an item, originals above."""

    def __init__(self, sample_rate_hz: int) -> None:
        self.rate = sample_rate_hz

    def write(self, folder: Path, x: Tensor, x_hat: Tensor) -> dict[str, Any]:
        """See `data.media.Preview`; media `[B, C, T]`."""
        import soundfile
        from PIL import Image

        shown: dict[str, Any] = {}
        for i in range(x.shape[0]):
            for label, wave in (("original", x[i]), ("reconstruction", x_hat[i].clamp(-1, 1))):
                soundfile.write(folder / f"{i:02d}-{label}.wav", wave.T.numpy(), self.rate, subtype="PCM_16")
                shown[f"{i:02d}-{label}"] = ("audio", wave.mean(dim=0).numpy(), self.rate)
        rows = [np.concatenate([spectrogram_picture(w) for w in batch], axis=1) for batch in (x, x_hat)]
        picture = np.concatenate(rows, axis=0)  # [2H, B*W, 3]
        Image.fromarray(picture).save(folder / "spectrograms.png")
        shown["spectrograms"] = ("image", picture)
        return shown


# Dark blue over red to pale yellow: five anchors between which colours are interpolated.
_COLOURS = np.array([[0, 0, 20], [70, 15, 110], [185, 55, 95], [245, 140, 50], [255, 250, 180]], dtype=np.float32)


def spectrogram_picture(wave: Tensor, *, height: int = 160, width: int = 320, floor_db: float = -100.0) -> np.ndarray:
    """Draw a spectrogram.

    Args:
        wave: `[C, T]`, mixed to mono.
        height, width: pixels; frequency runs upwards on a linear scale to half the sample rate.
        floor_db: level drawn darkest; 0 dB is a sine at full scale.

    Returns:
        uint8 `[height, width, 3]`.
    """
    mono = wave.detach().float().cpu().mean(dim=0)
    window = torch.hann_window(512)
    hop = max(32, mono.numel() // width)
    spec = torch.stft(mono, 512, hop, window=window, return_complex=True, pad_mode="constant").abs()  # [257, N]
    level = 20 * (spec / (window.sum() / 2)).clamp(min=1e-7).log10()
    share = ((level - floor_db) / -floor_db).clamp(0, 1)
    share = torch.nn.functional.interpolate(share[None, None], size=(height, width), mode="bilinear")[0, 0].flip(0)
    place = share.numpy() * (len(_COLOURS) - 1)
    low = np.clip(place.astype(int), 0, len(_COLOURS) - 2)
    mix = (place - low)[..., None]
    return (_COLOURS[low] * (1 - mix) + _COLOURS[low + 1] * mix).astype(np.uint8)
