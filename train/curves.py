"""`OUT/curves.png`: the figures of a run over its steps, drawn from `metrics.jsonl`."""

import json
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .drawing import Line, lines

#: Figures that get a panel, by the part of their name before the slash; "codebook" of the first codebook only.
_PANELS = ("loss", "discriminator", "codebook", "grad_norm", "lr")
#: Most points of a line; more are averaged.
_POINTS = 300


def write_curves(out: Path) -> Path | None:
    """Draw the curves of a run; returns the picture's path, or None if the run has not logged two steps."""
    from PIL import Image

    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    panels = []
    for name in _names(records):
        own = {"training": name, "validation": f"valid/{name.removeprefix('loss/').removeprefix('valid/')}"}
        drawn = {label: line for label, key in own.items() if (line := _line(records, key)) is not None}
        if drawn:
            panels.append((name, drawn))
    if not panels:
        return None
    path = out / "curves.png"
    Image.fromarray(lines(panels, x="step")).save(path)
    return path


def _names(records: Iterable[dict[str, float]]) -> list[str]:
    names = dict.fromkeys(k for r in records for k in r if k.split("/")[0] in _PANELS)
    kept = [n for n in names if not n.startswith("codebook/") or n.endswith("_0")]
    only_valid = dict.fromkeys(k for r in records for k in r if k.startswith("valid/"))
    known = {n.removeprefix("loss/") for n in kept}
    more = [n for n in only_valid if n.removeprefix("valid/") not in known and not n.startswith("valid/usage")]
    return [*kept, *more]


def _line(records: Iterable[dict[str, float]], key: str) -> Line | None:
    points = [(r["step"], r[key]) for r in records if math.isfinite(r.get(key, math.nan))]
    if len(points) < 2:
        return None
    steps, values = np.array(points, np.float64).T
    if len(steps) > _POINTS:
        parts = np.array_split(np.arange(len(steps)), _POINTS)
        steps, values = (np.array([row[p].mean() for p in parts]) for row in (steps, values))
    return Line(steps, values)
