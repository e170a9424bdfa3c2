"""Settings of training data, one class a kind of media."""

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ...codecs.config import ConfigError, Polymorphic, nearest
from ...codecs.spec import TokenizerSpec

if TYPE_CHECKING:
    from .media import Media


@dataclass(frozen=True, kw_only=True)
class HubDataset:
    """A data set of the Hugging Face hub, read through `datasets`.

    Attributes:
        hub: its name, `org/name`; also any path or builder that `datasets.load_dataset` takes ("webdataset", ...).
        column: the column of pictures or sounds (or of their encoded bytes).
        config, split, revision: as in `datasets.load_dataset`.
        data_files: as there, for builders that take files or URLs.
        streaming: read in order without downloading the whole; the order is then shuffled within
            `shuffle_buffer` items and by shard only.
    """

    hub: str
    column: str
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    data_files: tuple[str, ...] = ()
    streaming: bool = False
    shuffle_buffer: int = 1000


#: A folder (searched recursively), a file, a `.tar` of the WebDataset kind (`shards-{000..017}.tar`), a hub data set, or a list.
Entries = str | HubDataset | tuple[str | HubDataset, ...]

_KINDS = {"images": "images:ImageDataConfig", "audio": "audio:AudioDataConfig", "features": "features:FeatureDataConfig"}


@dataclass(frozen=True, kw_only=True)
class DataConfig(Polymorphic):
    """Settings common to all media.

    Attributes:
        train, valid: where media come from.
        max_visits: a large item is visited in proportion to its size (crops that fit into it) within an epoch, but
            no more often than this; 1: every item once an epoch.
        cache: "memory" decodes everything once at the start and keeps it in RAM (shared with the workers).
        num_workers: processes that cut crops; 0: the main process does.
        prefetch: batches that each worker prepares ahead.
    """

    train: Entries = ()
    valid: Entries = ()
    max_visits: int = 1
    cache: Literal["none", "memory"] = "none"
    num_workers: int = 0
    prefetch: int = 2

    @classmethod
    def resolve(cls, kind: str) -> type["DataConfig"]:
        if kind not in _KINDS:
            raise ConfigError(f"unknown data kind {kind!r}.{nearest(kind, list(_KINDS))}")
        module, name = _KINDS[kind].split(":")
        return getattr(importlib.import_module(f".{module}", __package__), name)

    def media(self, spec: TokenizerSpec) -> "Media":
        """Return the object that decodes, crops and previews media as `spec` describes them."""
        raise NotImplementedError
