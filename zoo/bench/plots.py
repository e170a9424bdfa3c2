"""Rate-distortion plots of a bench: a metric over the rate, one curve for each tokenizer or classical codec; PNG and SVG."""

import io
from collections.abc import Collection, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from ...codecs.files import write_bytes, write_text
from ...train.drawing import COLOURS, Line, around, lines, ticks
from ..evaluate.report import DIRECTIONS
from .table import Row, columns_of, number

#: Rates of which one is the x axis: the first that the rows have.
_RATES = ("bits a pixel", "kbit/s")
_FILES = ("rate_distortion.png", "rate_distortion.svg")
#: Width and height of a panel of the SVG, and the room left of it, above and below.
_WIDE, _HIGH, _LEFT, _TOP, _BELOW = 360, 200, 60, 28, 44

Panels = list[tuple[str, dict[str, Line]]]


def panels_of(rows: Sequence[Row]) -> tuple[str, Panels]:
    """Name of the rate, and a panel for each metric with its curves by name; no panels if the rates do not differ.

    Rows without a rate or the metric are left out, and those of wrong ids; those of one name are joined in order of rate. A tokenizer
    with an entropy prior has a second curve, "NAME, coded", over the bits of its coded files.
    """
    rows = [r for r in rows if not r.perturbed]
    rate = next(iter(columns_of(rows, dict.fromkeys(_RATES))), "")
    if len({r.values[rate] for r in rows if rate in r.values}) < 2:
        return rate, []
    out: Panels = []
    for metric in columns_of(rows, {n: v for n, v in DIRECTIONS.items() if n not in (*_RATES, *_OTHER_RATES)}):
        curves: dict[str, set[tuple[float, float]]] = {}
        for r in rows:
            for name, bits in ((r.tokenizer, rate), (f"{r.tokenizer}, coded", f"{rate}, coded")):
                if bits in r.values and metric in r.values:
                    curves.setdefault(name, set()).add((r.values[bits], r.values[metric]))
        out.append((metric, {name: Line(*np.array(sorted(places)).T) for name, places in curves.items()}))
    return rate, out


_OTHER_RATES = ("tokens a second", "tokens a megapixel", "tokens a frame", "kbit/s, coded", "bits a pixel, coded")


def write(rows: Sequence[Row], out: Path) -> None:
    """Write the plots into the folder `out`; no files if the rates do not differ."""
    from PIL import Image

    rate, panels = panels_of(rows)
    if not panels:
        for name in _FILES:
            (out / name).unlink(missing_ok=True)  # of an earlier bench in the same folder
        return
    buffer = io.BytesIO()
    Image.fromarray(lines(panels, x=rate, marks=True)).save(buffer, "PNG")
    write_bytes(out / _FILES[0], buffer.getvalue())
    write_text(out / _FILES[1], svg(panels, rate))


def svg(panels: Panels, rate: str, *, columns: int = 3) -> str:
    """The panels as an SVG drawing; a point shows its values under the mouse."""
    columns = min(columns, len(panels))
    names = list(dict.fromkeys(n for _, drawn in panels for n in drawn))
    colours = {n: "#" + "".join(f"{c:02x}" for c in COLOURS[i % len(COLOURS)]) for i, n in enumerate(names)}
    across, down = _LEFT + _WIDE + 20, _TOP + _HIGH + _BELOW
    wide, high = columns * across, -(-len(panels) // columns) * down + 18 * len(names) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" font-family="sans-serif" font-size="12">',
        f'<rect width="{wide}" height="{high}" fill="white"/>',
    ]
    for i, (metric, drawn) in enumerate(panels):
        left, top = i % columns * across + _LEFT, i // columns * down + _TOP
        parts += [f'<g transform="translate({left} {top})">', *_panel(metric, drawn, rate, colours), "</g>"]
    for i, name in enumerate(names):
        y = high - 18 * (len(names) - i)
        parts.append(f'<circle cx="{_LEFT}" cy="{y}" r="5" fill="{colours[name]}"/>')
        parts.append(f'<text x="{_LEFT + 12}" y="{y + 4}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def panel_svg(
    metric: str, drawn: Mapping[str, Line], rate: str, colours: Mapping[str, str], *, dashed: Collection[str] = ()
) -> str:
    """One panel as a drawing of its own, without ground and legend, whose text takes the colour of its surroundings.

    Args:
        metric, drawn, rate: as `panels_of` returned them.
        colours: name of a curve -> its colour.
        dashed: names of curves that are drawn with dashes.
    """
    wide, high = _LEFT + _WIDE + 20, _TOP + _HIGH + _BELOW
    words = escape(f"{metric} over {rate}; the table holds the values")
    parts = [
        f'<svg viewBox="0 0 {wide} {high}" role="img" aria-label="{words}" font-family="system-ui, sans-serif" font-size="13">',
        f'<g transform="translate({_LEFT} {_TOP})">',
        *_panel(metric, drawn, rate, colours, dashed),
    ]
    return "\n".join([*parts, "</g></svg>"])


def _panel(
    metric: str, drawn: Mapping[str, Line], rate: str, colours: Mapping[str, str], dashed: Collection[str] = ()
) -> list[str]:
    x_axis, y_axis = around([line.x for line in drawn.values()]), around([line.y for line in drawn.values()])

    def across(value: float) -> float:
        return round((value - x_axis.low) / (x_axis.high - x_axis.low) * _WIDE, 2)

    def down(value: float) -> float:
        return round(_HIGH - (value - y_axis.low) / (y_axis.high - y_axis.low) * _HIGH, 2)

    arrow = {"higher": "↑", "lower": "↓"}[DIRECTIONS[metric][1]]
    parts = [
        f'<text y="-10" font-size="14">{escape(metric)} {arrow}</text>',
        f'<rect width="{_WIDE}" height="{_HIGH}" fill="none" stroke="#888"/>',
        f'<text x="{_WIDE / 2}" y="{_HIGH + 34}" text-anchor="middle">{escape(rate)}</text>',
    ]
    for v in ticks(x_axis.low, x_axis.high, 6):
        parts.append(f'<text x="{across(v)}" y="{_HIGH + 17}" text-anchor="middle">{v:g}</text>')
        parts.append(f'<path d="M{across(v)} {_HIGH}v4" stroke="#888"/>')
    for v in ticks(y_axis.low, y_axis.high, 6):
        parts.append(f'<text x="-8" y="{down(v) + 4}" text-anchor="end">{v:g}</text><path d="M0 {down(v)}h-4" stroke="#888"/>')
    for name, line in drawn.items():
        places = [(across(a), down(b)) for a, b in zip(line.x.tolist(), line.y.tolist(), strict=True)]
        path = " ".join(f"{a},{b}" for a, b in places)
        dash = ' stroke-dasharray="5 4"' if name in dashed else ""
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colours[name]}" stroke-width="2"{dash}/>')
        for (a, b), x, y in zip(places, line.x.tolist(), line.y.tolist(), strict=True):
            about = escape(f"{name}: {number(x)} {rate}, {metric} {number(y)}")
            parts.append(f'<circle cx="{a}" cy="{b}" r="4" fill="{colours[name]}"><title>{about}</title></circle>')
    return parts
