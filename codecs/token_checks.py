"""Which tokens a tokenizer decodes: its own, and cuts of them that `spec.prefix` allows.

Letters: B batch, K codebooks, L token positions, H W pixels, h w grid.
"""

import dataclasses
import math
import sys
import warnings
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F

from .identity import TokenizerId, identity_of
from .spec import AudioSpec, ImageSpec
from .token_fields import TokenError
from .tokens import Tokens

if TYPE_CHECKING:
    from .tokenizer import Tokenizer

#: Most pixels of a decoded image; larger sizes stated by tokens are rejected.
MAX_PIXELS = 1 << 28

#: Name of the media of each modality, for messages.
MEDIA = {"audio": "sound", "image": "pictures", "latent": "features"}


class ForeignTokensWarning(UserWarning):
    """Tokens are decoded by another tokenizer than the one that made them."""


def checked(tokenizer: "Tokenizer", tokens: Tokens) -> Tokens:
    """Check tokens for `decode` or `semantic`, and return them with their grid.

    Args:
        tokenizer: the tokenizer that decodes them.
        tokens: from this tokenizer, or a cut of them that `spec.prefix` allows.

    Raises:
        TokenError: tokens of another modality, number of codebooks, vocabulary or layout, or a cut that is not allowed.
    """
    if len(tokens) == 0 or min(_lengths(tokens)) == 0:
        raise TokenError("there is nothing to decode: " + ("an item has 0 positions." if len(tokens) else "the tokens are of 0 items."))
    _check_modality(tokenizer, tokens)
    _check_codebooks(tokenizer, tokens)
    _check_side_vectors(tokenizer, tokens)
    tokens = one_frame(tokenizer, _with_grid(tokenizer, tokens))
    check_layout(tokenizer, tokens)
    check_sizes(tokenizer, tokens)
    _check_maker(tokenizer, tokens.tokenizer)
    return tokens


# --- tokens ---------------------------------------------------------------------------------------------------------


def _check_modality(tokenizer: "Tokenizer", tokens: Tokens) -> None:
    """Reject tokens whose maker or fields show that they are of another modality."""
    own = tokenizer.spec.modality
    axes = 0 if tokens.sizes is None else tokens.sizes.shape[1]
    if tokens.tokenizer is not None:
        made = tokens.tokenizer.modality
    elif tokens.sample_rate_hz is not None or (own == "image" and axes == 1):
        made = "audio"
    elif own == "audio" and (len(tokens.grid) > 1 or tokens.grids is not None or axes > 1 or tokens.scales):
        made = "image"
    else:
        return
    if made != own:
        by = "" if tokens.tokenizer is None else f", made by {tokens.tokenizer}"
        raise TokenError(
            f"these are tokens of {MEDIA.get(made, made)}{by}; {_called(tokenizer)} decodes {MEDIA.get(own, own)}. "
            "In Python, decode(tokens.ids) decodes their ids nevertheless."
        )


def _check_codebooks(tokenizer: "Tokenizer", tokens: Tokens) -> None:
    spec, k = tokenizer.spec, tokens.num_codebooks
    if k != spec.num_codebooks and ("codebooks" not in spec.prefix or k > spec.num_codebooks):
        raise TokenError(f"the tokens have {k} codebooks; {tokenizer.family} decodes {allowed_codebooks(tokenizer)}.")
    if tokens.vocab_sizes != spec.vocab_sizes[:k]:
        raise TokenError(
            f"the tokens have vocabularies {tokens.vocab_sizes}, this tokenizer {spec.vocab_sizes[:k]}: "
            "they come from another tokenizer. Decode them with the one that made them."
        )


def _check_side_vectors(tokenizer: "Tokenizer", tokens: Tokens) -> None:
    """Reject vectors beside the ids that this tokenizer does not know, and ids without those that it needs."""
    own, found = sorted(tokenizer.spec.side_vectors), sorted(tokens.side_vectors)
    if found != own:
        advice = "Pass what `encode` returned, or add them to Tokens by name." if set(own) - set(found) else "Leave them out."
        raise TokenError(f"the tokens carry the side vectors {found or 'none'}, those of {tokenizer.family} {own or 'none'}. {advice}")


def allowed_codebooks(tokenizer: "Tokenizer") -> str:
    """The allowed numbers of codebooks as text, such as "1 to 8"."""
    spec = tokenizer.spec
    return f"1 to {spec.num_codebooks}" if "codebooks" in spec.prefix and spec.num_codebooks > 1 else f"{spec.num_codebooks}"


def _with_grid(tokenizer: "Tokenizer", tokens: Tokens) -> Tokens:
    """Fill in the grid of tokens that have none, where all tokens of this tokenizer have the same."""
    fixed = fixed_grid(tokenizer)
    if fixed is None or len(tokens.grid) > 1 or tokens.grids is not None or tokens.ids.shape[2] != math.prod(fixed):
        return tokens
    return tokens._with(grid=fixed)  # nothing else changes that the tokens' own checks have not seen


def one_frame(tokenizer: "Tokenizer", tokens: Tokens) -> Tokens:
    """Tokens of pictures, with a grid `(h, w)`, as a tokenizer of clips has them: clips of one frame, with the grid `(1, h, w)`."""
    axes = len(tokens.grid) if tokens.grids is None else tokens.grids.shape[1]
    if not is_clips(tokenizer) or axes != 2:
        return tokens
    sizes = tokens.sizes if tokens.sizes is None or tokens.sizes.shape[1] != 2 else F.pad(tokens.sizes, (1, 0), value=1)
    if tokens.grids is None:
        return dataclasses.replace(tokens, grid=(1, *tokens.grid), sizes=sizes)
    return dataclasses.replace(tokens, grids=F.pad(tokens.grids, (1, 0), value=1), sizes=sizes)


def check_layout(tokenizer: "Tokenizer", tokens: Tokens) -> None:
    """Raise TokenError unless strides, scales and grids are those of this tokenizer's tokens."""
    spec, k = tokenizer.spec, tokens.num_codebooks
    for name, own in (("strides", strides_of(tokenizer)[:k]), ("scales", scales_of(tokenizer, tokens.grid))):
        if getattr(tokens, name) not in ((), own):
            raise TokenError(f"the tokens have {name} {getattr(tokens, name)}, those of {tokenizer.family} {own or 'none'}.")
    if tokens.scale is not None and spec.modality != "audio":
        raise TokenError(f"the tokens have loudness factors; {tokenizer.family} decodes {MEDIA.get(spec.modality, spec.modality)}.")
    grids = _own_grids(tokens)
    for grid in set(grids):
        _check_positions(tokenizer, grid, tokens.scales or scales_of(tokenizer))
    if tokens.book_grids is not None:
        own_books = [book_grids(tokenizer, grid, k) for grid in grids]
        found = tokens.on_host("book_grids")
        found = None if found is None else found.tolist()
        if None in own_books or found != own_books:
            raise TokenError(f"the tokens have codebooks with the grids {found}; those of {tokenizer.family}: {own_books}.")


def _own_grids(tokens: Tokens) -> list[tuple[int, ...]]:
    """The grid of each item, as in `tokens[i].grid`."""
    if tokens.scales:  # several grids, one after the other
        return [(n,) for n in _lengths(tokens)]
    if (grids := tokens.on_host("grids")) is not None:
        return [tuple(g) for g in grids.tolist()]
    return [tokens.grid if n == tokens.ids.shape[2] else (n,) for n in _lengths(tokens)]


def _lengths(tokens: Tokens) -> list[int]:
    return tokens.on_host("lengths").tolist()


def _check_positions(tokenizer: "Tokenizer", grid: tuple[int, ...], scales: tuple[tuple[int, int], ...]) -> None:
    """Raise TokenError for an item with another grid, or more or fewer positions, than this tokenizer decodes."""
    spec, found = tokenizer.spec, math.prod(grid)
    if spec.modality == "audio":
        step = tokenizer.position_multiple
        if found % step:
            raise TokenError(f"an item has {found} positions; those of {tokenizer.family} come in frames of {step}.")
        return
    fixed = fixed_grid(tokenizer)
    if needs_grid(tokenizer) and not scales:
        _check_free_grid(tokenizer, grid)
    count = getattr(spec, "num_positions", 0) or sum(h * w for h, w in scales) or math.prod(fixed or (0,))
    cut = "positions" in spec.prefix
    if count and not tokenizer.varying_positions and (found > count or (found < count and not cut)):
        raise TokenError(f"an item has {found} positions; {tokenizer.family} decodes {'1 to ' if cut else ''}{count}.")
    if fixed is not None and not scales and not cut and not tokenizer.varying_positions and grid != fixed:
        raise TokenError(f"the tokens have the grid {grid}; {tokenizer.family} decodes pictures of one size, with the grid {fixed}.")


def _check_free_grid(tokenizer: "Tokenizer", grid: tuple[int, ...]) -> None:
    """Reject a missing grid, or one whose sides are no multiples of `size_multiple` (for windows and down-sampling) / stride."""
    if len(grid) < 2 or (is_clips(tokenizer) and len(grid) != 3):
        raise TokenError(_no_grid(tokenizer, math.prod(grid)))
    stride, multiple = getattr(tokenizer.spec, "stride", 0), getattr(tokenizer, "size_multiple", 1)
    step = multiple // stride if stride and multiple % stride == 0 else 1
    if any(side % step for side in grid[-2:]):
        raise TokenError(f"the tokens have the grid {grid}; sides of those of {tokenizer.family} are multiples of {step}.")


def scales_of(tokenizer: "Tokenizer", grid: tuple[int, ...] | None = None) -> tuple[tuple[int, int], ...]:
    """`(h, w)` of each scale of a multi-scale tokenizer (for pictures with `grid`, where their size may vary), else ()."""
    scales, schedule = getattr(tokenizer.spec, "scales", ()), getattr(tokenizer.quantizer, "schedule", None)
    return scales if schedule is None or grid is None or len(grid) != 2 else schedule(grid)


def book_grids(tokenizer: "Tokenizer", grid: tuple[int, ...], codebooks: int) -> list[list[int]] | None:
    """`[h, w]` of each of the first `codebooks` codebooks of a picture, where codebooks have separate grids; else None."""
    books = tokenizer.book_grids_of(grid) if len(grid) == 2 else None
    return None if books is None else [list(b) for b in books[:codebooks]]


def strides_of(tokenizer: "Tokenizer") -> tuple[int, ...]:
    """Number of positions that share one id, for each codebook; () for images, whose `spec.strides` are in pixels."""
    spec = tokenizer.spec
    return spec.strides if isinstance(spec, AudioSpec) else ()


def check_sizes(tokenizer: "Tokenizer", tokens: Tokens) -> None:
    """Check that sizes have one number for each axis of the media, and are not larger than the tokens cover."""
    spec, sizes = tokenizer.spec, tokens.on_host("sizes")
    if sizes is None:
        return
    axes = {"audio": (1,), "latent": (1, 2)}.get(spec.modality, (3 if is_clips(tokenizer) else max(2, len(tokens.grid)),))
    if sizes.shape[1] not in axes:
        allowed = " or ".join(map(str, axes))
        raise TokenError(f"sizes have {sizes.shape[1]} numbers an item; {MEDIA.get(spec.modality, spec.modality)} here have {allowed}.")
    if not isinstance(spec, ImageSpec):
        return
    stride = spec.stride if spec.image_size is None else 0
    for i, ((height, width), grid) in enumerate(zip(sizes[:, -2:].tolist(), _own_grids(tokens), strict=True)):
        if stride and len(grid) > 1 and (height > grid[-2] * stride or width > grid[-1] * stride):
            raise TokenError(
                f"item {i} has the size {height} x {width}, more than the {grid[-2] * stride} x {grid[-1] * stride} pixels of its grid."
            )
        if height * width > MAX_PIXELS:
            raise TokenError(f"item {i} has the size {height} x {width}; pictures of more than {MAX_PIXELS:,} pixels are not decoded.")


_WARNED: "WeakKeyDictionary[Tokenizer, set[TokenizerId]]" = WeakKeyDictionary()


def _check_maker(tokenizer: "Tokenizer", maker: TokenizerId | None) -> None:
    """Warn about tokens that another tokenizer made, once for each such tokenizer."""
    own = None if maker is None else identity_of(tokenizer)
    warned = _WARNED.setdefault(tokenizer, set())
    if maker is None or own is None or maker == own or maker in warned:
        return
    warned.add(maker)
    warnings.warn(
        f"these tokens were made by {maker} and are decoded by {own}. Their vocabularies have the same sizes, but unless both share "
        "one codebook, the result is noise. Decode them with the tokenizer that made them.",
        ForeignTokensWarning,
        stacklevel=_levels_to_caller(),
    )


def _levels_to_caller() -> int:
    """Stack level, counted from the caller, of the first function outside this library and PyTorch."""
    inside = (__name__.partition(".")[0], "torch")
    frame, levels = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in inside:
        frame, levels = frame.f_back, levels + 1
    return levels


def _called(tokenizer: "Tokenizer") -> str:
    return tokenizer.source or f"this {tokenizer.family} tokenizer"


# --- grids ----------------------------------------------------------------------------------------------------------


def needs_grid(tokenizer: "Tokenizer") -> bool:
    """True if decoding needs a grid besides the ids: images of any size, or a layout that depends on the grid."""
    spec = tokenizer.spec
    if isinstance(spec, ImageSpec):
        return (spec.image_size is None or is_clips(tokenizer)) and spec.stride > 0
    sequences = getattr(spec, "sequences", True)
    return spec.modality == "latent" and (not sequences or any(getattr(m, "needs_grid", False) for m in tokenizer.modules()))


def fixed_grid(tokenizer: "Tokenizer") -> tuple[int, ...] | None:
    """The grid of a tokenizer that takes pictures of one size only; None: any grid, clips of any length, sequences without a grid."""
    size = getattr(tokenizer.spec, "image_size", None)
    if size is None or is_clips(tokenizer):
        return None
    return tokenizer.grid_of(torch.empty(1, tokenizer.spec.channels, *size, device="meta"))


def is_clips(tokenizer: "Tokenizer") -> bool:
    """True for tokenizers of clips of pictures, whose grids have three axes."""
    return getattr(tokenizer.spec, "clips", False)


def _no_grid(tokenizer: "Tokenizer", positions: int) -> str:
    if is_clips(tokenizer):
        return (
            f"{tokenizer.family} needs the grid (t, h, w) that the {positions} positions unroll from; t counts steps in time. "
            "Call decode(tokenizer.tokens(ids, grid=(t, h, w)))."
        )
    side = math.isqrt(positions)
    example = (side, side) if side * side == positions else (1, positions)
    return (
        f"{tokenizer.family} needs the grid (h, w) that the {positions} positions unroll from. "
        f"Call decode(tokenizer.tokens(ids, grid=(h, w))), e.g. grid={example}."
    )
