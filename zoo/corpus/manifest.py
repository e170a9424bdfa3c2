"""Finished corpora: the manifest, and the shards opened for reading."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...codecs.config import ConfigError, from_mapping, to_mapping
from ...codecs.sealing import sha256_of
from .files import CorpusError, read_unsealed
from .formats import Shard, open_shard
from .ledger import FORMAT, MANIFEST, VERSION, WORK
from .plan import FileFacts, Plan, ShardFacts, of_plan
from .records import Layout

__all__ = ["CorpusError", "Manifest", "check_file", "default_cache", "open_shards", "read_manifest"]

PACKING = "packing.json"


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Sums over the shards, and the number of failures."""

    items: int
    tokens: int
    failed: int
    shards: int


@dataclass(frozen=True, kw_only=True)
class FailedItem:
    """An input without tokens: its place in the list, its key, and the reason."""

    index: int
    key: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Manifest(Plan):
    """The types of `manifest.json`: the request (`Plan`) and what became of it.

    Attributes:
        packing_file: of `packing.json`, in formats of packed sequences.
    """

    format: str
    version: int
    totals: Totals
    shards: tuple[ShardFacts, ...]
    failures: tuple[FailedItem, ...]
    packing_file: FileFacts | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.packing is None) != (self.packing_file is None):
            raise ConfigError("packing and packing_file belong together; one of them is missing.")


def read_manifest(folder: Path, *, altered: bool = False) -> dict[str, Any]:
    """Read and check `manifest.json`: its checksum, and the type and range of every value. Keys that may be left out are filled in.

    Args:
        altered: also take a manifest whose checksum does not match, as long as its types are right.

    Raises:
        CorpusError: no corpus, one that is not finished, of another version, or altered.
    """
    path = folder / MANIFEST
    if not path.is_file():
        begun = (folder / WORK / "plan.json").is_file()
        raise CorpusError(
            f"{folder} is not finished; run the same `tokenzoo tokenize` again to resume it."
            if begun
            else f"{folder} holds no {MANIFEST}; pass a folder that `tokenzoo tokenize` wrote."
        )
    manifest, whole = read_unsealed(path)
    if manifest.get("format") != FORMAT:
        raise CorpusError(f"{path} is no manifest of a corpus: it has no 'format': {FORMAT!r}.")
    version = manifest.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version != VERSION:
        newer = isinstance(version, int) and version > VERSION
        advice = "Update tokenzoo." if newer else "Run `tokenzoo tokenize` again, into a new folder."
        raise CorpusError(f"{path} is of version {version!r:.40}; this library reads {VERSION}. {advice}")
    if not whole and not altered:
        raise CorpusError(f"{path} was altered: its checksum does not match. Copy it again from its source.")
    whole = to_mapping(of_plan(Manifest, manifest, path))
    return {key: value for key, value in whole.items() if value is not None or key in manifest}


def check_file(folder: Path, name: str, facts: dict[str, Any]) -> str | None:
    """What is wrong with a file that the manifest lists; None: it has these bytes."""
    path = folder / name
    if not path.is_file():
        return f"{name} is missing"
    if path.stat().st_size != facts["bytes"]:
        return f"{name} has {path.stat().st_size} bytes, the manifest has {facts['bytes']}"
    return None if sha256_of(path) == facts["sha256"] else f"{name} was altered: its checksum does not match"


def open_shards(folder: Path, manifest: dict[str, Any], cache: str | Path | None = None, *, check: bool = True) -> list[Shard]:
    """All shards of a corpus, in order.

    Args:
        cache: folder for unpacked Parquet files; None: `default_cache()`.
        check: compare the checksum of every file that is mapped; False only compares sizes.

    Raises:
        CorpusError: a file is missing, altered or not of its format; the message names it.
    """
    layout = from_mapping(Layout, manifest["layout"])
    where = Path(cache) if cache is not None else default_cache()
    kind = manifest["options"]["format"]
    out: list[Shard] = []
    for shard in manifest["shards"]:
        for name, facts in shard["files"].items():
            # a Parquet file is checked when it is unpacked; what is read after that is the cache, which has its own checksum
            full = check and not name.endswith(".parquet")
            path = folder / name
            size = path.stat().st_size if path.is_file() else None
            wrong = check_file(folder, name, facts) if full or size != facts["bytes"] else None
            if wrong:
                raise CorpusError(f"{folder}: {wrong}. `tokenzoo corpus verify` lists all that is wrong; copy these files again.")
        opened = open_shard(kind, folder, shard["files"], layout, where)
        if len(opened) != shard["items"]:
            first = next(iter(shard["files"]))
            raise CorpusError(f"{folder}: {first} holds {len(opened)} items, the manifest has {shard['items']}.")
        out.append(opened)
    return out


def default_cache() -> Path:
    """The user's own folder for unpacked Parquet files: `$TOKENZOO_CACHE`, else `tokenzoo` in the user's cache folder."""
    own = os.environ.get("TOKENZOO_CACHE")
    if own:
        return Path(own).expanduser() / "corpora"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tokenzoo" / "corpora"
