"""Settings of training data, one class a kind of media."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ...codecs.config import Polymorphic
from ...codecs.kinds import Kinds
from ...codecs.media import HubDataset
from ...codecs.spec import TokenizerSpec

if TYPE_CHECKING:
    from .media import Media


#: A folder (searched recursively), a file, a `.tar` of the WebDataset kind (`shards-{000..017}.tar`), a hub data set, or a list.
Entries = str | HubDataset | tuple[str | HubDataset, ...]

# kind -> "module:config class"
DATA: "Kinds[type[DataConfig]]" = Kinds("data kind", __package__ or "", {
    "images": "images:ImageDataConfig",
    "audio": "audio:AudioDataConfig",
    "features": "features:FeatureDataConfig",
}, base="config:DataConfig")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DataConfig(Polymorphic):
    """Settings common to all media.

    Attributes:
        train, valid: where media come from.
        max_visits: a large item is visited in proportion to its size (crops that fit into it) within an epoch, but
            no more often than this; 1: every item once an epoch.
        cache: "memory" decodes everything once at the start and keeps it in RAM (shared with the workers).
        num_workers: number of processes that cut crops; 0: only the main process.
        prefetch: number of batches that each worker prepares ahead.
    """

    kinds = DATA

    train: Entries = ()
    valid: Entries = ()
    max_visits: int = 1
    cache: Literal["none", "memory"] = "none"
    num_workers: int = 0
    prefetch: int = 2

    def media(self, spec: TokenizerSpec) -> "Media":
        """Return the object that decodes, crops and previews media as `spec` describes them."""
        raise NotImplementedError
