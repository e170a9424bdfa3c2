"""What belongs to an item beside the medium: texts, pictures, features, maps of classes, ids; read, cropped with it, and stacked.

Letters: B batch, H W pixels, K codebooks, L positions.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.media import Blob, MediaError, opened, shown
from ...codecs.media.errors import reason
from .arrays import cell_of, read_array, read_classes
from .config import PartnerConfig
from .media import Item, Media
from .places import Place

#: Partners of a batch by name: B texts; pictures float32 `[B, C, H, W]`; maps int64 `[B, H, W]`; features float32 `[B, ...]`;
#: ids int64 `[B, K, L]`.
PartnerBatch = Mapping[str, Tensor | list[str]]

#: A partner that was read: text, pixels, numbers of classes, features or ids.
Read = str | np.ndarray

#: Longest text of an item in bytes.
MAX_TEXT = 1 << 20


class Partners:
    """Reads the partners of items, and cuts them as their item was cut.

    Args:
        configs: name -> settings.
        media: of the items.

    Raises:
        ConfigError: partners that take the crop of a picture, beside media that are no pictures.
    """

    def __init__(self, configs: Mapping[str, PartnerConfig], media: Media) -> None:
        self.media, self.configs = media, configs
        self.kinds = {name: _Original(name, media) if c.original else _KINDS[c.kind](name, media) for name, c in configs.items()}
        self.placed = any(kind.placed for kind in self.kinds.values())

    def read(self, sources: Mapping[str, Blob]) -> dict[str, Read]:
        """Read all partners of an item.

        Raises:
            MediaError: one of them cannot be read.
        """
        return {name: self._read(name, blob) for name, blob in sources.items()}

    def start(self, items: Iterable[Mapping[str, Blob]]) -> None:
        """Take the shape of features from the first of `items` that can be read: it is that of all items."""
        features = {name: kind for name, kind in self.kinds.items() if isinstance(kind, _Features)}
        for name, kind in features.items():
            for item in items:
                with contextlib.suppress(MediaError):
                    kind.shape = np.shape(self._read(name, item[name]))
                    break

    def crop(
        self, draw: Callable[[], Item], rng: np.random.Generator, train: bool, shape: tuple[int, ...]
    ) -> tuple[Tensor, Place | None]:
        """Cut a crop as `Media.crop` does; also its place, where a partner needs it."""
        if not self.placed:
            return self.media.crop(draw, rng, train, shape=shape), None
        places: list[Place] = []
        x = self.media.crop(draw, rng, train, shape=shape, note=places.append)  # type: ignore[call-arg]  # `_pictures` checked it
        return x, places[-1]

    def degraded(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        """The crop `x` as the tokenizer gets it: degraded, where the media are pictures with `data.degrade`."""
        degrade: Callable[[Tensor, np.random.Generator], Tensor] | None = getattr(self.media, "degraded", None)
        return x if degrade is None else degrade(x, rng)

    def beside(self, items: Sequence[Mapping[str, Blob | Read]], place: Place | None, crop: Tensor) -> dict[str, Tensor | str]:
        """Return the partners of a crop.

        Args:
            items: partners of the items that the crop was made of, read or not.
            place: of the crop in its picture.
            crop: the crop itself, before it is degraded.

        Raises:
            MediaError: a partner cannot be read, does not fit its picture, or belongs to one of several items.
        """
        out: dict[str, Tensor | str] = {}
        for name, kind in self.kinds.items():
            if isinstance(kind, _Original):
                out[name] = crop
                continue
            values = [v if isinstance(v := item[name], (str, np.ndarray)) else self._read(name, v) for item in items]
            texts = [v for v in values if isinstance(v, str)]
            if len(values) > 1 and not texts:
                raise MediaError(
                    f"the crop is longer than the item and holds {len(values)} items, but the partner {name!r} belongs to one. Take "
                    "shorter crops or, of sound, data.short=pad."
                )
            try:
                out[name] = " ".join(texts) if texts else kind.cut(values[0], place)
            except MediaError as error:
                raise MediaError(f"the partner {name!r}: {error}") from error
        return out

    def _read(self, name: str, blob: Blob) -> Read:
        try:
            return self.kinds[name].read(blob)
        except Exception as error:  # decoders may raise any exception
            text = str(error) if isinstance(error, MediaError) else f"{shown(blob.name)}: {reason(error)}"
            raise MediaError(f"the partner {name!r} cannot be used: {text}") from error


def stacked(samples: Sequence[Mapping[str, Tensor | str]]) -> dict[str, Tensor | list[str]]:
    """Partners of B crops as those of a batch.

    Raises:
        ConfigError: features or ids of several shapes.
    """
    out: dict[str, Tensor | list[str]] = {}
    for name in samples[0]:
        values: list[Any] = [s[name] for s in samples]
        if isinstance(values[0], str):
            out[name] = values
            continue
        shapes = sorted({tuple(v.shape) for v in values})
        if len(shapes) > 1:
            raise ConfigError(
                f"partners {name!r} of one batch have the shapes {', '.join(str(list(s)) for s in shapes)}; all items need the same."
            )
        out[name] = torch.stack(values)
    return out


def on_device(partners: PartnerBatch, device: torch.device) -> dict[str, Tensor | list[str]]:
    """The partners of a batch with tensors on a device."""
    return {name: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for name, v in partners.items()}


# --- kinds ----------------------------------------------------------------------------------------------------------


class _Kind(Protocol):
    """One kind of partner: how it is read, and how it follows the crop of its item."""

    #: it takes the crop of a picture
    placed: bool

    def read(self, blob: Blob) -> Read: ...

    def cut(self, value: Any, place: Place | None) -> Tensor: ...


class _Text:
    placed = False

    def __init__(self, name: str, media: Media) -> None: ...

    def read(self, blob: Blob) -> str:
        cell = cell_of(blob)
        data = cell if isinstance(cell, str) else _bytes(blob, MAX_TEXT).decode("utf-8-sig")
        if not (text := data.strip()):
            raise MediaError(f"{shown(blob.name)} holds no text.")
        return text

    def cut(self, value: Any, place: Place | None) -> Tensor:
        raise AssertionError("texts are joined, not cut")


class _Features:
    placed = False

    def __init__(self, name: str, media: Media) -> None:
        self.name = name
        self.shape: tuple[int, ...] | None = None  # of all items

    def read(self, blob: Blob) -> np.ndarray:
        x = read_array(blob, self.name)
        if self.shape not in (None, x.shape):
            raise MediaError(f"{shown(blob.name)} has the shape {list(x.shape)}; the first item's is {list(self.shape or ())}.")
        if not x.ndim or not x.size or not np.issubdtype(x.dtype, np.floating):
            raise MediaError(f"{shown(blob.name)} holds {x.dtype} {list(x.shape)}; features are floats with at least one axis.")
        if not np.isfinite(x).all():
            raise MediaError(f"{shown(blob.name)} holds values that are not finite.")
        return np.ascontiguousarray(x, dtype=np.float32)

    def cut(self, value: Any, place: Place | None) -> Tensor:
        return torch.from_numpy(value)


class _Ids:
    placed = False

    def __init__(self, name: str, media: Media) -> None:
        self.name = name
        fixed = {"flip": False, "place": "center", "cover": (1.0, 1.0), "resized_crop": None}
        config = getattr(media, "config", None)
        if wrong := [key for key, value in fixed.items() if getattr(config, key, value) != value]:
            raise ConfigError(
                f"data.partners.{name} are the ids of whole items, so a crop must show what was encoded: set data.cover=[1, 1], "
                f"data.place=center and data.flip=false. Different here: {', '.join(wrong)}."
            )

    def read(self, blob: Blob) -> np.ndarray:
        x = read_array(blob, self.name)
        if x.ndim not in (1, 2) or not x.size or not np.issubdtype(x.dtype, np.integer) or x.min() < 0:
            raise MediaError(f"{shown(blob.name)} holds {x.dtype} {list(x.shape)}; ids are whole numbers [K, L] from 0.")
        return np.atleast_2d(x).astype(np.int64)

    def cut(self, value: Any, place: Place | None) -> Tensor:
        return torch.from_numpy(value)


class _Picture:
    placed = True

    def __init__(self, name: str, media: Media) -> None:
        self.media = _pictures(name, media)

    def read(self, blob: Blob) -> np.ndarray:
        return self.media.decode(blob)

    def cut(self, value: Any, place: Place | None) -> Tensor:
        assert place is not None
        return self.media.at(value, place.within(*value.shape[:2]))


class _Original:
    placed = True

    def __init__(self, name: str, media: Media) -> None:
        if getattr(getattr(media, "config", None), "degrade", None) is None:
            raise ConfigError(f"data.partners.{name} is the picture before data.degrade, which is not set; set it, or name a file.")

    def read(self, blob: Blob) -> Read:
        raise AssertionError("it has no file")

    def cut(self, value: Any, place: Place | None) -> Tensor:
        raise AssertionError("it is the crop")


class _Map:
    placed = True

    def __init__(self, name: str, media: Media) -> None:
        self.name = name
        _pictures(name, media)

    def read(self, blob: Blob) -> np.ndarray:
        return read_classes(blob, self.name)

    def cut(self, value: Any, place: Place | None) -> Tensor:
        assert place is not None
        return torch.from_numpy(place.within(*value.shape).nearest(value).astype(np.int64))


_KINDS: dict[str, Callable[[str, Media], _Kind]] = {"text": _Text, "image": _Picture, "features": _Features, "map": _Map, "ids": _Ids}


def _pictures(name: str, media: Media) -> Any:
    """`media`, if they are pictures, whose crops have a place."""
    if not hasattr(media, "at"):
        raise ConfigError(f"data.partners.{name} takes the crop of the picture it belongs to; this data is no pictures.")
    return media


def _bytes(blob: Blob, most: int = -1) -> bytes:
    with opened(blob) as medium:
        data = medium.file.read(most + 1 if most > 0 else -1)
    if 0 < most < len(data):
        raise MediaError(f"{shown(blob.name)} holds more than {most:,} bytes of text.")
    return data
