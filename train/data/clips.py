"""Random windows of clips of pictures for training: films and animations, of each some frames at a rate, all with one crop.

Source: VidTok (arXiv 2412.13061, section 3.3) trains on 17 frames at 3 a second, so that frames differ; microsoft/VidTok @ d6ad92d98e,
vidtok/data/vidtok.py. Letters: T frames, C channels, H W pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ...codecs.config import ConfigError
from ...codecs.media import IMAGE_ENDINGS, VIDEO_ENDINGS, Blob
from ...codecs.media.clip_windows import read_window
from ...codecs.spec import ImageSpec, TokenizerSpec
from ..preview import ImagePreview
from .images import ImageDataConfig, Images
from .media import Item, Preview
from .places import Place
from .sizes import BucketConfig

#: Frames of a clip that a preview shows.
_SHOWN = 4


@dataclass(frozen=True, kw_only=True)
class ClipDataConfig(ImageDataConfig):
    """How windows are cut from clips; the settings of pictures say which crop all frames have. Pictures are clips of one frame.

    Attributes:
        frames: T of a window; shorter clips repeat their last frame.
        rate_hz: frames a second, of the clip's own time; 0: every frame. With `cache: memory` clips are kept at this rate.
    """

    kind: ClassVar[str] = "clips"
    frames: int = 17
    rate_hz: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames < 1 or self.rate_hz < 0:
            raise ConfigError(
                f"data.frames is {self.frames}, data.rate_hz {self.rate_hz}; need at least one frame, and no negative rate."
            )
        unfit = [name for name in ("degrade", "min_std", "max_side") if getattr(self, name)]
        if unfit:
            raise ConfigError(f"data.{unfit[0]} is for pictures; clips have no such setting. Leave it out.")
        if isinstance(self.crop, BucketConfig):
            raise ConfigError("data.crop asks for several aspects, which are for pictures; clips are square. Give one side or several.")
        for name, partner in self.partners.items():
            if partner.kind not in ("text", "features"):
                raise ConfigError(f"data.partners.{name} is of kind {partner.kind!r}; clips have texts and features alone.")

    def media(self, spec: TokenizerSpec) -> "ClipWindows":
        if not isinstance(spec, ImageSpec) or not spec.clips:
            raise ConfigError("data.kind is 'clips', but the tokenizer takes single pictures; set data.kind to images.")
        return ClipWindows(self if self.crop else replace(self, crop=128), spec.channels, spec.value_range)


class ClipWindows(Images):
    """The `Media` of clips. The cache keeps uint8 `[N, H, W, 3]`, all frames at the rate of the windows."""

    suffixes = (*VIDEO_ENDINGS, *IMAGE_ENDINGS)
    config: ClipDataConfig

    def __init__(self, config: ClipDataConfig, channels: int, value_range: tuple[float, float]) -> None:
        super().__init__(config, channels, value_range)
        self.shape = (config.frames, *self.shape)
        self.shapes = tuple((config.frames, *shape) for shape in self.shapes)

    def decode(self, blob: Blob) -> np.ndarray:
        """Return uint8 `[N, H, W, 3]`."""
        return read_window(blob, frames=None, rate_hz=self.config.rate_hz)

    def crops_in(self, item: Item) -> float:
        """Windows that lie one after another in a clip."""
        count = len(item) if isinstance(item, np.ndarray) else len(self.decode(item))
        return count / self.config.frames

    def crop(
        self,
        draw: Callable[[], Item],
        rng: np.random.Generator,
        train: bool,
        *,
        shape: tuple[int, ...] | None = None,
        note: Callable[[Place], None] = lambda place: None,
    ) -> Tensor:
        """Return float32 `[T, C, H, W]` in the value range: in training from any place of the clip, else from its beginning."""
        size, item = (shape or self.shape)[2:], draw()
        clip = self._window(item, float(rng.random()) if train else 0.0)
        place = self._place(clip.shape[1], clip.shape[2], (size[0], size[1]), rng, train)
        place = replace(place, mirrored=bool(train and self.config.flip and rng.random() < 0.5))
        note(place)
        return torch.stack([self.at(frame, place) for frame in clip])

    def preview(self) -> Preview:
        """Return the writer of sheets of a few frames of each clip."""
        return ClipPreview(self.value_range)

    def _window(self, item: Item, share: float) -> np.ndarray:
        """uint8 `[T, H, W, 3]` of a clip; `share` as in `read_window`."""
        count = self.config.frames
        if not isinstance(item, np.ndarray):
            return read_window(item, frames=count, rate_hz=self.config.rate_hz, share=share)
        start = round(share * max(0, len(item) - count))
        window = item[start : start + count]
        return np.concatenate([window, window[-1:].repeat(count - len(window), 0)])


class ClipPreview(ImagePreview):
    """Writes `grid.png`: of each clip a few frames side by side, originals above."""

    def write(self, folder: Path, x: Tensor, x_hat: Tensor, *, names: Sequence[str] = ()) -> dict[str, Any]:
        """See `data.media.Preview`; media `[B, T, C, H, W]`."""
        some = sorted({round(i * (x.shape[1] - 1) / (_SHOWN - 1)) for i in range(_SHOWN)})
        strips = [torch.cat(batch[:, some].unbind(1), dim=-1) for batch in (x, x_hat)]
        return super().write(folder, strips[0], strips[1], names=names)
