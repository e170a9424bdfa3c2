"""Conversion of pictures in any accepted form to checked tensors. `as_pictures` lists the accepted forms.

Letters: B batch, C channels, H W pixels.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .arrays import as_tensor, is_array, kind_of
from .blobs import is_encoded, is_path
from .errors import MediaError
from .items import Picture
from .limits import check_pixels
from .picture_files import as_floats, pixels_of, read_image

#: How far float pixels may exceed their range, as a share of it: bicubic resizing overshoots a little.
_SLACK = 0.05
_ALLOWED = (
    "a path, bytes, an open file, a PIL picture, an array [H, W, 3], a tensor [3, H, W], a row of `datasets`, or a list of these"
)

Range = tuple[float, float]


def as_pictures(media: Any, value_range: Range, *, given_range: Range | None = None) -> list[Tensor]:
    """Convert media of any accepted form to checked pictures: float32 `[3, H, W]` in `value_range`, sizes may differ.

    Args:
        media: one picture or a list of pictures, of any mix and any sizes:
            - a path, bytes, or an open binary file (read from its beginning), see `read_image`;
            - a PIL picture of any mode;
            - uint8 or uint16 `[H, W]`, `[H, W, 3]`, `[H, W, 4]` or `[3, H, W]`, or floats of these shapes, in any array. Where the
              first and the last axis could both be the channels, they are the last of an array and the first of a tensor. A
              fourth channel is alpha, of floats in 0..1, and laid on white;
            - a batch with one axis more;
            - a cell of `datasets`: `{"bytes", "path"}` or `{"path"}`;
            - a `Picture`.
        value_range: value range of the tokenizer's input.
        given_range: value range of float arrays that are passed: (black, white), mapped linearly to `value_range`. None: they are
            in `value_range`; values that could as well be in 0..1 are refused.

    Raises:
        FileNotFoundError, MediaError: what came, what is allowed, what to do.
    """
    _check_range(given_range)
    if is_array(media) and getattr(media, "ndim", 0) == 4:
        return _batch(media, value_range, given_range)
    if not isinstance(media, (list, tuple)):
        return [_one(media, "picture", value_range, given_range)]
    if not media:
        raise MediaError("got an empty list; pass at least one picture.")
    pictures = [_one(m, f"picture {i}", value_range, given_range) for i, m in enumerate(media)]
    return [p.cpu() for p in pictures] if len({p.device for p in pictures}) > 1 else pictures


def _batch(media: Any, value_range: Range, given_range: Range | None) -> list[Tensor]:
    """Pictures of one array `[B, ...]`, whose value range is checked once for the whole array."""
    x = as_tensor(media, "the batch")
    if not len(x):
        raise MediaError("got an empty batch; pass at least one picture.")
    return _arrays(list(x), "the batch", not isinstance(media, Tensor), value_range, given_range)


def _one(media: Any, name: str, value_range: Range, given_range: Range | None) -> Tensor:
    if isinstance(media, Mapping):
        media, name = medium_of_row(media, name)
    if isinstance(media, Picture):
        return _scaled(media.pixels.clone(), value_range)
    if hasattr(media, "getbands"):  # PIL, without importing it
        check_pixels(media.width, media.height, name)
        return _scaled(as_floats(pixels_of(media, name)), value_range)
    if is_encoded(media):
        return _scaled(read_image(media, name="" if is_path(media) else name), value_range)
    if not is_array(media):
        raise MediaError(f"{name}: got {kind_of(media)}; {_ALLOWED} is allowed.")
    return _arrays([as_tensor(media, name)], name, not isinstance(media, Tensor), value_range, given_range)[0]


def medium_of_row(row: Mapping[str, Any], name: str) -> tuple[Any, str]:
    """The medium in a cell of `datasets` (bytes or a path), and its name for messages."""
    if row.get("bytes") is not None:
        return row["bytes"], str(row.get("path") or name)
    if row.get("path"):
        return row["path"], name
    keys = ", ".join(map(repr, row)) or "nothing"
    raise MediaError(
        f'{name}: got a dictionary with {keys}; {{"bytes", "path"}} or {{"path"}} is allowed. '
        'Of a row, pass the column with the picture: row["image"].'
    )


def _scaled(x: Tensor, value_range: Range) -> Tensor:
    """Map pixels in 0..1 to `value_range`, in place."""
    low, high = value_range
    return x if value_range == (0, 1) else x.mul_(high - low).add_(low)


def _arrays(xs: list[Tensor], name: str, last: bool, value_range: Range, given: Range | None) -> list[Tensor]:
    """Pictures float32 `[3, H, W]` in `value_range` from arrays of one dtype; `last`: see `_channels_first`."""
    parts = [_channels_first(x, name, last) for x in xs]  # colour, alpha
    if not xs[0].is_floating_point():
        top = {torch.uint8: 255, torch.uint16: 65535}.get(xs[0].dtype)
        if top is None:
            raise MediaError(f"{name}: {xs[0].dtype} pixels are ambiguous; pass uint8, uint16 or floats.")
        parts = [(c.float() / top, None if a is None else a.float() / top) for c, a in parts]
        return [_scaled(_on_white(c, a, 1.0, name).clone(), value_range) for c, a in parts]
    parts = [(c.float(), None if a is None else a.float()) for c, a in parts]
    given = _range_of([c for c, _ in parts], name, value_range, given)
    out = [_on_white(c, a, given[1], name) for c, a in parts]
    return out if given == value_range else [_scaled((x - given[0]) / (given[1] - given[0]), value_range) for x in out]


def _check_range(given: Range | None) -> None:
    if given is None:
        return
    try:
        low, high = (float(v) for v in given)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise MediaError(f"value_range is {given!r}; give (lowest, highest), such as (0, 1).")


def _range_of(colours: list[Tensor], name: str, value_range: Range, given: Range | None) -> Range:
    """The value range of float pixels `colours`, checked against their values.

    Raises:
        MediaError: not finite; beyond the range; or, if no range is given, possible in the tokenizer's range and in 0..1.
    """
    low, high = value_range if given is None else given
    # of all pictures in one transfer to the host; NaN is its own smallest and largest value
    bounds = torch.stack([torch.stack(torch.aminmax(c)) for c in colours]).tolist()
    if not all(math.isfinite(v) for pair in bounds for v in pair):
        raise MediaError(f"{name} holds NaN or infinite values.")
    least, most = min(low for low, _ in bounds), max(high for _, high in bounds)
    slack = _SLACK * (high - low)
    if least < low - slack or most > high + slack:
        who = "this tokenizer takes" if given is None else "value_range is"
        raise MediaError(
            f"{name}: float values lie in {least:.4g}..{most:.4g}; {who} {low:g}..{high:g}. "
            "Rescale them, pass value_range=(lowest, highest) for what they mean, or pass uint8."
        )
    if given is None and value_range != (0, 1) and least >= -_SLACK and most <= 1 + _SLACK:
        raise MediaError(
            f"{name}: float values lie in {least:.4g}..{most:.4g}: they may mean 0..1, or the tokenizer's own {low:g}..{high:g}. "
            f"Pass value_range=(0, 1), value_range=({low:g}, {high:g}), or uint8."
        )
    return low, high


def _channels_first(x: Tensor, name: str, last: bool) -> tuple[Tensor, Tensor | None]:
    """`[H, W]`, `[H, W, C]` or `[C, H, W]` as colour `[1 or 3, H, W]` and alpha `[1, H, W]`, or None without alpha.

    `last`: if both the first and the last axis could be the channels, take the last.
    """
    first_fits, last_fits = (x.ndim == 3 and x.shape[axis] in (1, 3, 4) for axis in (0, -1))
    if x.ndim == 2:
        x = x[None]
    elif last_fits and (last or not first_fits):
        x = x.permute(2, 0, 1)
    if x.ndim != 3 or x.shape[0] not in (1, 3, 4) or 0 in x.shape:
        raise MediaError(f"{name}: expected [3, H, W] or [H, W, 3], got {list(x.shape)}. Pass several pictures as a list.")
    check_pixels(x.shape[2], x.shape[1], name)
    return (x[:3], x[3:]) if x.shape[0] == 4 else (x, None)


def _on_white(colour: Tensor, alpha: Tensor | None, white: float, name: str) -> Tensor:
    """`[3, H, W]`: colour blended with `white` by alpha in 0..1; None: no blending."""
    if alpha is not None:
        low, high = float(alpha.min()), float(alpha.max())
        if not (low >= 0 and high <= 1):
            raise MediaError(f"{name}: alpha, the fourth channel, lies in {low:.4g}..{high:.4g}; 0..1 is allowed. Rescale it.")
        colour = colour * alpha + white * (1 - alpha)
    return colour.expand(3, -1, -1)
