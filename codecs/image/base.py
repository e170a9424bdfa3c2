"""`ImageTokenizer`: intake, ragged batches, sizes and tiling for every image family.

Letters: B batch, H W pixels, h w grid, D latent width, K codebooks, L positions.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernels.conv_stack import ConvStack
from ..media import Prepared, as_image
from ..spec import ImageSpec
from ..tokenizer import Reconstruction, Tokenizer, group_by_shape
from ..tokens import Tokens

Resize = Literal["native", "crop", "squash"]


class ImageTokenizer(Tokenizer):
    """Base of the image families.

    A family writes `encode_latents` (`[B, 3, H, W]`, a size that fits, to `[B, D, L]`) and `decode_latents` (back),
    and sets `context_positions` where large pictures may be cut into tiles.
    """

    spec: ImageSpec
    #: Grid positions on each side that an id, or a pixel, depends on; None: on the whole picture (attention, norms).
    context_positions: int | None = None
    #: Side of the largest tile that goes through the network at once, in grid positions.
    tile_positions: int = 128

    @property
    def size_multiple(self) -> int:
        """What height and width are padded to a multiple of, in size-free families."""
        return self.spec.stride

    # --- encode ---------------------------------------------------------------------------------------------------

    def prepare(self, media: Any, *, resize: Resize | None = None) -> Prepared:
        """One picture read, checked and brought to a size that the network takes, for another thread than the model's.

        `encode` takes lists of these and gives the same ids as for the media; the original's size stands in `size`.
        """
        picture = as_image(media, self.spec.value_range)
        resize = resize or self.spec.resize
        return Prepared(self._fit_in(picture, resize), self.kept_size(picture, resize))

    @torch.no_grad()
    def encode(self, media: Any, *, resize: Resize | None = None, num_codebooks: int | None = None) -> Tokens:
        """Turn pictures into tokens.

        Args:
            media: a path; a PIL picture; uint8 or uint16 arrays `[H, W, 3]`; a float tensor `[3, H, W]` or batch
                `[B, 3, H, W]` with values in `spec.value_range`; or a list of these, of any sizes.
            resize: what to do with a picture that is not of `spec.image_size`: "crop" (scale the short side, centre
                crop) or "squash" (scale both sides); None takes `spec.resize`. Size-free families take it as it is
                ("native").
            num_codebooks: stop after this many codebooks, where `spec.prefix` holds "codebooks".

        Returns:
            `Tokens` with ids `[B, K, L]`; where grids differ, each item's own stands in `grids`.

        Raises:
            ValueError: wrong rank or range, NaN, unreadable file; the message says what to do.
        """
        pictures, resize = self._pictures(media), resize or self.spec.resize
        xs = [self._fit_in(p, resize) for p in pictures]
        parts: list[Tokens | None] = [None] * len(xs)
        for group in group_by_shape(xs):
            x = torch.stack([xs[i] for i in group]).to(self.device, self.dtype)  # [B, 3, H, W]
            ids, lengths = self.encode_batch(x, num_codebooks)
            k, grid = ids.shape[1], self.grid_of(x)
            for row, i in enumerate(group):
                parts[i] = Tokens(
                    ids=ids[row : row + 1].cpu(),
                    vocab_sizes=self.spec.vocab_sizes[:k],
                    grid=grid or (),
                    lengths=None if lengths is None else lengths[row : row + 1].cpu(),  # type: ignore[arg-type]
                    sizes=torch.tensor([self.kept_size(pictures[i], resize)]),
                    scales=self.scales_of(x),
                    names=self.spec.names[:k],
                )
        return Tokens.cat(parts).to(self.device)  # type: ignore[arg-type]

    def encode_batch(self, x: Tensor, num_codebooks: int | None = None) -> tuple[Tensor, Tensor | None]:
        """Ids `[B, K, L]` and lengths `[B]` (None: all L) of pictures of one size, `[B, 3, H, W]`."""
        z = self._in_tiles(x)
        return self.quantizer.encode(z, grid=self.grid_of(x), num_codebooks=num_codebooks), None

    def grid_of(self, x: Tensor) -> tuple[int, int] | None:
        """Token grid `(h, w)` of a batch `[B, 3, H, W]`; None: a plain sequence."""
        s = self.spec.stride
        return (-(-x.shape[-2] // s), -(-x.shape[-1] // s)) if s else None

    def scales_of(self, x: Tensor) -> tuple[tuple[int, int], ...]:
        """Grids of a multi-scale layout for a batch `[B, 3, H, W]`; empty for all others."""
        return self.spec.scales

    def _pictures(self, media: Any) -> list[Tensor]:
        many = isinstance(media, (list, tuple)) or (hasattr(media, "ndim") and media.ndim == 4)
        if not many:
            return [as_image(media, self.spec.value_range)]
        if len(media) == 0:
            raise ValueError("encode got an empty list; pass at least one picture.")
        return [as_image(m, self.spec.value_range, name=f"picture {i}") for i, m in enumerate(media)]

    def _fit_in(self, x: Tensor, resize: str) -> Tensor:
        """Bring one picture `[3, H, W]` to a size that the network takes."""
        if self.spec.image_size is None:
            return pad_to_stride(x, self.size_multiple)
        if tuple(x.shape[-2:]) == self.spec.image_size:
            return x
        if resize == "native":
            raise ValueError(
                f"{self.family} takes pictures of {self.spec.image_size}, got {list(x.shape[-2:])}. "
                'Pass resize="crop" or resize="squash".'
            )
        return resize_image(x, self.spec.image_size, crop=resize == "crop", value_range=self.spec.value_range)

    def kept_size(self, x: Tensor, resize: str) -> tuple[int, int]:
        """Height and width that `decode` gives back of a picture `[3, H, W]`: its own or, of a crop, those of the part kept."""
        height, width = x.shape[-2:]
        if self.spec.image_size is None or resize != "crop":
            return height, width
        scale = min(n / m for n, m in zip((height, width), self.spec.image_size, strict=True))
        return tuple(max(1, round(m * scale)) for m in self.spec.image_size)  # type: ignore[return-value]

    def compile(self, **options: Any) -> "ImageTokenizer":  # type: ignore[override]
        """As `Tokenizer.compile`; convolutional stacks on a CPU stay outside (`layers/conv_stack.py`)."""
        for part in self.modules():
            if isinstance(part, ConvStack):
                part.stay_outside()
        return super().compile(**options)  # type: ignore[return-value]

    def _in_tiles(self, x: Tensor) -> Tensor:
        """`encode_latents` tile by tile, with margins that cover the receptive field, so that tiles equal the whole."""
        s, context = self.spec.stride, self.context_positions
        h, w = self.grid_of(x) or (0, 0)
        if context is None or max(h, w) <= self.tile_positions + 2 * context:
            return self.encode_latents(x)
        rows = []
        for top, bottom, t, b in _spans(h, self.tile_positions, context):
            row = []
            for left, right, l, r in _spans(w, self.tile_positions, context):
                z = self.encode_latents(x[..., t * s : b * s, l * s : r * s]).unflatten(-1, (b - t, r - l))
                row.append(z[..., top - t : bottom - t, left - l : right - l])
            rows.append(torch.cat(row, dim=-1))
        return torch.cat(rows, dim=-2).flatten(-2)  # [B, D, h * w]

    # --- decode ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def decode(self, tokens: Tokens, *, original: bool = True) -> Tensor | list[Tensor]:
        """Turn tokens back into pictures.

        Args:
            tokens: what `encode` of this tokenizer gave, or a cut of it that `spec.prefix` allows.
            original: give pictures of the original's size: size-free families cut their padding off, families of one
                `spec.image_size` scale back (after a crop: to the size of the part that was kept). False gives what the
                network gave.

        Returns:
            float32 `[B, 3, H, W]` around `spec.value_range`, or a list of `[3, H, W]` where sizes differ. Not clipped;
            `to_uint8` does that.
        """
        return self.decode_with(tokens, lambda ids, grid, items: self.decode_batch(ids, grid), original=original)

    def decode_with(
        self,
        tokens: Tokens,
        run: Callable[[Tensor, tuple[int, ...], list[int]], Tensor],
        *,
        original: bool = True,
    ) -> Tensor | list[Tensor]:
        """The body of `decode`, for families whose decoder takes more than ids (text, noise, a seed).

        Args:
            tokens, original: as in `decode`.
            run: gives pictures `[B, 3, H, W]` of ids `[B, K, L]`, their grid, and which items of `tokens` they are.
        """
        self.check_tokens(tokens)
        items = [tokens[i] for i in range(len(tokens))]
        groups: dict[tuple[Any, ...], list[int]] = {}
        for i, t in enumerate(items):
            groups.setdefault((t.grid, t.ids.shape), []).append(i)
        outs: list[Tensor | None] = [None] * len(items)
        for (grid, _), group in groups.items():
            ids = torch.cat([items[i].ids for i in group]).to(self.device)
            x = run(ids, grid, group)  # [B, 3, H, W]
            for row, i in enumerate(group):
                outs[i] = self._fit_out(x[row].float(), items[i]) if original else x[row].float()
        shapes = {o.shape for o in outs}  # type: ignore[union-attr]
        return torch.stack(outs) if len(shapes) == 1 else outs  # type: ignore[arg-type, return-value]

    def decode_batch(self, ids: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Pictures `[B, 3, H, W]` of ids `[B, K', L]` of one grid."""
        z_q = self.quantizer.decode(ids, grid=grid).to(self.dtype)
        context = self.context_positions
        if context is None or len(grid) != 2 or max(grid) <= self.tile_positions + 2 * context:
            return self.decode_latents(z_q, grid)
        return self._decode_tiles(z_q.unflatten(-1, grid), context)

    def _decode_tiles(self, z_q: Tensor, context: int) -> Tensor:
        s, rows = self.spec.stride, []
        for top, bottom, t, b in _spans(z_q.shape[-2], self.tile_positions, context):
            row = []
            for left, right, l, r in _spans(z_q.shape[-1], self.tile_positions, context):
                x = self.decode_latents(z_q[..., t:b, l:r].flatten(-2), (b - t, r - l))
                row.append(x[..., (top - t) * s : (bottom - t) * s, (left - l) * s : (right - l) * s])
            rows.append(torch.cat(row, dim=-1))
        return torch.cat(rows, dim=-2)

    def _fit_out(self, x: Tensor, tokens: Tokens) -> Tensor:
        """Cut or scale one decoded picture `[3, H, W]` to the original's size."""
        if tokens.sizes is None:
            return x
        height, width = (int(n) for n in tokens.sizes[0])
        if self.spec.image_size is None:
            return x[..., :height, :width]
        if (height, width) == tuple(x.shape[-2:]):
            return x
        return resize_image(x, (height, width), crop=False, value_range=None)

    def to_uint8(self, x: Tensor) -> Tensor:
        """Pictures in `spec.value_range` as uint8 0..255, clipped and rounded; any leading shape."""
        low, high = self.spec.value_range
        return ((x - low) / (high - low) * 255).round().clamp(0, 255).to(torch.uint8)

    # --- training -------------------------------------------------------------------------------------------------

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct a batch `[B, 3, H, W]` with gradients; sizes that do not fit are padded and cut as in `encode`."""
        size = x.shape[-2:]
        if self.spec.image_size is None:
            x = pad_to_stride(x, self.size_multiple)
        grid = self.grid_of(x)
        z = self.encode_latents(x)
        quantized = self.quantizer(z, grid=grid)
        x_hat = self.decode_latents(quantized.z_q, grid)[..., : size[0], : size[1]]
        return Reconstruction(x_hat=x_hat, z=z, quantized=quantized)


def pad_to_stride(x: Tensor, stride: int) -> Tensor:
    """Repeat the last row and column of `[..., H, W]` up to multiples of `stride`."""
    bottom, right = -x.shape[-2] % stride, -x.shape[-1] % stride
    if not bottom and not right:
        return x
    batched = x if x.ndim == 4 else x[None]
    return F.pad(batched, (0, right, 0, bottom), mode="replicate").view(*x.shape[:-2], x.shape[-2] + bottom, -1)


def resize_image(
    x: Tensor, size: tuple[int, int], *, crop: bool, value_range: tuple[float, float] | None
) -> Tensor:
    """Antialiased bicubic resizing of `[3, H, W]` to `size`; with `crop` the aspect stays and the centre is kept."""
    height, width = size
    if crop:
        x = _middle(x, size)
        scale = max(height / x.shape[-2], width / x.shape[-1])
        whole = (max(height, round(x.shape[-2] * scale)), max(width, round(x.shape[-1] * scale)))
    else:
        whole = size
    y = F.interpolate(x[None], size=whole, mode="bicubic", antialias=True, align_corners=False)[0]
    top, left = (whole[0] - height) // 2, (whole[1] - width) // 2
    y = y[..., top : top + height, left : left + width]
    return y if value_range is None else y.clamp(*value_range)


def _middle(x: Tensor, size: tuple[int, int]) -> Tensor:
    """`x [3, H, W]` without the ends of very long pictures: scaled up whole, a line of pixels would fill the memory."""
    for axis, other in ((-2, -1), (-1, -2)):
        most = -(-16 * x.shape[other] * size[axis] // size[other])  # 16 times the part that is kept
        extra = (x.shape[axis] - most) // 2
        if extra > 0:
            x = x.narrow(axis, extra, x.shape[axis] - 2 * extra)
    return x


def _spans(count: int, size: int, context: int) -> list[tuple[int, int, int, int]]:
    """(start, stop, left, right) of each tile along one axis: `start..stop` is kept of what `left..right` gives."""
    return [(s, min(s + size, count), max(0, s - context), min(s + size + context, count)) for s in range(0, count, size)]
