"""Where the partners of items are: files of the same stem, members of the same key of a tar, other columns of a hub data set."""

import dataclasses
import os
from collections.abc import Mapping, Sequence

from ...codecs.config import ConfigError
from ...codecs.media import IMAGE_ENDINGS, Blob, BrokenBlob, FileBlob, RowBlob, TarBlob, expand_braces, shown
from .config import Entries, PartnerConfig
from .sources import as_list, collect, from_tar

#: Endings of files by kind of partner, where no `suffix` is given.
PARTNER_ENDINGS = {
    "text": (".txt",),
    "image": IMAGE_ENDINGS,
    "features": (".npy", ".safetensors"),
    "map": (".png", ".npy"),
    "ids": (".npy", ".safetensors"),
}


def collect_with_partners(
    entries: Entries, endings: Sequence[str], partners: Mapping[str, PartnerConfig]
) -> tuple[list[Blob], list[dict[str, Blob]]]:
    """List all items of `entries`, as `collect` does, and the partners of each by name. What is a partner is no item.

    Args:
        entries: where items come from.
        endings: lower-case ends of their names.
        partners: what belongs to each.

    Raises:
        ConfigError: items without a partner, of which the message names one; two files that may be the partner of one item; a partner
            whose files cannot be known from items; no items at all.
    """
    partners = {name: p for name, p in partners.items() if not p.original}
    _check_known_apart(partners, endings)
    blobs = collect(entries, endings, columns=[p.column for p in partners.values() if p.column])
    if not partners:
        return blobs, [{} for _ in blobs]
    finder = _Finder(entries, endings, partners)
    if not (blobs := [b for b in blobs if not finder.is_partner(b)]):
        raise ConfigError(f"{entries!r} holds no items beside those that data.partners describes.")
    found = [{name: finder.partner(blob, name) for name in partners} for blob in blobs]
    for name in partners:
        lacking = [blob for blob, theirs in zip(blobs, found, strict=True) if theirs[name] is None]
        if lacking:
            raise ConfigError(
                f"{len(lacking)} of {len(blobs)} items have no partner {name!r}, the first is {shown(lacking[0].name)}: "
                f"there is no {finder.expected(lacking[0], name)}."
            )
    return blobs, [{name: blob for name, blob in theirs.items() if blob is not None} for theirs in found]


def column_of(name: str, partner: PartnerConfig, hub: str) -> str:
    """The column of a partner in the data set `hub`.

    Raises:
        ConfigError: it names none.
    """
    if not partner.column:
        raise ConfigError(f"data.partners.{name} names no column of the data set {hub!r}; set column.")
    return partner.column


def _check_known_apart(partners: Mapping[str, PartnerConfig], endings: Sequence[str]) -> None:
    """Raise ConfigError for a partner without `suffix`, `folder` and `column` whose usual endings are also those of items."""
    for name, partner in partners.items():
        both = sorted(set(PARTNER_ENDINGS[partner.kind]) & set(endings))
        if both and not (partner.suffix or partner.folder or partner.column):
            raise ConfigError(
                f"data.partners.{name} (kind {partner.kind!r}) may end in {', '.join(both)}, as the items do. Give its suffix "
                "(.clean.png), its folder, or the column of a hub data set."
            )


class _Finder:
    """Looks partners up; the contents of folders and tar files are listed once."""

    def __init__(self, entries: Entries, endings: Sequence[str], partners: Mapping[str, PartnerConfig]) -> None:
        paths = [os.path.expanduser(p) for e in as_list(entries) if isinstance(e, str) for p in expand_braces(e)]
        self.roots = sorted((p if os.path.isdir(p) else os.path.dirname(p) for p in paths), key=len, reverse=True)
        roots, whole = tuple(map(_whole, self.roots)), {name: _whole(p.folder) for name, p in partners.items() if p.folder}
        beside = [p for name, p in partners.items() if name not in whole or whole[name] in roots]
        self.ends_beside = tuple(p.suffix.lower() for p in beside if p.suffix)
        self.folders_below = tuple(f for f in whole.values() if f.startswith(roots) and f not in roots)
        self.endings = sorted(endings, key=len, reverse=True)
        self.partners = partners
        self.folders: dict[str, frozenset[str]] = {}
        self.tars: dict[str, dict[str, TarBlob]] = {}

    def is_partner(self, blob: Blob) -> bool:
        """Whether a file is not an item but belongs to one: by the end of its name, or as it is in a partner's folder below a root."""
        if isinstance(blob, RowBlob):
            return False
        return blob.name.lower().endswith(self.ends_beside) or os.path.abspath(blob.name).startswith(self.folders_below)

    def partner(self, blob: Blob, name: str) -> Blob | None:
        """The partner of an item; None: there is none."""
        if isinstance(blob, BrokenBlob):
            return blob
        if isinstance(blob, RowBlob):
            return dataclasses.replace(blob, column=column_of(name, self.partners[name], blob.label))
        candidates = self._candidates(blob, name)
        if isinstance(blob, TarBlob):
            members = self._members(blob.tar)
            here: list[Blob] = [members[c] for c in candidates if c in members]
        else:
            here = [FileBlob(c) for c in candidates if os.path.basename(c) in self._listed(os.path.dirname(c))]
        if len(here) > 1:
            raise ConfigError(
                f"{shown(here[0].name)} and {shown(here[1].name)} may both be the partner {name!r} of {shown(blob.name)}; "
                f"say which by data.partners.{name}.suffix."
            )
        return here[0] if here else None

    def expected(self, blob: Blob, name: str) -> str:
        """The first names under which the partner of an item was looked for."""
        return " or ".join(shown(c) for c in self._candidates(blob, name)[:3])

    def _candidates(self, blob: Blob, name: str) -> list[str]:
        """Paths, or names in the item's tar, that the partner may have."""
        config = self.partners[name]
        ends = (config.suffix,) if config.suffix else PARTNER_ENDINGS[config.kind]
        if isinstance(blob, TarBlob):
            if config.folder:
                raise ConfigError(
                    f"data.partners.{name} has a folder, but {shown(blob.name)} is in a tar file, where partners are members of the "
                    "same key. Leave the folder out, or unpack the tar file."
                )
            stem = _key(blob.member)
        else:
            assert isinstance(blob, FileBlob)
            stem = self._stem(blob.path)
            stem = os.path.join(os.path.expanduser(config.folder), self._below_root(stem)) if config.folder else stem
        return [stem + end for end in ends]

    def _stem(self, path: str) -> str:
        end = next((e for e in self.endings if path.lower().endswith(e)), os.path.splitext(path)[1])
        return path[: len(path) - len(end)]

    def _below_root(self, path: str) -> str:
        root = next((r for r in self.roots if path.startswith(os.path.join(r, ""))), os.path.dirname(path))
        return os.path.relpath(path, root or ".")

    def _listed(self, folder: str) -> frozenset[str]:
        if folder not in self.folders:
            try:
                self.folders[folder] = frozenset(os.listdir(folder or "."))
            except OSError:
                self.folders[folder] = frozenset()  # then each of its files is missing, and named
        return self.folders[folder]

    def _members(self, tar: str) -> dict[str, TarBlob]:
        """The partners in a tar file, by key and end of the name."""
        if tar not in self.tars:
            ends = [e for p in self.partners.values() for e in ((p.suffix,) if p.suffix else PARTNER_ENDINGS[p.kind])]
            members = [b for b in from_tar(tar, [e.lower() for e in ends]) if isinstance(b, TarBlob)]
            self.tars[tar] = {m.member: m for m in members}
        return self.tars[tar]


def _whole(folder: str) -> str:
    """The whole path of a folder, with a slash at its end."""
    return os.path.join(os.path.abspath(os.path.expanduser(folder)), "")


def _key(member: str) -> str:
    """The key of a WebDataset member: its path up to the first dot of the file's name."""
    folder, name = os.path.split(member)
    return os.path.join(folder, name.partition(".")[0])
