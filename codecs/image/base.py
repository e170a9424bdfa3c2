"""`ImageTokenizer`: input preparation, sizes and tiling for every image family.

Letters: B batch, H W pixels, h w grid, D latent width, K codebooks, L positions.
"""

from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ..coding import Batch, Coded
from ..kernels.conv_stack import ConvStack
from ..media import Prepared, as_pictures
from ..options import EncodeOptions, ImageEncodeOptions
from ..pieces import Span, over, plan
from ..precision import widened
from ..spec import ImageSpec
from ..token_checks import scales_of
from ..tokenizer import Reconstruction, Tokenizer
from ..tokens import Tokens


class ImageTokenizer(Tokenizer):
    """Base class of all image tokenizers.

    A family writes `encode_latents` (`[B, 3, H, W]`, a size that fits, to `[B, D, L]`) and `decode_latents` (back),
    and sets `context_positions` where large pictures may be cut into tiles. It may override the hooks of `coding.py`, and for sizes
    `size_multiple`, `grid_of`, `fit_in`, `kept_size` and `fit_out`.
    """

    encode_options: type[EncodeOptions] = ImageEncodeOptions
    spec: ImageSpec
    #: Grid positions on each side that an id, or a pixel, depends on; None: it depends on the whole picture (attention, norms).
    context_positions: int | None = None
    #: Positions along each axis that are processed at once, context not counted; None: always the whole picture.
    piece_positions: int | None = 128

    @property
    def size_multiple(self) -> int:
        """In families for any size, height and width are padded to multiples of this number of pixels."""
        return self.spec.stride

    # --- encode ---------------------------------------------------------------------------------------------------

    def prepare_media(self, media: Any, options: Any) -> list[Prepared]:
        """Convert pictures of any kind to tensors of a size that the network takes.

        Args:
            media: a path; a PIL picture; uint8 or uint16 arrays `[H, W, 3]`; a float tensor `[3, H, W]` or batch
                `[B, 3, H, W]` with values in `spec.value_range`; or a list of these, of any sizes.
            options: `resize` and `value_range` are read.

        Raises:
            MediaError: wrong rank or range, NaN, an unreadable file.
            ValueError: `resize` is "native" and the size is not `spec.image_size`.
        """
        resize = options.resize or self.spec.resize
        pictures = as_pictures(media, self.spec.value_range, given_range=options.value_range)
        return [Prepared(self.fit_in(x, resize), self.kept_size(x, resize)) for x in pictures]

    def fit_in(self, x: Tensor, resize: str) -> Tensor:
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
        """Height and width that `decode` returns for a picture `[3, H, W]`: its own or, after a crop, those of the part kept."""
        height, width = x.shape[-2:]
        if self.spec.image_size is None or resize != "crop":
            return height, width
        scale = min(n / m for n, m in zip((height, width), self.spec.image_size, strict=True))
        height, width = (max(1, round(m * scale)) for m in self.spec.image_size)
        return height, width

    def grid_of(self, x: Tensor) -> tuple[int, int] | None:
        """Token grid `(h, w)` of a batch `[B, 3, H, W]`; None: a plain sequence."""
        s = self.spec.stride
        return (-(-x.shape[-2] // s), -(-x.shape[-1] // s)) if s else None

    def encode_batch(self, x: Tensor, batch: Batch) -> Coded:
        """Ids `[B, K, L]` of pictures `[B, 3, H, W]`; the latents of large pictures are computed tile by tile."""
        s, (h, w) = self.spec.stride, batch.grid or (1, 1)
        rows, columns = self._plan(h), self._plan(w)
        if len(rows) == len(columns) == 1:
            return self.ids_of(self.latents_of(x, batch), batch)

        def cut(row: Span, column: Span) -> Tensor:
            return x[..., row.left * s : row.right * s, column.left * s : column.right * s]

        def run(tile: Tensor, row: Span, column: Span) -> Tensor:
            return self.latents_of(tile, batch).unflatten(-1, (row.right - row.left, column.right - column.left))

        return self.ids_of(over(rows, columns, cut, run).flatten(-2), batch)  # of [B, D, h * w]

    def layout_of(self, codebooks: int, grid: tuple[int, ...] | None) -> dict[str, Any]:
        """Fields of `Tokens` that describe the layout: `scales`, the grids of a multi-scale quantizer for this full grid."""
        return {"scales": scales_of(self, grid)}

    def _plan(self, positions: int) -> list[Span]:
        """The tiles of one axis of a grid."""
        return plan(positions, self.piece_positions, self.context_positions)

    def compile(self, **options: Any) -> Self:
        """As `Tokenizer.compile`; convolutional stacks on a CPU stay outside (`kernels/conv_stack.py`)."""
        for part in self.modules():
            if isinstance(part, ConvStack):
                part.stay_outside()
        return super().compile(**options)

    # --- decode ---------------------------------------------------------------------------------------------------

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Pictures `[B, 3, H, W]` of ids `[B, K', L]` of one grid, tile by tile where they are large."""
        z_q, s = self.vectors_of(ids, batch.grid), self.spec.stride
        h, w = batch.grid if batch.grid is not None and len(batch.grid) == 2 else (1, 1)
        rows, columns = self._plan(h), self._plan(w)
        if len(rows) == len(columns) == 1:
            return self.decode_latents(z_q, batch.grid)
        z_q = z_q.unflatten(-1, (h, w))

        def cut(row: Span, column: Span) -> Tensor:
            return z_q[..., row.left : row.right, column.left : column.right].flatten(-2)

        def run(tile: Tensor, row: Span, column: Span) -> Tensor:
            return self.decode_latents(tile, (row.right - row.left, column.right - column.left))

        return over(rows, columns, cut, run, rate=s)

    def fit_out(self, x: Tensor, item: Tokens, options: Any) -> Tensor:
        """One decoded picture `[3, H, W]` cut or scaled to the original's size.

        Families of any size cut their padding off, families of one `spec.image_size` scale back (after a crop: to the size of the
        part that was kept). `original=False` returns the network's output unchanged. Values may exceed `spec.value_range` a little;
        `to_uint8` clips.
        """
        if item.sizes is None or not options.original:
            return x
        height, width = (int(n) for n in item.sizes[0])
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
    y = F.interpolate(widened(x)[None], size=whole, mode="bicubic", antialias=True, align_corners=False)[0].to(x.dtype)
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
