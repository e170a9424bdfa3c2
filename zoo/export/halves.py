"""The halves of a tokenizer as modules from tensors to tensors, with the shapes that an exported file accepts.

    encoder   samples [B, C, T] or pictures [B, 3, H, W] -> ids [B, K, L], of pictures of any size [B, K, h, w]
    decoder   the same ids -> samples or pictures

Both call the tokenizer's own hooks (`codecs/coding.py`), so that a file computes what `encode` and `decode` compute. Media are
prepared outside: resampled, of a size that fits, in the tokenizer's value range.

Letters: B batch, C channels, T samples, H W pixels, h w grid, K codebooks, L positions.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ...codecs.coding import Batch
from ...codecs.layers.causal import Conv1d
from ...codecs.modalities import is_pictures, is_sound
from ...codecs.options import make_options
from ...codecs.spec import AudioSpec, ImageSpec
from ...codecs.tokenizer import Tokenizer
from .errors import NotExportable

#: Names of media in files, by modality.
MEDIA = {"audio": "waveform", "image": "picture", "latent": "features"}


@dataclass(frozen=True)
class Axis:
    """One axis of an input.

    Attributes:
        name: as files state it, e.g. "batch".
        size: in the example, and in every call where the axis is fixed.
        multiple: a free axis may have any multiple of this; 0: the axis is fixed.
        least: of a free axis, the smallest such multiple.
    """

    name: str
    size: int
    multiple: int = 0
    least: int = 1

    @property
    def described(self) -> int | str:
        """The size of a fixed axis, else an expression such as "320 * length"."""
        return self.size if not self.multiple else self.name if self.multiple == 1 else f"{self.multiple} * {self.name}"


@dataclass(frozen=True)
class Input:
    """An input of a file: name, axes, and values that examples are drawn from (`low..high`; of ids, each codebook's vocabulary).

    `integer`: the values are int64, as ids are.
    """

    name: str
    axes: tuple[Axis, ...]
    low: float = 0.0
    high: float = 1.0
    vocab_sizes: tuple[int, ...] = ()
    integer: bool = False

    def example(self, factor: int = 1, batch: int = 2) -> Tensor:
        """Values of the example's shape, free axes `factor` times as long and `batch` rows; the same every time."""
        shape = [a.size * factor if a.multiple else a.size for a in self.axes]
        shape[0] = batch if self.axes[0].multiple else self.axes[0].size
        generator = torch.Generator().manual_seed(0)
        uniform = torch.rand(shape, generator=generator)
        if self.vocab_sizes:
            sizes = torch.tensor(self.vocab_sizes).view(-1, *[1] * (len(shape) - 2))
            return (uniform.double() * sizes).long().minimum(sizes - 1)
        values = self.low + (self.high - self.low) * uniform
        return values.long() if self.integer else values

    def fixed(self, free: Sequence[str] = ()) -> "Input":
        """A copy whose axes are fixed, except those named in `free`."""
        return replace(self, axes=tuple(a if a.name in free else replace(a, multiple=0) for a in self.axes))


class Half(nn.Module):
    """Base of the modules that are exported.

    Attributes:
        inputs: what `forward` takes, in order.
        outputs: names of what it returns, in order.
        variadic: whether `forward` takes all inputs but the first as `*tensors`.
    """

    variadic = False
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    def _whole(self, x: Tensor, at: int) -> Tensor:
        """`x`, input number `at`, with free axes written as multiples, so that sizes within the network are whole for the tracer."""
        for dim, axis in enumerate(self.inputs[at].axes):
            if axis.multiple > 1:
                count = x.shape[dim] // axis.multiple
                x = x.reshape(*x.shape[:dim], count, axis.multiple, *x.shape[dim + 1 :])
                x = x.reshape(*x.shape[:dim], count * axis.multiple, *x.shape[dim + 2 :])
        return x


class EncoderHalf(Half):
    """Media to ids and what tokens carry beside them: vectors, or the loudness `[B, S]` that was divided out."""

    def __init__(self, tokenizer: Tokenizer, *, codebooks: int | None, size: int | None) -> None:
        super().__init__(tokenizer)
        self.options = make_options(tokenizer, "encode", None, {} if codebooks is None else {"num_codebooks": codebooks})
        tokenizer._check_codebooks(self.options.num_codebooks)
        self.inputs = (media_input(tokenizer, size),)
        self.gridded = is_gridded(tokenizer)
        self.outputs = ("ids", *tokenizer.side_shapes)
        if varying := sorted(set(tokenizer.spec.side_vectors) - set(self.outputs)):
            raise NotExportable(tokenizer, "encoder", f"its tokens carry {varying[0]} vectors whose number depends on the item")

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Ids of prepared media."""
        tokenizer = self.tokenizer
        x = self._whole(x, 0)
        x = x.to(tokenizer.dtype) if x.is_floating_point() else x
        batch = Batch(options=self.options, items=range(1), total=1, grid=tokenizer.grid_of(x))
        with in_one_piece(tokenizer):
            made = tokenizer.encode_batch(x, batch)
        if made.lengths is not None:
            raise NotExportable(tokenizer, "encoder", "the number of its tokens depends on the item")
        ids = made.ids.unflatten(-1, batch.grid) if self.gridded and batch.grid else made.ids
        beside = {} if made.scale is None else {"scale": made.scale}
        beside |= {name: batch.notes[name] for name in tokenizer.side_shapes}
        self.outputs = ("ids", *beside)
        return (ids, *(x.float() for x in beside.values()))


class _Whole(Batch):
    """A batch whose options hold the entries of all its items in one tensor, and whose notes hold their side vectors."""

    def rows(self, name: str) -> Tensor | None:
        return getattr(self.options, name)

    def side(self, name: str) -> Tensor:
        return self.notes[name]


class DecoderHalf(Half):
    """Ids, and loudness factors, vectors or noise where the family reads them, to media: float32, not clipped."""

    def __init__(self, tokenizer: Tokenizer, *, codebooks: int | None, size: int | None) -> None:
        super().__init__(tokenizer)
        self.options = make_options(tokenizer, "decode", None, {})
        ids, self.grid = ids_input(tokenizer, size, codebooks)
        self.inputs = (ids,)
        if segments := _loudness_segments(tokenizer, size):
            self.inputs += (Input("scale", (ids.axes[0], Axis("segments", segments)), low=0.1),)
        for name, (count, width) in tokenizer.side_shapes.items():
            self.inputs += (Input(name, (ids.axes[0], Axis("vectors", count), Axis("width", width)), low=-1.0),)
        if channels := getattr(tokenizer, "noise_channels", 0):
            self.inputs += (Input("noise", (ids.axes[0], Axis("channels", channels), *ids.axes[2:]), low=-1.0),)
        if len(self.inputs) > 2:
            raise NotExportable(tokenizer, "decoder", f"it takes {len(self.inputs) - 1} inputs beside ids, where a file has one")
        self.sizes = _sizes(tokenizer, size)
        self.gridded = is_gridded(tokenizer)
        self.outputs = (MEDIA[tokenizer.spec.modality],)

    def forward(self, ids: Tensor, other: Tensor | None = None) -> tuple[Tensor, ...]:
        """Media of ids; `other` is the second input of families that have one."""
        grid, beside = self.grid, {i.name: other for i in self.inputs[1:]}
        ids = self._whole(ids, 0)
        if self.gridded:
            grid, ids = tuple(ids.shape[2:]), ids.flatten(2)
        options = replace(self.options, noise=other) if "noise" in beside else self.options
        scale = beside.get("scale")
        batch = _Whole(options=options, items=range(1), total=1, grid=grid, sizes=self.sizes, scale=scale, notes=beside)
        with in_one_piece(self.tokenizer):
            x = self.tokenizer.media_of(ids, batch)
        return (x.float() if x.is_floating_point() else x,)


@contextmanager
def in_one_piece(tokenizer: Any) -> Iterator[None]:
    """Inside, media are never cut into pieces or tiles: a graph has no loop over a number that is not yet known."""
    before = tokenizer.__dict__.get("piece_positions")
    tokenizer.piece_positions = None
    try:
        yield
    finally:
        if before is None:
            del tokenizer.piece_positions  # the class's value is seen again
        else:
            tokenizer.piece_positions = before


# --- shapes ---------------------------------------------------------------------------------------------------------------


def is_gridded(tokenizer: Tokenizer) -> bool:
    """True for pictures of any size with one grid: their ids are `[B, K, h, w]`, so that the decoder knows the picture's shape.

    Of clips `[B, K, 1, h, w]`: one frame.
    """
    spec = tokenizer.spec
    if not isinstance(spec, ImageSpec) or spec.image_size is not None or not spec.stride:
        return False
    return not spec.strides and not tokenizer.quantizer.needs_grid


def frames_together(tokenizer: Tokenizer) -> int:
    """Sound: lengths are multiples of this many positions."""
    spec = tokenizer.spec
    assert isinstance(spec, AudioSpec)
    together = getattr(tokenizer, "group_frames", 1) * tokenizer.position_multiple
    return math.lcm(together, getattr(tokenizer, "piece_multiple", 1), *spec.strides)


def media_input(tokenizer: Tokenizer, size: int | None) -> Input:
    """The encoder's input; `size` as in `export`."""
    spec, batch = tokenizer.spec, Axis("batch", 2, 1)
    if isinstance(spec, AudioSpec):
        multiple = spec.hop_samples * frames_together(tokenizer)
        least = least_pieces(tokenizer)
        samples = _up(size or spec.sample_rate_hz, multiple, least)
        length = Axis("length", samples, multiple, least)
        return Input("waveform", (batch, Axis("channels", spec.channels), length), *spec.value_range)
    if not isinstance(spec, ImageSpec):
        raise NotExportable(tokenizer, "encoder", "it tokenizes features of a network, not pictures or sound")
    low, high = spec.value_range
    if is_gridded(tokenizer) or spec.image_size is None:
        assert is_pictures(tokenizer)
        multiple = tokenizer.size_multiple
        sides = [Axis(name, _up(size or 256, multiple), multiple if is_gridded(tokenizer) else 0, 2) for name in ("height", "width")]
    else:
        sides = [Axis(name, n) for name, n in zip(("height", "width"), spec.image_size, strict=True)]
    shades = torch.linspace(low, high, sides[0].size)[:, None].expand(3, -1, sides[1].size)
    example = tokenizer.prepare(shades)[0].x
    if not example.is_floating_point():
        raise NotExportable(tokenizer, "encoder", "it tokenizes features of a network, not pictures or sound")
    leading = [Axis(f"axis {i}", n) for i, n in enumerate(example.shape[:-2], 1)]
    sides = [replace(a, size=n) for a, n in zip(sides, example.shape[-2:], strict=True)]
    return Input("picture", (batch, *leading, *sides), low, high)


def ids_input(tokenizer: Tokenizer, size: int | None, codebooks: int | None) -> tuple[Input, tuple[int, ...] | None]:
    """The decoder's input of ids, and the grid that its positions were flattened from where that is fixed."""
    spec, batch = tokenizer.spec, Axis("batch", 2, 1)
    everywhere = getattr(tokenizer, "ids_everywhere", None)  # where positions have tables of their own: how many ids each has
    vocab = tuple(min(v, everywhere or v) for v in spec.vocab_sizes[: codebooks or None])
    tokenizer._check_codebooks(codebooks)
    books = Axis("codebooks", len(vocab))
    if isinstance(spec, AudioSpec):
        together, least = frames_together(tokenizer), least_pieces(tokenizer)
        assert is_sound(tokenizer)
        frames = _up(tokenizer.num_frames(size or spec.sample_rate_hz), together, least)
        return Input("ids", (batch, books, Axis("length", frames, together, least)), vocab_sizes=vocab), None
    media = media_input(tokenizer, size)
    height, width = (a.size for a in media.axes[-2:])
    grid = tokenizer.grid_of(media.example())
    if is_gridded(tokenizer) and grid is not None:
        assert is_pictures(tokenizer)
        unit = tokenizer.size_multiple // tokenizer.spec.stride
        steps = (Axis("steps", n) for n in grid[:-2])
        sides = (Axis("height", grid[-2], unit, 2), Axis("width", grid[-1], unit, 2))
        return Input("ids", (batch, books, *steps, *sides), vocab_sizes=vocab), None
    assert isinstance(spec, ImageSpec)
    length = math.prod(grid) if grid and not spec.scales and not spec.num_positions else spec.positions(height, width)
    return Input("ids", (batch, books, Axis("length", length)), vocab_sizes=vocab), grid


def _sizes(tokenizer: Tokenizer, size: int | None) -> tuple[tuple[int, ...], ...]:
    """The original's size where a graph is made for one: of a clip one frame, as the encoder takes it; of pictures height and width."""
    if getattr(tokenizer.spec, "clips", False):
        return ((1,),)
    if not isinstance(tokenizer.spec, ImageSpec) or is_gridded(tokenizer):
        return ()
    return (tuple(a.size for a in media_input(tokenizer, size).axes[-2:]),)


def _loudness_segments(tokenizer: Tokenizer, size: int | None) -> int:
    """Number of loudness factors of a clip of `size` samples; 0: the family keeps the loudness."""
    if not is_sound(tokenizer):
        return 0
    scale = tokenizer.normalize(torch.full((1, tokenizer.spec.channels, size or tokenizer.spec.sample_rate_hz), 0.5))[1]
    return 0 if scale is None else scale.shape[1]


def least_pieces(tokenizer: Tokenizer) -> int:
    """Sound: the shortest free length, in groups of positions: layers that pad by reflection need more samples than they pad.

    At least two, since PyTorch treats axes of size 1 as fixed.
    """
    mirrored = [max(m.pads) + 1 for m in tokenizer.modules() if isinstance(m, Conv1d) and m.edge == "reflect"]
    return max(2, -(-max(mirrored, default=0) // frames_together(tokenizer)))


def _up(size: int, multiple: int, least: int = 2) -> int:
    """`size` rounded up to a multiple, at least `least` of them."""
    return max(least, -(-size // multiple)) * multiple
