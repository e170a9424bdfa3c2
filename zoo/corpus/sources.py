"""What is to be tokenized, as one list of items in a fixed order: files, members of tar files, rows of tables.

    tokenzoo tokenize NAME photos/ "more/**/*.jpg" "shards-{000..017}.tar" table.parquet hub:org/name --out DIR

The list is an Arrow table that all processes of a job read. What cannot even be listed (a broken tar file, a folder
without permission) is listed as an item of kind "error", so that nothing is lost.
"""

import hashlib
import json
import os
import tarfile
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...codecs.config import ConfigError
from ...codecs.media import (
    HubDataset,
    Seen,
    datasets_package,
    endings_of,
    expand_braces,
    load_hub,
    matches,
    open_regular,
    shown,
    undecoded,
    walk,
)

#: kind: file, tar, table (Parquet), dataset (rows of `datasets`), error. place: the file that holds the item, or how a
#: data set is opened. at: offset in a tar file, number of a row; for errors 0. changed: mtime of the file in ns.
#: beside: of tar members, JSON of the other members of the sample, [[ending, offset, size], ..].
ITEMS = pa.schema(
    [("key", pa.string()), ("kind", pa.string()), ("place", pa.string()), ("at", pa.int64()), ("size", pa.int64())]
    + [("changed", pa.int64()), ("column", pa.string()), ("beside", pa.string())]
)
#: Endings of members of a WebDataset sample that are carried over as text; all others are bytes.
_TEXT = ("txt", "json", "cls", "id", "text", "caption", "transcript", "lab", "csv", "xml", "url", "lang", "speaker")


@dataclass
class Listing:
    """All items, and the columns that are carried over.

    Attributes:
        items: table of schema `ITEMS`.
        metadata: name and type of each column of the source that goes into the shards, without the library's own columns.
        names: the source, as it was given.
        objects: data sets that were passed in as objects, by their place; only this process has them.
    """

    items: pa.Table
    metadata: pa.Schema
    names: list[str]
    objects: dict[str, Any] = field(default_factory=dict)

    def digest(self) -> str:
        """Checksum over keys, sizes and times of change of all items and over the metadata columns."""
        out = hashlib.sha256(self.metadata.to_string().encode())
        out.update("\0".join(self.items["key"].to_pylist()).encode("utf-8", "surrogateescape"))
        for name in ("size", "changed", "at"):
            out.update(self.items[name].to_numpy().tobytes())
        return out.hexdigest()


def list_source(
    source: Any,
    modality: str,
    *,
    films: bool = False,
    column: str | None = None,
    split: str = "train",
    config: str | None = None,
) -> Listing:
    """List what `source` names.

    Args:
        source: one or several of: a folder (searched recursively), a glob, a media file, a `.txt` file with a path a line
            (relative to it), a WebDataset `.tar` (`shards-{000..017}.tar`), a Parquet file, a folder that
            `datasets.save_to_disk` wrote, `hub:org/name`, a `HubDataset`, or an open `datasets.Dataset`.
        modality: "image" or "audio".
        films: list films in folders and tar files too, for tokenizers of clips.
        column: of tables, the column with media; None: the one that holds such.
        split, config: of hub data sets.

    Raises:
        ConfigError: an entry that does not exist or holds nothing of the kind.
    """
    listed = list(source) if isinstance(source, (list, tuple)) else [source]
    lister = _Lister(modality, column, endings_of(modality, films=films), alone=len(listed) == 1)
    for entry in listed:
        before, lister.repeated = len(lister.rows), False
        if isinstance(entry, (str, os.PathLike)):
            text = os.fspath(entry)
            if text.startswith("hub:"):
                lister.hub(HubDataset(hub=text[4:], column=column or "", split=split, config=config))
            else:
                lister.path(os.path.expanduser(text))
        elif isinstance(entry, HubDataset):
            lister.hub(entry)
        elif hasattr(entry, "column_names") and hasattr(entry, "features"):
            lister.dataset_object(entry)
        else:
            raise ConfigError(f"a source is a path, a data set or a list of these; got {type(entry).__name__}.")
        if len(lister.rows) == before and not lister.repeated:
            raise ConfigError(f"{entry!r} holds no {modality}: no file that ends in {', '.join(lister.suffixes)}.")
    return lister.done([_name(e) for e in listed])


def _name(entry: Any) -> str:
    if isinstance(entry, HubDataset):
        return f"hub:{entry.hub}"
    return os.fspath(entry) if isinstance(entry, (str, os.PathLike)) else f"datasets.Dataset of {len(entry)} rows"


class _Lister:
    """Collects rows of `ITEMS`; `alone`: keys are relative to the one source."""

    def __init__(self, modality: str, column: str | None, suffixes: tuple[str, ...], *, alone: bool) -> None:
        self.modality, self.column, self.alone = modality, column, alone
        self.suffixes = suffixes
        self.real = Seen()
        self.repeated = False  # something was met that came before
        self.rows: list[tuple[Any, ...]] = []
        self.seen: set[tuple[str, int]] = set()
        self.fields: dict[str, pa.DataType] = {}
        self.objects: dict[str, Any] = {}

    def add(self, key: str, kind: str, place: str, at: int, size: int, changed: int, column: str = "", beside: str = "") -> None:
        """One item; one that came before (overlapping globs) is left out."""
        if kind != "error" and not _is_text(key + place):  # the list holds Unicode only
            return self.error(key, "MediaError: its name is no UTF-8, and a corpus names its items in UTF-8; rename it")
        self.repeated |= (place, at) in self.seen
        if (place, at) not in self.seen:
            self.seen.add((place, at))
            self.rows.append((key, kind, place, at, size, changed, column, beside))

    def error(self, key: str, reason: str) -> None:
        """Add a source that cannot be listed, as an item of kind "error"."""
        self.add(shown(key), "error", shown(reason), len(self.rows), -1, 0)

    def path(self, text: str) -> None:
        """Add the files of a folder or pattern, or a single file."""
        if os.path.isdir(text):
            return self.folder(text)
        if os.path.exists(text):
            return self.file(text, os.path.basename(text) if self.alone else text)
        found = [p for t in expand_braces(text) for p in (matches(t) or [t])]
        for path in found:
            if os.path.isdir(path):
                continue
            if not os.path.exists(path) and found == [text]:
                raise ConfigError(f"{text!r} is no folder, no file and no pattern that matches any.")
            self.file(path, path, listed=False)

    def folder(self, root: str) -> None:
        """Files below `root` in sorted order; names that begin with a dot are left out."""
        if os.path.isfile(os.path.join(root, "state.json")) and os.path.isfile(os.path.join(root, "dataset_info.json")):
            return self.rows_of(datasets_package().load_from_disk(root), f"disk:{os.path.abspath(root)}", os.path.basename(root))
        broken: list[OSError] = []
        endings = (*self.suffixes, ".tar", ".parquet")
        found = list(walk(root, endings, seen=self.real, on_error=broken.append))
        self.repeated |= not found and any(walk(root, endings))
        for path in found:
            self.file(path, os.path.relpath(path, root) if self.alone else path, listed=False, fresh=True)
        for error in broken:
            self.error(str(error.filename), f"{type(error).__name__}: {error.strerror}")

    def file(self, path: str, key: str, *, listed: bool = True, fresh: bool = False) -> None:
        """One file, unless it or a link to it came before.

        Args:
            listed: a `.txt` file is a list of others.
            fresh: it did not come before.
        """
        if not fresh and not self.real.first(path):
            self.repeated = True
            return
        low = path.lower()
        try:
            if low.endswith(".tar"):
                self.tar(path, key)
            elif low.endswith(".parquet"):
                self.parquet(path, key)
            elif low.endswith(".txt") and listed:
                with open_regular(path) as file:
                    lines = file.read().decode("utf-8", "surrogateescape").splitlines()
                for line in (t.strip() for t in lines if t.strip()):
                    self.file(os.path.join(os.path.dirname(path), line), line, listed=False)
            else:
                self.add(key, "file", os.path.abspath(path), 0, *_stat(path))
        except ConfigError:
            raise
        except Exception as error:  # readers of broken files may raise anything: it is a failure of one item
            self.error(key, f"{type(error).__name__}: {error}")

    def tar(self, path: str, key: str) -> None:
        """Members with media, and beside each the other members of its sample, see `_beside`."""
        _, changed = _stat(path)
        members: list[tarfile.TarInfo] = []
        try:
            with open_regular(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
                members.extend(m for m in tar if m.isfile())
        except tarfile.TarError as error:  # what came before the break is still good
            if not members:
                raise
            self.error(key, f"{type(error).__name__}: {error}; {len(members)} members before it are used")
        media = [m for m in members if m.name.lower().endswith(self.suffixes)]
        found = _beside([m.name for m in media], [m for m in members if not m.name.lower().endswith(self.suffixes)])
        for m, beside in zip(media, found, strict=True):
            for ending, _, _ in beside:
                self._field(ending, pa.string() if ending.split(".")[-1] in _TEXT else pa.binary())
            text = json.dumps(beside) if beside else ""
            self.add(f"{key}/{m.name}", "tar", os.path.abspath(path), m.offset_data, m.size, changed, "", text)

    def parquet(self, path: str, key: str) -> None:
        """Rows of a Parquet file."""
        size, changed = _stat(path)
        with open_regular(path) as source, pq.ParquetFile(source) as file:
            schema, count = file.schema_arrow, file.metadata.num_rows
        column = self._media_column(schema, path)
        for name in schema.names:
            if name != column and not _holds_media(schema.field(name).type):
                self._field(name, schema.field(name).type)
        for i in range(count):
            self.add(f"{key}[{i}]", "table", os.path.abspath(path), i, size // count, changed, column)

    def hub(self, entry: HubDataset) -> None:
        """Rows of a hub data set."""
        if entry.streaming:
            raise ConfigError(f"{entry.hub!r}: streamed data sets have no fixed order; leave streaming off.")
        place: dict[str, Any] = {"hub": entry.hub, "config": entry.config, "split": entry.split, "revision": entry.revision}
        place |= {"files": list(entry.data_files)} | ({"allow_paths": True} if entry.allow_paths else {})
        self.rows_of(load_hub(entry, keep_columns=True), "hub:" + json.dumps(place), entry.hub)

    def dataset_object(self, rows: Any) -> None:
        """Rows of an open data set."""
        place = f"object:{rows._fingerprint}"
        self.objects[place] = rows
        self.rows_of(rows, place, "dataset")

    def rows_of(self, rows: Any, place: str, label: str) -> None:
        """Rows of `datasets`."""
        schema = rows.features.arrow_schema
        column = self._media_column(schema, label)
        for name in schema.names:
            if name != column and not _holds_media(schema.field(name).type):
                self._field(name, schema.field(name).type)
        stamp = int(hashlib.sha256(str(rows._fingerprint).encode()).hexdigest()[:15], 16)
        for i in range(len(rows)):
            self.add(f"{label}[{i}]", "dataset", place, i, 0, stamp, column)

    def _media_column(self, schema: pa.Schema, label: str) -> str:
        """The requested column, or the only one that can hold media."""
        if self.column:
            if self.column not in schema.names:
                raise ConfigError(f"{label} has no column {self.column!r}; it has {', '.join(schema.names)}.")
            return self.column
        found = [n for n in schema.names if _holds_media(schema.field(n).type)]
        if len(found) != 1:
            names = ", ".join(found or schema.names)
            raise ConfigError(f"{label}: which column holds the media? Name it with column (--column): {names}.")
        return found[0]

    def _field(self, name: str, kind: pa.DataType) -> None:
        if self.fields.setdefault(name, kind) != kind:
            raise ConfigError(f"the column {name!r} is {self.fields[name]} in one file and {kind} in another.")

    def done(self, names: list[str]) -> Listing:
        """The whole list."""
        columns = list(zip(*self.rows, strict=True))
        arrays = [pa.array(c, f.type) for c, f in zip(columns, ITEMS, strict=True)]
        return Listing(pa.table(arrays, schema=ITEMS), pa.schema(sorted(self.fields.items())), names, self.objects)


def _holds_media(kind: pa.DataType) -> bool:
    """Bytes, or the pair of bytes and path that `datasets` keeps."""
    if pa.types.is_struct(kind):
        return {"bytes", "path"} <= {kind.field(i).name for i in range(kind.num_fields)}
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _beside(media: list[str], others: list[tarfile.TarInfo]) -> list[list[list[Any]]]:
    """Which other members of a tar file belong to each medium: `[ending, offset, size]`.

    A member belongs to the medium whose name without its ending is the longest that it begins with: `a 2.0.txt` to `a 2.0.png`, and
    never to `a 2.1.png`. One that fits none, such as `a.json` beside `a.left.png` and `a.right.png`, belongs to all media with that
    name up to the first dot, as in a WebDataset; but not if it has dots of its own where there are several.
    """
    stems: dict[str, list[int]] = {}
    samples: dict[str, list[int]] = {}
    for i, name in enumerate(media):
        stems.setdefault(os.path.splitext(name)[0], []).append(i)
        samples.setdefault(_sample(name), []).append(i)
    out: list[list[list[Any]]] = [[] for _ in media]
    for o in others:
        if not _is_text(o.name):
            continue
        sample = _sample(o.name)
        dots = [i for i in range(len(sample), len(o.name)) if o.name[i] == "."]
        stem = next((o.name[:i] for i in reversed(dots) if o.name[:i] in stems), None)
        owners = stems[stem] if stem is not None else samples.get(sample, ())
        if stem is None and len(owners) > 1 and len(dots) > 1:
            continue
        for i in owners:
            out[i].append([o.name[len(stem or sample) + 1 :], o.offset_data, o.size])
    return out


def _sample(name: str) -> str:
    """Name of the WebDataset sample that a member belongs to: all up to the first dot of its last part."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.split(".", 1)[0]


def _is_text(name: str) -> bool:
    """Whether UTF-8 can hold a name: those of old file systems may be any bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _stat(path: str) -> tuple[int, int]:
    """Size and time of change; -1 and 0 of what is not there (it fails when it is read, and is listed then)."""
    try:
        found = os.stat(path)
    except OSError:
        return -1, 0
    return found.st_size, found.st_mtime_ns


def may_name_files(place: str, objects: dict[str, Any]) -> bool:
    """Whether rows of the data set that `Listing.items` calls `place` may name files: if its user opened it, or asked for that."""
    return place in objects or (place.startswith("hub:") and bool(json.loads(place[4:]).get("allow_paths")))


def open_rows(place: str, column: str, objects: dict[str, Any]) -> Any:
    """Open the data set that `Listing.items` calls `place`, its media column undecoded."""
    if place in objects:
        rows = objects[place]
    elif place.startswith("disk:"):
        rows = datasets_package().load_from_disk(place[5:])
    elif place.startswith("hub:"):
        facts = json.loads(place[4:])
        files = tuple(facts.pop("files"))
        return load_hub(HubDataset(column=column, data_files=files, **facts), keep_columns=True)
    else:
        raise ConfigError(f"{place} is a data set of another process.")
    return undecoded(rows, column)


def units(items: pa.Table, most_items: int, most_bytes: float) -> list[tuple[int, int]]:
    """Cut the list into units of work `(start, stop)`; rows of different tables never share one."""
    sizes, kinds, places = (items[n].to_pylist() for n in ("size", "kind", "place"))
    tables = [p if k == "table" else "" for k, p in zip(kinds, places, strict=True)]
    out, start, total = [], 0, 0
    for i, size in enumerate(sizes):
        if i > start and (i - start >= most_items or total + size > most_bytes or tables[i] != tables[i - 1]):
            out.append((start, i))
            start, total = i, 0
        total += max(0, size)
    return [*out, (start, len(sizes))] if sizes else []
