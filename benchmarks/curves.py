"""Curves on two logarithmic axes as SVG, and their exponents.

slope = exponent([(1, 0.2), (10, 2.1), (100, 20.5)])       # about 1: proportional
svg = drawing({"ours": points, "peer": others}, x="seconds of sound", y="seconds")
"""

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

#: Size and value, both above 0.
Point = tuple[float, float]
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 420, 70, 20, 20, 120
#: Colours that colour-blind readers tell apart (Okabe and Ito).
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")


def exponent(points: Sequence[Point]) -> float:
    """Slope of log(value) over log(size), least squares over the points from the middle one on.

    Raises:
        ValueError: fewer than two sizes, or a number that is not above 0.
    """
    if len({n for n, _ in points}) < 2 or min(min(p) for p in points) <= 0:
        raise ValueError(f"an exponent needs two sizes and numbers above 0, got {list(points)}.")
    chosen = sorted(points)[min(len(points) // 2, len(points) - 2) :]
    logs = [(math.log(n), math.log(v)) for n, v in chosen]
    mean_x, mean_y = (sum(column) / len(logs) for column in zip(*logs, strict=True))
    return sum((a - mean_x) * (b - mean_y) for a, b in logs) / sum((a - mean_x) ** 2 for a, _ in logs)


def drawing(series: Mapping[str, Sequence[Point]], *, x: str, y: str) -> str:
    """An SVG picture of the curves, each with its exponent in the legend."""
    points = [p for some in series.values() for p in some]
    if not points:
        raise ValueError("there is no point to draw.")
    (left, right), (low, high) = _span([n for n, _ in points]), _span([v for _, v in points])

    def place(n: float, v: float) -> tuple[float, float]:
        across = (math.log10(n) - left) / (right - left) * (_WIDTH - _LEFT - _RIGHT)
        up = (math.log10(v) - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
        return round(_LEFT + across, 1), round(_HEIGHT - _BOTTOM - up, 1)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
    ]
    for n in _decades(left, right):
        at, _ = place(n, 10**low)
        lines += [_line(at, _TOP, at, _HEIGHT - _BOTTOM), _text(at, _HEIGHT - _BOTTOM + 16, f"{n:g}", "middle")]
    for v in _decades(low, high):
        _, at = place(10**left, v)
        lines += [_line(_LEFT, at, _WIDTH - _RIGHT, at), _text(_LEFT - 6, at + 4, f"{v:g}", "end")]
    lines += [_text((_LEFT + _WIDTH) / 2, _HEIGHT - _BOTTOM + 34, x, "middle"), _text(6, 14, y, "start")]
    for i, (name, some) in enumerate(series.items()):
        colour, at = _COLOURS[i % len(_COLOURS)], _HEIGHT - _BOTTOM + 54 + 16 * i
        places = [place(*p) for p in sorted(some)]
        lines.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{" ".join(f"{a},{b}" for a, b in places)}"/>')
        lines += [f'<circle cx="{a}" cy="{b}" r="3" fill="{colour}"/>' for a, b in places]
        steep = f", exponent {exponent(some):.2f}" if len(some) > 1 else ""
        lines.append(f'<rect x="{_LEFT}" y="{at - 9}" width="20" height="4" fill="{colour}"/>')
        lines.append(_text(_LEFT + 28, at, name + steep, "start"))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Exponents of ten around the values, never equal."""
    low, high = math.log10(min(values)), math.log10(max(values))
    room = max(0.05 * (high - low), 0.05)
    return low - room, high + room


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten within a span, or its rounded ends where there are fewer than two."""
    found = [10.0**k for k in range(math.ceil(low), math.floor(high) + 1)]
    return found if len(found) > 1 else [float(f"{10**k:.2g}") for k in (low + 0.02, high - 0.02)]


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#ddd"/>'


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>'
