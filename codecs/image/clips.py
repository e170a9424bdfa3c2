"""`ClipTokenizer`: what tokenizers of clips share, lengths, windows and cuts. A single picture is a clip of one frame.

Letters: B batch, T frames, H W pixels, t h w grid, D latent width, K codebooks, L = t h w.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..coding import Batch, Coded
from ..config import ConfigError
from ..media import Prepared, as_clips
from ..options import DecodeOptions, ImageEncodeOptions, check_at_least
from ..quantizers.base import Quantizer, QuantizerConfig
from ..spec import ImageSpec
from ..token_fields import TokenError
from ..tokenizer import Reconstruction
from ..tokens import Tokens
from .base import ImageTokenizer, pad_to_stride


@dataclass(frozen=True, kw_only=True)
class ClipEncodeOptions(ImageEncodeOptions):
    """Options of `encode`.

    Attributes:
        frames: of longer clips take this many frames, evenly spaced; None: all.
        window: cut clips into pieces of this many frames that are encoded independently; `decode` needs the same. None: whole clips.
    """

    frames: int | None = None
    window: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("frames", self.frames, 1)
        check_at_least("window", self.window, 1)


@dataclass(frozen=True, kw_only=True)
class ClipDecodeOptions(DecodeOptions):
    """Options of `decode`.

    Attributes:
        window: the window that the ids were encoded with; None: none.
    """

    window: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("window", self.window, 1)


class ClipTokenizer(ImageTokenizer):
    """Base class of tokenizers of clips.

    A family sets `time_factor`, and writes `encode_clips` and `decode_clips`; where frames are computed one by one, `encode_latents`
    and `decode_frames` in their place, which then leave out the frames of `fill`. The first frame has a step of its own, and each
    further `time_factor` frames share one; clips of other lengths repeat their last frame. A family of other lengths overrides
    `steps_of`, `fill` and `cut`, which belong together.
    """

    encode_options = ClipEncodeOptions
    decode_options = ClipDecodeOptions

    @property
    def time_factor(self) -> int:
        """Frames from one step of the grid to the next."""
        raise NotImplementedError

    def encode_clips(self, x: Tensor) -> Tensor:
        """Latents `[B, D, t, h, w]` of clips `[B, 3, T, H, W]` of a length and a size that fit."""
        raise NotImplementedError

    def decode_clips(self, z_q: Tensor) -> Tensor:
        """Clips `[B, 3, T, H, W]` of quantized latents `[B, D, t, h, w]`, all frames of all steps."""
        raise NotImplementedError

    def set_quantizer(self, config: QuantizerConfig, *, dim: int, stride: int) -> None:
        """Build the quantizer and the spec. Raises ConfigError for a quantizer that needs the grid of a picture."""
        self.quantizer: Quantizer = config.build(dim=dim)
        if self.quantizer.needs_grid:
            raise ConfigError(f"quantizer is {config.kind!r}, which needs the grid of a picture; clips have other grids.")
        self.spec = dataclasses.replace(ImageSpec.of(self.quantizer, stride=stride), clips=True)

    # --- lengths ----------------------------------------------------------------------------------------------------------

    def steps(self, frames: int, window: int | None = None) -> int:
        """t, the steps of a clip of `frames` frames."""
        window = frames if window is None else window
        full, rest = divmod(frames, window)
        return full * self.steps_of(window) + (self.steps_of(rest) if rest else 0)

    def steps_of(self, frames: int) -> int:
        """t of a clip that is encoded whole."""
        return 1 + -(-(frames - 1) // self.time_factor)

    def fill(self, x: Tensor) -> Tensor:
        """Clips `[B, T, 3, H, W]` of any length, brought to the next that fits."""
        missing = (1 - x.shape[1]) % self.time_factor
        return torch.cat([x, x[:, -1:].expand(-1, missing, -1, -1, -1)], dim=1)

    def cut(self, x: Tensor, frames: int) -> Tensor:
        """The `frames` frames of decoded clips `[..., T, 3, H, W]` that are not of `fill`."""
        return x[..., :frames, :, :, :]

    # --- encode -----------------------------------------------------------------------------------------------------------

    def prepare_media(self, media: Any, options: ClipEncodeOptions) -> list[Prepared]:
        """Clips of any kind (see `media/clips.py`), padded to multiples of the stride."""
        clips = as_clips(media, self.spec.value_range, given_range=options.value_range, frames=options.frames)
        return [Prepared(pad_to_stride(c, self.size_multiple), (len(c), *c.shape[-2:])) for c in clips]

    def grid_of(self, x: Tensor) -> tuple[int, ...]:
        """Grid `(t, h, w)` of a batch of whole clips `[B, T, 3, H, W]`, or of pictures `[B, 3, H, W]`."""
        height, width = x.shape[-2:]
        return self.steps(x.shape[1] if x.ndim == 5 else 1), -(-height // self.spec.stride), -(-width // self.spec.stride)

    def encode_batch(self, x: Tensor, batch: Batch) -> Coded:
        """Ids of clips `[B, T, 3, H, W]`, window by window."""
        parts = x.split(batch.options.window or x.shape[1], dim=1)
        return self.ids_of(torch.cat([self.latents_of(part, batch) for part in parts], dim=-1), batch)

    def tokens_of_batch(self, coded: Coded, items: Sequence[Prepared], batch: Batch) -> Tokens:
        """Tokens of a batch; their grid follows from the window too."""
        assert batch.grid is not None
        grid = (self.steps(items[0].size[0], batch.options.window), *batch.grid[1:])
        return super().tokens_of_batch(coded, items, dataclasses.replace(batch, grid=grid))

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, L]` of clips `[B, T, 3, H, W]` of any number of frames, or of pictures `[B, 3, H, W]`."""
        x = self.fill(x[:, None] if x.ndim == 4 else x)
        return self.encode_clips(x.transpose(1, 2)).flatten(2)

    # --- decode -----------------------------------------------------------------------------------------------------------

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None, frames: int | None = None) -> Tensor:
        """Clips `[B, T, 3, H, W]` of quantized latents `[B, D, L]`; `frames` as in `decode_frames`."""
        if grid is None or len(grid) != 3:
            raise ValueError(f"{self.family} needs the grid (t, h, w) of its latents, got {grid}.")
        return self.decode_frames(z_q.unflatten(-1, grid), frames)

    def decode_frames(self, z_q: Tensor, frames: int | None) -> Tensor:
        """Clips `[B, T, 3, H, W]` of quantized latents `[B, D, t, h, w]`: the `frames` frames that are not of `fill`.

        `frames` is None for all frames of all steps.
        """
        x = self.decode_clips(z_q).transpose(1, 2)
        return x if frames is None else self.cut(x, frames)

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Clips `[B, T, 3, H, W]` of ids `[B, K, L]`, window by window.

        Raises:
            TokenError: the tokens have another number of steps than clips of their length with this window.
        """
        assert batch.grid is not None
        (t, h, w), window = batch.grid, batch.options.window
        for frames, *_ in batch.sizes:
            if self.steps(frames, window) != t:
                raise TokenError(
                    f"tokens of {frames} frames have {t} steps; with window={window} there would be {self.steps(frames, window)}. "
                    "Pass the window that they were encoded with."
                )
        z_q = self.vectors_of(ids, batch.grid)
        if window is None:
            longest = max((size[0] for size in batch.sizes), default=None) if batch.options.original else None
            return self.decode_latents(z_q, batch.grid, longest)
        parts = [part.flatten(2) for part in z_q.unflatten(-1, (t, h, w)).split(self.steps_of(window), dim=2)]
        return torch.cat([self.decode_latents(p, (p.shape[-1] // (h * w), h, w), window) for p in parts], dim=1)

    def fit_out(self, x: Tensor, item: Tokens, options: ClipDecodeOptions) -> Tensor:
        """One clip `[T, 3, H, W]` cut to the original's length and size."""
        if item.sizes is None or not options.original:
            return x
        frames, height, width = (int(n) for n in item.sizes[0])
        before = (frames - 1) // options.window * options.window if options.window else 0  # frames of the windows before the last
        x = torch.cat([x[:before], self.cut(x[before:], frames - before)])
        return x[..., :height, :width]

    # --- training ---------------------------------------------------------------------------------------------------------

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct whole clips `[B, T, 3, H, W]`, or pictures `[B, 3, H, W]`, with gradients."""
        whole = pad_to_stride(x.flatten(0, -4), self.size_multiple).unflatten(0, x.shape[:-3])
        grid, z = self.grid_of(whole), self.encode_latents(whole)
        quantized = self.quantizer(z)
        x_hat = self.decode_latents(quantized.z_q, grid, x.shape[1] if x.ndim == 5 else 1)
        x_hat = x_hat[..., : x.shape[-2], : x.shape[-1]]
        return Reconstruction(x_hat=x_hat if x.ndim == 5 else x_hat[:, 0], z=z, quantized=quantized)
