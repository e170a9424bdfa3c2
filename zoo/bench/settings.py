"""What a bench measures: the settings of the whole, and the points of a sweep, each with its options.

    points_of(["codebooks=1,2,4"])     # Point(""), Point("codebooks=1"), Point("codebooks=2"), Point("codebooks=4")
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...codecs.config import ConfigError
from ..choices import Chosen, chosen
from ..evaluate.perturb import Perturb

#: Most values in the sweeps of one bench: each is a pass over the whole set.
MOST_POINTS = 64


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a bench.

    Attributes:
        sweeps: each "OPTION=VALUE,VALUE,...": one more pass for each value, beside that with the defaults.
        limit: use at most this many files (0: all).
        perturb: one more pass, decoded from ids of which some are replaced (pFID); None: none.
        extra: names of metrics of `zoo/evaluate/speech_models.py`, whose networks come from optional packages.
        device, dtype: of the tokenizers; see `pick_device`, `pick_dtype`.
        threads: of PyTorch on the CPU (0: as it is).
        rounds: timed calls of encode and of decode, of which the median counts.
        cost: measure parameters, operations, times and memory too.
    """

    sweeps: tuple[str, ...] = ()
    limit: int = 0
    perturb: Perturb | None = None
    extra: tuple[str, ...] = ()
    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 0
    rounds: int = 5
    cost: bool = True

    def __post_init__(self) -> None:
        if self.limit < 0 or self.threads < 0 or self.rounds < 1:
            given = f"limit is {self.limit}, threads {self.threads}, rounds {self.rounds}"
            raise ConfigError(f"{given}; allowed: 0 or more, 0 or more, 1 or more.")
        points_of(self.sweeps)
        if self.extra:
            from ..evaluate.speech_models import EXTRA

            if wrong := [name for name in self.extra if name not in EXTRA]:
                raise ConfigError(f"no metric is called {wrong[0]!r:.80}; allowed: {', '.join(EXTRA)}.")

    def as_json(self) -> dict[str, Any]:
        """The settings as a mapping for JSON."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Settings":
        """The settings that `as_json` returned."""
        perturb = values["perturb"]
        return cls(**{
            **values,
            "sweeps": tuple(values["sweeps"]),
            "extra": tuple(values["extra"]),
            "perturb": None if perturb is None else Perturb(**perturb),
        })  # fmt: skip


@dataclass(frozen=True)
class Point:
    """One value of a sweep; without an option: the tokenizer's defaults."""

    option: str = ""
    value: str = ""

    @property
    def label(self) -> str:
        """`OPTION=VALUE`; "" for the defaults."""
        return f"{self.option}={self.value}" if self.option else ""

    def options(self, tokenizer: Any) -> Chosen:
        """The checked options of `encode` and `decode`; ConfigError if the tokenizer does not take them."""
        if self.option == "codebooks":
            return chosen(tokenizer, {}, codebooks=int(self.value))
        if self.option == "positions":
            return chosen(tokenizer, {}, positions=int(self.value))
        return chosen(tokenizer, {self.option: self.value} if self.option else {})


def points_of(sweeps: Sequence[str]) -> list[Point]:
    """The points of sweeps: the defaults first, then each value of each sweep once, in the order given.

    Raises:
        ConfigError: a sweep that is not OPTION=VALUE,VALUE..., a number of codebooks or positions below 1, too many values.
    """
    points = [Point()]
    for sweep in sweeps:
        option, sign, values = sweep.partition("=")
        option = "codebooks" if option.strip() == "num_codebooks" else option.strip()
        texts = [v.strip() for v in values.split(",")]
        if not sign or not option or not all(texts):
            raise ConfigError(f"a sweep is OPTION=VALUE,VALUE,..., such as codebooks=1,2,4; got {sweep!r:.200}.")
        for text in texts:
            if option in ("codebooks", "positions") and not re.fullmatch(r"[1-9]\d{0,8}", text):
                raise ConfigError(f"sweep {option}: {text!r:.80} is no whole number of 1 or more.")
            points += [Point(option, text)] if Point(option, text) not in points else []
    if len(points) > MOST_POINTS:
        raise ConfigError(f"the sweeps have {len(points) - 1} values; at most {MOST_POINTS - 1}, each is a pass over the set.")
    return points


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The set of media that a bench is about.

    Attributes:
        files: those of the bench's modality, in order.
        sha256: hash of their names and sizes in bytes, in order.
        size: of all, in bytes.
    """

    files: tuple[Path, ...]
    sha256: str
    size: int

    def as_json(self) -> dict[str, Any]:
        """Number of items, bytes and hash."""
        return {"items": len(self.files), "bytes": self.size, "sha256": self.sha256}


def corpus_of(data: Sequence[str], modality: str, limit: int = 0, *, films: bool = False) -> Corpus:
    """The files of one modality that `data` names; `films`: those below folders too.

    Raises:
        FileNotFoundError: there are none.
    """
    from ..evaluate.run import media_files

    files = media_files(list(data), modality, films=films)
    files = files[:limit] if limit else files
    if not any(path.exists() for path in files):
        raise FileNotFoundError(f"no {modality} files in {', '.join(data)}.")
    sizes = [path.stat().st_size if path.exists() else 0 for path in files]  # the pass over the set lists those that are missing
    lines = "".join(f"{path.name}\t{size}\n" for path, size in zip(files, sizes, strict=True))
    return Corpus(files=tuple(files), sha256=hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest(), size=sum(sizes))
