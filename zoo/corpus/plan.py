"""The types of what a corpus writes about itself. Every JSON file of one is read into these dataclasses before a value is used."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ...codecs.config import ConfigError, from_mapping
from .files import CorpusError
from .options import Options
from .packing.base import PackingConfig
from .records import Layout

T = TypeVar("T")

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
#: Names of files of shards: no folders, nothing hidden.
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,200}\Z")
#: Largest count of bytes, items or tokens that any file can state.
_MOST = 2**62


def _count(name: str, value: int) -> None:
    if not 0 <= value <= _MOST:
        raise ConfigError(f"{name} is {str(value)[:30]}; allowed: 0 to {_MOST}.")


def _sha256(value: str) -> None:
    if not _SHA256.match(value):
        raise ConfigError(f"sha256 is {value!r:.80}; it has 64 hexadecimal digits.")


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """Size and checksum of a file."""

    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        _count("bytes", self.bytes)
        _sha256(self.sha256)


@dataclass(frozen=True, kw_only=True)
class ShardFacts:
    """A shard: its files by name, and the inputs `start` to `stop - 1` that it covers."""

    files: dict[str, FileFacts]
    items: int
    tokens: int
    start: int
    stop: int

    def __post_init__(self) -> None:
        for name in self.files:
            if not _NAME.match(name):
                raise ConfigError(f"{name!r:.80} is no name of a shard's file; it must stand beside the manifest.")
        for name in ("items", "tokens", "start", "stop"):
            _count(name, getattr(self, name))
        if self.start > self.stop or bool(self.files) != bool(self.items):
            raise ConfigError(f"a shard of {self.items} items in {len(self.files)} files, from {self.start} to {self.stop}.")


@dataclass(frozen=True, kw_only=True)
class ShardRecord(ShardFacts):
    """A finished shard in the work folder; `failed`: index, key and reason of inputs without tokens."""

    failed: tuple[tuple[int, str, str], ...]


@dataclass(frozen=True, kw_only=True)
class SourceFacts:
    """The list of inputs, see `request.source_facts`."""

    names: tuple[str, ...]
    items: int
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        _count("items", self.items)
        _count("bytes", self.bytes)


@dataclass(frozen=True, kw_only=True)
class TokenizerFacts:
    """The tokenizer of a request."""

    name: str
    revision: str | None
    sha256: str
    family: str
    dtype: str
    spec: dict[str, Any]

    def __post_init__(self) -> None:
        _sha256(self.sha256)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The request, the head of `plan.json` and `manifest.json`; see `request.py`."""

    library_version: str
    tokenizer: TokenizerFacts
    layout: Layout
    options: Options
    source: SourceFacts
    packing: PackingConfig | None = None

    def __post_init__(self) -> None:
        if (self.options.format in ("megatron", "flat")) != (self.packing is not None):
            raise ConfigError(f"format {self.options.format!r}: packing belongs to 'megatron' and 'flat', and only to these.")


def of_plan(cls: type[T], values: Mapping[str, Any], path: Path) -> T:
    """`from_mapping` of the contents of a file.

    Raises:
        CorpusError: a key or value that `cls` does not have; the message names the file.
    """
    try:
        return from_mapping(cls, values)
    except (ValueError, OverflowError, RecursionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise CorpusError(f"{path} was altered or written by another version: {reason}") from error
