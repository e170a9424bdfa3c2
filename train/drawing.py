"""Small pictures side by side on one labelled sheet: rows and columns with names, axes with numbers, drawn with PIL.

    sheet([originals, reconstructions], rows=["original", "reconstruction"], columns=names, x=Axis("time (s)", 0, 1.2))

Pictures are uint8 `[H, W, 3]`, rows of pixels from top to bottom.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

_TEXT, _SMALL, _GAP, _TICK = 15, 12, 10, 5
_INK, _LINE = (20, 20, 20), (110, 110, 110)


@dataclass(frozen=True)
class Axis:
    """Numbers along one side of a picture: `low` at its left or lower edge, `high` at the other."""

    label: str
    low: float
    high: float


@dataclass(frozen=True)
class Scale:
    """What colours mean: `strip` uint8 `[N, 3]` from the lowest value to the highest, and the axis of these."""

    strip: np.ndarray
    axis: Axis


def sheet(
    cells: Sequence[Sequence[np.ndarray]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    x: Axis | None = None,
    y: Axis | None = None,
    scale: Scale | None = None,
    note: str = "",
    width: int = 1800,
) -> np.ndarray:
    """Draw pictures of one size with names and axes.

    Args:
        cells: one list a row, of as many pictures as `columns` has names.
        rows, columns: names; of long ones the middle is left out.
        x, y: axes of every picture.
        scale: draw a colour bar with its values.
        note: a line at the bottom.
        width: approximate largest width of the sheet; more columns are wrapped below.

    Returns:
        uint8 `[H, W, 3]`, dark on white.
    """
    from PIL import Image, ImageDraw

    high, wide = cells[0][0].shape[:2]
    left = _GAP + max(_length(name, _TEXT) for name in rows) + _GAP + (_y_room(y) if y else 0)
    right = _GAP + (_scale_room(scale) if scale else 0)
    per_line = max(1, min(len(columns), (width - left - right) // (wide + _GAP)))
    lines = [range(i, min(i + per_line, len(columns))) for i in range(0, len(columns), per_line)]
    below = (_TICK + 2 * _SMALL + 8) if x else 0
    line_high = _TEXT + 8 + len(rows) * (high + _GAP) + below + _GAP
    whole = (left + per_line * (wide + _GAP) + right, _GAP + len(lines) * line_high + (2 * _SMALL if note else 0))
    image = Image.new("RGB", whole, "white")
    draw = ImageDraw.Draw(image)
    if note:
        draw.text((left, whole[1] - 2 * _SMALL), note, _INK, _font(_SMALL))
    for number, line in enumerate(lines):
        top = _GAP + number * line_high
        for place, column in enumerate(line):
            at = left + place * (wide + _GAP)
            draw.text((at + wide / 2, top), _fit(columns[column], wide, _TEXT), _INK, _font(_TEXT), anchor="ma")
            for r in range(len(rows)):
                y0 = top + _TEXT + 8 + r * (high + _GAP)
                image.paste(Image.fromarray(cells[r][column]), (at, y0))
                draw.rectangle((at - 1, y0 - 1, at + wide, y0 + high), outline=_LINE)
                if y and not place:
                    _y_axis(image, y, at - 1, y0, high)
                if not place:
                    draw.text((_GAP, y0 + high / 2), rows[r], _INK, _font(_TEXT), anchor="lm")
            if x:
                _x_axis(image, x, at, top + _TEXT + 8 + len(rows) * (high + _GAP) - _GAP, wide)
        if scale and number == 0:
            _bar(image, scale, left + per_line * (wide + _GAP) + _GAP, top + _TEXT + 8, high)
    return np.asarray(image)


@dataclass(frozen=True)
class Line:
    """A curve: float `[N]` places along x, rising, and `[N]` values, all finite."""

    x: np.ndarray
    y: np.ndarray


#: Colours of curves, in order; those of more than there are colours start again.
COLOURS = (
    (31, 90, 180), (214, 96, 20), (40, 140, 60), (150, 60, 160), (120, 90, 40),
    (20, 150, 160), (200, 50, 90), (110, 110, 110), (150, 150, 20), (20, 60, 90),
)  # fmt: skip


def lines(
    panels: Sequence[tuple[str, dict[str, Line]]],
    *,
    x: str,
    columns: int = 3,
    size: tuple[int, int] = (180, 360),
    marks: bool = False,
) -> np.ndarray:
    """Draw curves in panels with names, axes and a legend.

    Args:
        panels: name and, by label, the curves of each.
        x: label of the x axes.
        columns: panels side by side.
        size: height and width of a panel's area.
        marks: draw a dot at each place, also of curves of one; the legend then stands below all panels.

    Returns:
        uint8 `[H, W, 3]`, on white.
    """
    from PIL import Image, ImageDraw

    high, wide = size
    columns = min(columns, len(panels))
    axes = [around([line.y for line in drawn.values()]) for _, drawn in panels]
    left = _GAP + max(_y_room(axis) for axis in axes)
    across, down = left + wide + _GAP, _TEXT + 8 + high + _TICK + 2 * _SMALL + 8 + _GAP
    names = list(dict.fromkeys(label for _, drawn in panels for label in drawn))
    colours = {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(names)}
    above = _GAP + -(-len(panels) // columns) * down
    image = Image.new("RGB", (columns * across, above + (len(names) * (_SMALL + 6) + _GAP if marks else 0)), "white")
    draw = ImageDraw.Draw(image)
    for number, ((name, drawn), vertical) in enumerate(zip(panels, axes, strict=True)):
        row, column = divmod(number, columns)
        at, top = left + column * across, _GAP + row * down + _TEXT + 8
        draw.text((at, top - 8), _fit(name, wide // 2, _TEXT), _INK, _font(_TEXT), anchor="ls")
        level = _across([line.x for line in drawn.values()], x, marks=marks)
        end = at + wide
        for label, line in reversed(drawn.items()):
            if not marks:
                draw.text((end, top - 8), label, colours[label], _font(_SMALL), anchor="rs")
                end -= _length(label, _SMALL) + 12
            places = [
                (at + (a - level.low) / (level.high - level.low) * (wide - 1),
                 top + high - 1 - (b - vertical.low) / (vertical.high - vertical.low) * (high - 1))
                for a, b in zip(line.x.tolist(), line.y.tolist(), strict=True)
            ]  # fmt: skip
            draw.line(places, fill=colours[label], width=2)
            for a, b in places if marks else ():
                draw.ellipse((a - 4, b - 4, a + 4, b + 4), fill=colours[label])
        draw.rectangle((at - 1, top - 1, at + wide, top + high), outline=_LINE)
        _y_axis(image, vertical, at - 1, top, high)
        _x_axis(image, level, at, top + high, wide)
    for i, label in enumerate(names if marks else ()):
        draw.text((left, above + i * (_SMALL + 6)), label, colours[label], _font(_SMALL))
    return np.asarray(image)


def _across(places: Sequence[np.ndarray], label: str, *, marks: bool) -> Axis:
    """The axis of steps, at least one long; with dots, which must not lie on the edge, that of any numbers."""
    if marks:
        return replace(around(places), label=label)
    steps = np.concatenate(places)
    return Axis(label, float(steps.min()), float(max(steps.max(), steps.min() + 1)))


def around(values: Sequence[np.ndarray]) -> Axis:
    """An axis without label that holds all values, with a little room."""
    whole = np.concatenate(values)
    low, high = float(whole.min()), float(whole.max())
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return Axis("", low - room, high + room)


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers between `low` and `high`, at most `most` of them: multiples of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / max(1, most - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return [round(i * step, 10) for i in range(first, last + 1)]


# --- parts ------------------------------------------------------------------------------------------------------------


@functools.cache
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _length(text: str, size: int) -> int:
    return math.ceil(_font(size).getlength(text))


def _fit(text: str, wide: int, size: int) -> str:
    """`text`, or its first six letters and as much of its end as fits: names of files differ at their ends."""
    if _length(text, size) <= wide:
        return text
    head, tail = text[:6], text[6:]
    while tail and _length(f"{head}...{tail}", size) > wide:
        tail = tail[1:]
    return f"{head}...{tail}"


def _numbers(axis: Axis, most: int) -> list[tuple[float, str]]:
    return [(value, f"{value:g}") for value in ticks(axis.low, axis.high, most)]


def _y_room(axis: Axis) -> int:
    return _SMALL + 10 + max(_length(text, _SMALL) for _, text in _numbers(axis, 6)) + _TICK + 4


def _scale_room(scale: Scale) -> int:
    return 14 + _y_room(scale.axis)


def _x_axis(image: Any, axis: Axis, left: int, top: int, wide: int) -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(image)
    for value, text in _numbers(axis, max(2, wide // 55)):
        at = left + (value - axis.low) / (axis.high - axis.low) * (wide - 1)
        draw.line((at, top, at, top + _TICK), fill=_LINE)
        draw.text((at, top + _TICK + 2), text, _INK, _font(_SMALL), anchor="ma")
    draw.text((left + wide / 2, top + _TICK + _SMALL + 6), axis.label, _INK, _font(_SMALL), anchor="ma")


def _y_axis(image: Any, axis: Axis, edge: int, top: int, high: int, *, side: int = -1) -> None:
    """Numbers and label beside a picture whose edge is at `edge`: left of it (`side` -1) or right (1)."""
    from PIL import Image, ImageDraw

    draw = ImageDraw.Draw(image)
    for value, text in _numbers(axis, max(2, high // 28)):
        at = top + high - 1 - (value - axis.low) / (axis.high - axis.low) * (high - 1)
        draw.line((edge, at, edge + side * _TICK, at), fill=_LINE)
        draw.text((edge + side * (_TICK + 3), at), text, _INK, _font(_SMALL), anchor="rm" if side < 0 else "lm")
    note = Image.new("L", (_length(axis.label, _SMALL) + 2, _SMALL + 6), 255)
    ImageDraw.Draw(note).text((1, 0), axis.label, 0, _font(_SMALL))
    turned = note.rotate(90, expand=True)  # read from bottom to top
    middle = edge + side * (_y_room(axis) - _SMALL // 2 - 4)
    image.paste(turned.convert("RGB"), (middle - turned.width // 2, top + (high - turned.height) // 2))


def _bar(image: Any, scale: Scale, left: int, top: int, high: int) -> None:
    from PIL import Image, ImageDraw

    strip = Image.fromarray(np.ascontiguousarray(scale.strip[::-1, None])).resize((14, high), Image.Resampling.BILINEAR)
    image.paste(strip, (left, top))
    ImageDraw.Draw(image).rectangle((left - 1, top - 1, left + 14, top + high), outline=_LINE)
    _y_axis(image, scale.axis, left + 14, top, high, side=1)
