"""Preview files, originals beside reconstructions: sheets of pictures, wav files with spectrograms."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .drawing import Axis, Scale, sheet

ROWS = ("original", "reconstruction")


class ImagePreview:
    """Writes `grid.png`: originals in the upper row, reconstructions below, the names of their files above."""

    def __init__(self, value_range: tuple[float, float]) -> None:
        self.value_range = value_range

    def write(self, folder: Path, x: Tensor, x_hat: Tensor, *, names: Sequence[str] = ()) -> dict[str, Any]:
        """See `data.media.Preview`; media `[B, C, H, W]`. Pictures below 128 pixels are shown enlarged, by whole factors."""
        from PIL import Image

        zoom = max(1, -(-128 // max(x.shape[2:])))
        cells = [[self._pixels(item).repeat(zoom, 0).repeat(zoom, 1) for item in batch] for batch in (x, x_hat)]
        note = f"crops of {x.shape[3]} x {x.shape[2]} pixels" + (f", drawn {zoom} times as large" if zoom > 1 else "")
        picture = sheet(cells, rows=ROWS, columns=_labels(names, len(x)), note=note)
        Image.fromarray(picture).save(folder / "grid.png")
        return {"grid": ("image", picture)}

    def _pixels(self, x: Tensor) -> np.ndarray:
        """Convert `[C, H, W]` in `value_range` to uint8 `[H, W, 3]`."""
        low, high = self.value_range
        pixels = ((x - low) * (255 / (high - low))).round().clamp(0, 255).to(torch.uint8)
        return pixels.expand(3, -1, -1).permute(1, 2, 0).numpy()


class AudioPreview:
    """Writes `N-original.wav`, `N-reconstruction.wav`, and `spectrograms.png`: one column an item, originals above."""

    def __init__(self, sample_rate_hz: int) -> None:
        self.rate = sample_rate_hz

    def write(self, folder: Path, x: Tensor, x_hat: Tensor, *, names: Sequence[str] = ()) -> dict[str, Any]:
        """See `data.media.Preview`; media `[B, C, T]`."""
        import soundfile
        from PIL import Image

        shown: dict[str, Any] = {}
        for i in range(x.shape[0]):
            for label, wave in zip(ROWS, (x[i], x_hat[i].clamp(-1, 1)), strict=True):
                sound = io.BytesIO()  # not the file itself: there a full disk is an error that does not say so
                soundfile.write(sound, wave.T.numpy(), self.rate, subtype="PCM_16", format="WAV")
                (folder / f"{i:02d}-{label}.wav").write_bytes(sound.getvalue())
                shown[f"{i:02d}-{label}"] = ("audio", wave.mean(dim=0).numpy(), self.rate)
        picture = sheet(
            [[spectrogram_picture(wave) for wave in batch] for batch in (x, x_hat)],
            rows=ROWS,
            columns=_labels(names, len(x)),
            x=Axis("time (s)", 0, x.shape[2] / self.rate),
            y=Axis("frequency (kHz)", 0, self.rate / 2000),
            scale=Scale(_COLOURS.astype(np.uint8), Axis("level (dB of a full-scale sine)", FLOOR_DB, 0)),
        )
        Image.fromarray(picture).save(folder / "spectrograms.png")
        shown["spectrograms"] = ("image", picture)
        return shown


def _labels(names: Sequence[str], count: int) -> list[str]:
    """A number, by which the wav files are named too, and the last part of each item's name."""
    return [f"{i:02d}  {Path(names[i]).name}" if i < len(names) else f"{i:02d}" for i in range(count)]


#: Level that a spectrogram draws darkest; 0 dB is a sine at full scale.
FLOOR_DB = -100.0
# Dark blue over red to pale yellow: five anchors between which colours are interpolated.
_COLOURS = np.array([[0, 0, 20], [70, 15, 110], [185, 55, 95], [245, 140, 50], [255, 250, 180]], dtype=np.float32)


def spectrogram_picture(wave: Tensor, *, height: int = 160, width: int = 320) -> np.ndarray:
    """Draw a spectrogram.

    Args:
        wave: `[C, T]`, mixed to mono.
        height, width: pixels; frequency runs upwards on a linear scale to half the sample rate.

    Returns:
        uint8 `[height, width, 3]`.
    """
    mono = wave.detach().float().cpu().mean(dim=0)
    window = torch.hann_window(512)
    hop = max(32, mono.numel() // width)
    spec = torch.stft(mono, 512, hop, window=window, return_complex=True, pad_mode="constant").abs()  # [257, N]
    level = 20 * (spec / (window.sum() / 2)).clamp(min=1e-7).log10()
    share = ((level - FLOOR_DB) / -FLOOR_DB).clamp(0, 1)
    share = torch.nn.functional.interpolate(share[None, None], size=(height, width), mode="bilinear")[0, 0].flip(0)
    place = share.numpy() * (len(_COLOURS) - 1)
    low = np.clip(place.astype(int), 0, len(_COLOURS) - 2)
    mix = (place - low)[..., None]
    return (_COLOURS[low] * (1 - mix) + _COLOURS[low + 1] * mix).astype(np.uint8)
