"""Pictures that the page and the overview draw: token grids, spectrograms, differences.

Letters: C channels, H W pixels, T samples, K codebooks, L positions.
"""

import base64
import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...codecs.tokens import Tokens

# Dark to bright through blue, magenta and yellow: position along 0..1 -> red, green, blue.
_COLOURS = ((0.0, (8, 8, 30)), (0.35, (70, 20, 120)), (0.65, (220, 60, 90)), (0.85, (250, 170, 60)), (1.0, (255, 250, 200)))
#: Positions of a sequence without a grid in one row.
_ROW = 64
#: A position that a grid of another size has no id for.
_NONE = -1


def heat(level: Tensor) -> Image.Image:
    """A picture of numbers `[H, W]` in 0..1, dark to bright."""
    values = level.clamp(0, 1).double().numpy()
    at = [p for p, _ in _COLOURS]
    rgb = np.stack([np.interp(values, at, [c[i] for _, c in _COLOURS]) for i in range(3)], axis=-1)
    return Image.fromarray(torch.from_numpy(rgb).round().to(torch.uint8).numpy())


def picture(x: Tensor) -> Image.Image:
    """uint8 `[3, H, W]` as a PIL picture."""
    return Image.fromarray(x.permute(1, 2, 0).contiguous().numpy())


def spectrogram(mel: Tensor, top: float, size: tuple[int, int], depth: float = 9.0) -> Image.Image:
    """Log mel spectrum `[bands, frames]`, low tones at the bottom; the brightest colour is `top`, the darkest `depth` below."""
    return heat((mel.flip(0) - top + depth) / depth).resize(size)


@dataclass(frozen=True)
class Panel:
    """A rectangle of ids of one codebook, or of all codebooks one below the other.

    Attributes:
        title: what stands below it.
        ids: `[rows, columns]`; -1 where there is no id.
        first: position of its first id.
        books: True where each row is a codebook and each column a position.
        codebook: whose ids these are, where a row is no codebook.
    """

    title: str
    ids: np.ndarray
    first: int = 0
    books: bool = False
    codebook: int = 0

    def image(self, mark: tuple[int, int] | None = None) -> Image.Image:
        """One pixel for each id, coloured by id; `mark`, (codebook, position), is white."""
        rgb = id_colours(self.ids)
        if mark is not None and (cell := self.cell(*mark)) is not None:
            rgb[cell] = 255
        return Image.fromarray(rgb)

    def cell(self, codebook: int, position: int) -> tuple[int, int] | None:
        """Row and column of a token; None: it is not in this panel."""
        rows, columns = self.ids.shape
        at = position - self.first
        if self.books:
            return (codebook, at) if codebook < rows and 0 <= at < columns else None
        inside = codebook == self.codebook and 0 <= at < rows * columns
        return divmod(at, columns) if inside else None


def id_colours(ids: np.ndarray) -> np.ndarray:
    """Colours uint8 `[..., 3]` of ids: equal ids alike, neighbouring ids far apart; grey where there is none (-1)."""
    hue = (ids * 0.6180339887) % 1  # steps of the golden ratio never repeat
    light = 0.55 + 0.3 * ((ids * 0.7548776662) % 1)
    k = np.stack([(hue * 6 + offset) % 6 for offset in (5, 3, 1)], axis=-1)
    rgb = light[..., None] * (1 - 0.65 * np.clip(np.minimum(k, 4 - k), 0, 1))
    return np.where((ids < 0)[..., None], 235, np.round(rgb * 255)).astype(np.uint8)


def panels(tokens: Tokens, kind: str) -> list[Panel]:
    """The ids of one item as panels.

    Sound: one panel of K rows. Pictures: one panel for each codebook; for each scale too where there are several (VAR); in rows of 64
    where positions have no place in the picture.
    """
    ids, length = tokens.ids[0].numpy(), int(tokens.lengths[0])
    if kind == "audio":
        return [Panel(f"{tokens.num_codebooks} codebooks x {length} positions", ids[:, :length], books=True)]
    names = tokens.names or tuple(f"codebook {k}" for k in range(tokens.num_codebooks))
    out = []
    for k, name in enumerate(names):
        grids = _grids(tokens, k, length)
        for first, (h, w) in grids:
            row = ids[k, first : first + h * w]
            row = np.pad(row, (0, h * w - len(row)), constant_values=_NONE)
            title = name if len(grids) == 1 else f"{name}: {h} x {w}"
            out.append(Panel(title, row.reshape(h, w), first, codebook=k))
    return out


def _grids(tokens: Tokens, k: int, length: int) -> list[tuple[int, tuple[int, int]]]:
    """First position and (h, w) of each rectangle of codebook k."""
    if tokens.book_grids is not None:
        h, w = (int(n) for n in tokens.book_grids[0, k])
        return [(0, (h, w))]
    if tokens.scales:
        out, first = [], 0
        for h, w in tokens.scales:
            if first < length:
                out.append((first, (h, w)))
            first += h * w
        return out
    if len(tokens.grid) >= 2 and int(np.prod(tokens.grid)) == length:
        *rows, w = tokens.grid
        return [(0, (int(np.prod(rows)), w))]
    columns = min(_ROW, length)
    return [(0, (-(-length // columns), columns))]


def difference(a: Tensor, b: Tensor, gain: float = 4.0) -> Image.Image:
    """Largest difference of the three colours of uint8 pictures, `gain` times as bright as it is."""
    return heat((a.int() - b.int()).abs().amax(0) / 255 * gain)


# --- as text for a page ---------------------------------------------------------------------------------------------------


def image_uri(image: Image.Image) -> str:
    """A picture as a `data:` address, without loss."""
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=3)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def sound_uri(samples: Tensor, rate_hz: int) -> str:
    """Float samples `[C, T]` as a `data:` address of a 16-bit WAV file, clipped to -1..1."""
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, samples.clamp(-1, 1).T.numpy(), rate_hz, format="WAV", subtype="PCM_16")
    return "data:audio/wav;base64," + base64.b64encode(out.getvalue()).decode()
