"""The best weights of a run by one figure of its validation, and when a run has stopped improving.

    figures: {pesq: {}}                             # computed at validation, beside losses, psnr and si_sdr; see figures/
    best: {figure: pesq, patience: 5}

Which step was best follows from `metrics.jsonl` alone, so a resumed run knows it too.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from ..codecs.config import ConfigError

#: Figures that every validation has, as far as they fit the media: more is better.
OWN_FIGURES = ("psnr", "si_sdr", "accuracy")


@dataclass(frozen=True, kw_only=True)
class BestConfig:
    """Which weights are kept in `OUT/best`.

    Attributes:
        figure: of the validation, as it stands in `metrics.jsonl` after "valid/": "total", the name of a loss, "psnr" (pictures) or
            "si_sdr" (sound), in dB, "accuracy" (maps of classes), or a name under `figures`. None: nothing is kept.
        patience: end the run after this many validations in a row without a better value; 0: never.
    """

    figure: str | None = "total"
    patience: int = 0

    def __post_init__(self) -> None:
        if self.patience and self.figure is None:
            raise ConfigError(f"best.patience is {self.patience}, but best.figure names no figure to wait for.")


@dataclass(frozen=True)
class Best:
    """The best validation so far.

    Attributes:
        step: of it.
        value: of the figure.
        since: validations after it.
    """

    step: int
    value: float
    since: int


def best_of(out: Path, figure: str, *, higher: bool) -> Best | None:
    """The best validation in `OUT/metrics.jsonl`; None if there is none yet.

    Args:
        out: folder of the run.
        figure: as in `BestConfig`.
        higher: whether more of it is better.
    """
    key, found = f"valid/{figure}", list[tuple[int, float]]()
    path = out / "metrics.jsonl"
    for line in path.read_text().splitlines() if path.is_file() else ():
        values = json.loads(line)
        if math.isfinite(values.get(key, math.nan)):
            found.append((values["step"], values[key]))
    if not found:
        return None
    sign = -1 if higher else 1
    place = min(range(len(found)), key=lambda i: sign * found[i][1])  # the first of equal ones
    return Best(*found[place], len(found) - 1 - place)
