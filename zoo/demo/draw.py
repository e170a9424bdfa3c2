"""The demo's picture: originals on the left, reconstructions on the right, with captions."""

from collections.abc import Sequence

from PIL import Image, ImageDraw
from torch import Tensor

from .shapes import picture, spectrogram

MARGIN, CAPTION, WIDTH = 12, 22, 480

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
        top = float(a.max())
        return spectrogram(a, top, (WIDTH, 160)), spectrogram(b, top, (WIDTH, 160))
    return _picture(a), _picture(b)


def _picture(x: Tensor) -> Image.Image:
    image = picture(x)
    return image.resize((WIDTH, round(WIDTH * image.height / image.width)), Image.Resampling.LANCZOS)
