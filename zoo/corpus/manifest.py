"""Finished corpora: the manifest, and the shards opened for reading."""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from ...codecs.config import from_mapping
from .files import read_json
from .formats import Shard, open_shard
from .ledger import FORMAT, MANIFEST, VERSION, WORK
from .records import Layout


class CorpusError(ValueError):
    """A folder that holds no finished corpus, or one of a newer version."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check `manifest.json`.

    Raises:
        CorpusError: no corpus, one that is not finished, or one of a newer version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        begun = (folder / WORK / "plan.json").is_file()
        raise CorpusError(
            f"{folder} is not finished; run the same `tokenzoo tokenize` again to resume it."
            if begun
            else f"{folder} holds no {MANIFEST}; pass a folder that `tokenzoo tokenize` wrote."
        )
    try:
        manifest = read_json(path)
    except ValueError as error:
        raise CorpusError(f"{path} is not JSON: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CorpusError(f"{path} is no manifest of a corpus: it has no 'format': {FORMAT!r}.")
    if manifest["version"] > VERSION:
        raise CorpusError(f"{path} is of version {manifest['version']}; this library reads {VERSION}. Update tokenzoo.")
    return manifest


def open_shards(folder: Path, manifest: dict[str, Any], cache: str | Path | None = None) -> list[Shard]:
    """All shards of a corpus, in order; `cache` is the folder for unpacked Parquet files."""
    layout = from_mapping(Layout, manifest["layout"])
    where = Path(cache) if cache is not None else _cache(folder)
    kind = manifest["options"]["format"]
    return [open_shard(kind, folder, s["files"], layout, where) for s in manifest["shards"]]


def _cache(folder: Path) -> Path:
    if os.access(folder, os.W_OK):
        return folder / ".cache"
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"tokenzoo-{name}"
