"""Settings of training data, one class a kind of media."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from ...codecs.config import ConfigError, Polymorphic
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
    "clips": "clips:ClipDataConfig",
    "audio": "audio:AudioDataConfig",
    "features": "features:FeatureDataConfig",
    "maps": "maps:MapDataConfig",
}, base="config:DataConfig")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PartnerConfig:
    """Something that belongs to each item, which losses and teachers ask for by its name; see `partners.py`.

    In a folder it is a file of the item's stem: beside it (`photo.jpg` and `photo.txt`), or at the same place below another folder.
    In a WebDataset tar it is another member of the same key, in a hub data set another column.

    Attributes:
        kind: "text": UTF-8, stripped. "image": another picture, with the crop and the flip of the item (also of another size). "map":
            numbers of classes, a picture of grey or palette values or whole numbers in `.npy`, with the same crop. "features": floats
            of any shape, whole, the same shape for all items, in `.npy` or `.safetensors`. "ids": whole numbers `[K, L]` or
            `[L]`, the ids of a whole item, for `model.ids`; crops then show the same of a picture always.
        suffix: end of its file's or member's name in place of the item's ending: `.txt`, `.clean.png`. Items never end in it. "": those
            of the kind.
        folder: where its files are, if not beside the items; one folder for all entries of the data.
        valid_folder: the same for the validation data; "": `folder`.
        column: of a hub data set.
        original: of kind "image": the crop itself as it was before `data.degrade`; it has no file.
    """

    kind: Literal["text", "image", "features", "map", "ids"]
    suffix: str = ""
    folder: str = ""
    valid_folder: str = ""
    column: str = ""
    original: bool = False

    def __post_init__(self) -> None:
        if self.original and (self.kind != "image" or self.suffix or self.folder or self.valid_folder or self.column):
            raise ConfigError(
                f"a partner with `original` is the item's own crop, of kind 'image' and without suffix, folder or column; got {self}."
            )


@dataclass(frozen=True, kw_only=True)
class DataConfig(Polymorphic):
    """Settings common to all media.

    Attributes:
        train, valid: where media come from.
        partners: name -> what belongs to each item beside the medium itself: texts, pictures, features, maps, ids.
        max_visits: a large item is visited in proportion to its size (crops that fit into it) within an epoch, but
            no more often than this; 1: every item once an epoch.
        cache: "memory" decodes everything once at the start and keeps it in RAM (shared with the workers).
        num_workers: number of processes that cut crops; 0: only the main process.
        prefetch: number of batches that each worker prepares ahead.
    """

    kinds = DATA

    train: Entries = ()
    valid: Entries = ()
    partners: dict[str, PartnerConfig] = field(default_factory=dict)
    max_visits: int = 1
    cache: Literal["none", "memory"] = "none"
    num_workers: int = 0
    prefetch: int = 2

    def media(self, spec: TokenizerSpec) -> "Media":
        """Return the object that decodes, crops and previews media as `spec` describes them."""
        raise NotImplementedError

    def validating(self, *, own: bool) -> "DataConfig":
        """These settings for validation, without cache; `own`: on the validation data, with the folders of its partners."""
        partners = {name: replace(p, folder=p.valid_folder or p.folder) for name, p in self.partners.items()}
        return replace(self, cache="none", partners=partners if own else self.partners)
