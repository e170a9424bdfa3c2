"""Random crops along time of stored features of frozen networks, one `.npy` file for each item, for tokenizers of features.

    np.save("clip-0001.npy", features)      # float [C, N], or [B = 1, C, N] as speech models' own scripts write it
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.media import Blob, MediaError, opened, shown
from ...codecs.media.errors import decoding
from ...codecs.spec import LatentSpec, MapSpec, TokenizerSpec
from .config import DataConfig
from .media import Item, Preview


@dataclass(frozen=True, kw_only=True)
class FeatureDataConfig(DataConfig):
    """How crops are cut from features.

    Attributes:
        crop: length in positions; shorter items are continued with other items.
        time_first: files hold `[N, C]`, as transformers gives hidden states.
        max_visits: see `DataConfig`; long files are visited in proportion to their length.
    """

    kind: ClassVar[str] = "features"
    max_visits: int = 1000
    crop: int = 100
    time_first: bool = False

    def __post_init__(self) -> None:
        if self.crop < 1:
            raise ConfigError(f"data.crop is {self.crop}; it must be at least 1.")

    def media(self, spec: TokenizerSpec) -> "Features":
        if not isinstance(spec, LatentSpec):
            raise ConfigError(f"data.kind is 'features', but the tokenizer's modality is {spec.modality!r}.")
        if isinstance(spec, MapSpec) and not spec.sequences:
            raise ConfigError("data.kind is 'features', sequences [C, N], but the tokenizer takes maps. Set data.kind to 'maps'.")
        return Features(self, spec.channels)


class Features:
    """The `Media` of features. The cache keeps float32 `[C, N]`."""

    suffixes = (".npy",)
    bucket = None

    def __init__(self, config: FeatureDataConfig, channels: int) -> None:
        self.config, self.channels = config, channels
        self.shape = (channels, config.crop)
        self.shapes = (self.shape,)

    def decode(self, blob: Blob) -> np.ndarray:
        """Return the features of a file as float32 `[C, N]`.

        Raises:
            MediaError: the file is no array of C channels, or holds values that are not finite.
        """
        name = shown(blob.name)
        with opened(blob) as medium, decoding(name):
            x = np.load(medium.file, allow_pickle=False)
        x = x[0] if x.ndim == 3 and len(x) == 1 else x
        x = x.T if self.config.time_first and x.ndim == 2 else x
        if x.ndim != 2 or x.shape[0] != self.channels or not x.shape[1] or not np.issubdtype(x.dtype, np.floating):
            raise MediaError(f"{name} holds {x.dtype} {list(x.shape)}; expected floats [C={self.channels}, N] (time_first: [N, C]).")
        if not np.isfinite(x).all():
            raise MediaError(f"{name} holds values that are not finite.")
        return np.ascontiguousarray(x, dtype=np.float32)

    def crops_in(self, item: Item) -> float:
        """Length of the item as a multiple of the crop length."""
        return self._array(item).shape[1] / self.config.crop

    def crop(
        self, draw: Callable[[], Item], rng: np.random.Generator, train: bool, *, shape: tuple[int, ...] | None = None
    ) -> Tensor:
        """Return float32 `[C, crop]`, from as many items as it takes."""
        pieces, missing = [], (shape or self.shape)[1]
        while missing > 0:
            x = self._array(draw())
            spare = max(0, x.shape[1] - missing)
            start = int(rng.integers(spare + 1)) if train else 0
            pieces.append(x[:, start : start + missing])
            missing -= pieces[-1].shape[1]
        return torch.from_numpy(np.concatenate(pieces, axis=1))

    def figures(self, x: Tensor, x_hat: Tensor) -> dict[str, float]:
        """Features have no figures beside the losses."""
        return {}

    def preview(self) -> Preview:
        """Return the writer of originals and reconstructions as arrays."""
        return FeaturePreview()

    def _array(self, item: Item) -> np.ndarray:
        return item if isinstance(item, np.ndarray) else self.decode(item)


class FeaturePreview:
    """Writes `features.npz`: `x` and `x_hat`, `[B, C, N]`, and the items' `names`."""

    def write(self, folder: Path, x: Tensor, x_hat: Tensor, *, names: Sequence[str] = ()) -> dict[str, Any]:
        """Write the batches `[B, C, N]` of originals and reconstructions to one file; see `data.media.Preview`."""
        np.savez(folder / "features.npz", x=x.numpy(), x_hat=x_hat.numpy(), names=np.array(names, dtype=str))
        return {}
