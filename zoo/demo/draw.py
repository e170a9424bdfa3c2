"""The demo's picture: originals on the left, reconstructions on the right, with captions."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

MARGIN, CAPTION, WIDTH = 12, 22, 480

# Dark to bright through blue, magenta and yellow: position along 0..1 -> red, green, blue.
_COLOURS = ((0.0, (8, 8, 30)), (0.35, (70, 20, 120)), (0.65, (220, 60, 90)), (0.85, (250, 170, 60)), (1.0, (255, 250, 200)))


def overview(panels: Sequence[tuple[str, Tensor, Tensor]]) -> Image.Image:
    """Draw (caption, original, decoded) rows: uint8 `[3, H, W]` pictures, or log-mel spectrograms `[bands, frames]`."""
    rows = [(name, *_pair(a, b)) for name, a, b in panels]
    height = MARGIN + sum(CAPTION + left.height + MARGIN for _, left, _ in rows)
    canvas = Image.new("RGB", (3 * MARGIN + 2 * WIDTH, height), "white")
    draw, y = ImageDraw.Draw(canvas), MARGIN
    for name, left, right in rows:
        draw.text((MARGIN, y + 4), f"original ({name})", fill="black")
        draw.text((2 * MARGIN + WIDTH, y + 4), "decoded from tokens", fill="black")
        canvas.paste(left, (MARGIN, y + CAPTION))
        canvas.paste(right, (2 * MARGIN + WIDTH, y + CAPTION))
        y += CAPTION + left.height + MARGIN
    return canvas


def _pair(a: Tensor, b: Tensor) -> tuple[Image.Image, Image.Image]:
    if a.ndim == 2:  # both spectrograms on the original's colour scale
        low, high = float(a.max()) - 9, float(a.max())
        return _spectrogram(a, low, high), _spectrogram(b, low, high)
    return _picture(a), _picture(b)


def _picture(x: Tensor) -> Image.Image:
    image = Image.fromarray(x.permute(1, 2, 0).contiguous().numpy())
    return image.resize((WIDTH, round(WIDTH * image.height / image.width)), Image.Resampling.LANCZOS)


def _spectrogram(mel: Tensor, low: float, high: float) -> Image.Image:
    level = ((mel - low) / (high - low)).clamp(0, 1).flip(0).double().numpy()  # low tones at the bottom
    at = [p for p, _ in _COLOURS]
    rgb = np.stack([np.interp(level, at, [c[i] for _, c in _COLOURS]) for i in range(3)], axis=-1)
    return Image.fromarray(torch.from_numpy(rgb).round().to(torch.uint8).numpy()).resize((WIDTH, 160))
