"""Figures of tokenizers as papers, README files and leaderboards state them: `published/*.yaml`. Imports no torch.

    figures_of("dac-24khz")       # Figure(metric="PESQ", value=3.4, dataset="survey, speech", setting="8 codebooks", ...), ...
    figures_of("bicodec")         # also of tokenizers without a card: `systems()` lists them
    status("snac-44khz")          # "not published where we looked: the README of hubertsiuzdak/snac"

A file of `published/` is a list of tables, each with one source, one data set and one party that measured:

    - source: bytedance/1d-tokenizer, README_TiTok.md       # a paper, a file of a repository, or a command of this library
      by: authors                                           # of the tokenizer; "others": a survey, a peer's table; "here": this project
      dataset: ImageNet val 256
      rows:
        - {of: titok-l32, values: {rFID: 2.21}}
        - {of: mimi, setting: 8 codebooks, kbps: 1.1, values: {PESQ: 2.22}}

`published/index.yaml` names the tokenizers without a card, the cards that share weights, and where figures were looked for in vain.
"""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..codecs.config import ConfigError, Signed, from_mapping
from .parsed import parsed

#: Who measured a figure.
Party = Literal["authors", "others", "here"]
#: The parties, as text shows them.
PARTIES: dict[str, str] = {"authors": "the authors", "others": "others", "here": "this project"}
#: Pixels of the picture for which tokens are counted where a system does not say.
PIXELS = 256 * 256


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Value of one metric, published or measured.

    Attributes:
        metric: its name with unit, e.g. "PESQ-WB", "rFID", "PSNR dB".
        value: in that unit.
        dataset: the media it was measured on.
        source: paper or README that states it, or the command of this library that measured it.
        by: who measured it, one of `PARTIES`.
        setting: how the tokenizer was used where that is not its default, e.g. "8 codebooks"; "".
        kbps: bit rate of that setting in kbit/s; 0: that of the card.
        tokens: tokens of one picture in that setting; 0: those of the card.
    """

    metric: str
    value: float
    dataset: str = ""
    source: str = ""
    by: Party = "authors"
    setting: str = ""
    kbps: float = 0.0
    tokens: int = 0

    @property
    def conditions(self) -> str:
        """Data set, setting and rate on one line."""
        rate = f"{self.kbps:g} kbit/s" if self.kbps else f"{self.tokens} tokens" if self.tokens else ""
        return ", ".join(part for part in (self.dataset, self.setting, rate) if part)


@dataclass(frozen=True, kw_only=True)
class System:
    """A tokenizer without a card.

    Attributes:
        name: unique among systems and cards.
        title: its name in the literature.
        modality: "audio", "image" or "video".
        tokens: of one picture or clip; 0: unknown.
        bits: of one token; 0: unknown.
        kbps: bit rate of sound in kbit/s; 0: unknown, or it has several.
        pixels: of the picture for which `tokens` counts.
    """

    name: str
    title: str
    modality: Literal["audio", "image", "video"]
    tokens: int = 0
    bits: int = 0
    kbps: float = 0.0
    pixels: int = PIXELS


@dataclass(frozen=True, kw_only=True)
class _Row:
    of: str
    values: Mapping[str, Signed]
    setting: str = ""
    kbps: float = 0.0
    tokens: int = 0


@dataclass(frozen=True, kw_only=True)
class _Table:
    source: str
    by: Party
    dataset: str
    rows: tuple[_Row, ...]


@dataclass(frozen=True, kw_only=True)
class _Searched:
    where: str
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Index:
    systems: tuple[System, ...] = ()
    same_weights: Mapping[str, str] = field(default_factory=dict)
    searched: tuple[_Searched, ...] = ()


def figures_of(name: str) -> tuple[Figure, ...]:
    """All figures of a card or system, in the order of the files; of a card that shares weights with another, those of the other."""
    return _all().get(_index().same_weights.get(name, name), ())


def systems() -> Mapping[str, System]:
    """The tokenizers without a card, by name."""
    return {s.name: s for s in _index().systems}


def names() -> tuple[str, ...]:
    """The cards and systems that figures stand of, each once."""
    return tuple(_all())


def status(name: str) -> str:
    """What there is to say of a card without figures; "" if it has some."""
    if figures_of(name):
        return ""
    places = [s.where for s in _index().searched if name in s.names]
    return f"not published where we looked: {'; '.join(places)}" if places else "published figures were not looked for"


def searched() -> Mapping[str, str]:
    """Card -> where figures of it were looked for and not found."""
    return {name: s.where for s in _index().searched for name in s.names}


def same_weights() -> Mapping[str, str]:
    """Card -> another card with the same weights."""
    return _index().same_weights


@functools.cache
def _index() -> _Index:
    return from_mapping(_Index, _tables()["index.yaml"] or {}, path="index.yaml")


@functools.cache
def _all() -> Mapping[str, tuple[Figure, ...]]:
    found: dict[str, list[Figure]] = {}
    for name, figure in _figures():
        found.setdefault(name, []).append(figure)
    return {name: tuple(own) for name, own in found.items()}


def _figures() -> Iterator[tuple[str, Figure]]:
    for file, entries in _tables().items():
        for i, entry in enumerate(entries or [] if file != "index.yaml" else []):
            table = from_mapping(_Table, entry, path=f"{file}[{i}]")
            for row in table.rows:
                if not row.values:
                    raise ConfigError(f"{file}[{i}]: the row of {row.of} has no values; leave it out.")
                for metric, value in row.values.items():
                    yield row.of, Figure(
                        metric=metric, value=value, dataset=table.dataset, source=table.source, by=table.by,
                        setting=row.setting, kbps=row.kbps, tokens=row.tokens,
                    )  # fmt: skip


@functools.cache
def _tables() -> Mapping[str, Any]:
    """File of `published/` -> its values."""
    return parsed("published")
