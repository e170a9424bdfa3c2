"""Encoding, cutting, editing and decoding for the page, and the figures of each; no drawing and no page here.

    coded = encode(tokenizer, medium)
    seen = look(tokenizer, coded, codebooks=2)                        # a prefix
    changed = look(tokenizer, coded, edits=[Edit(codebook=0, position=7, new_id=5)])

Letters: C channels, H W pixels, T samples, K codebooks, L positions.
"""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...codecs.media import Waveform
from ...codecs.modalities import is_pictures, is_sound
from ...codecs.options import option_names, options_class
from ...codecs.tokenizer import Tokenizer
from ...codecs.tokens import Tokens
from .medium import Medium

KINDS = {"image": "pictures", "audio": "sound", "latent": "features of another network"}


@dataclass(frozen=True)
class Edit:
    """One id that is replaced; numbers count from 0."""

    codebook: int
    position: int
    new_id: int


@dataclass(frozen=True)
class Coded:
    """A medium and all its tokens by one tokenizer."""

    medium: Medium
    tokens: Tokens
    seconds: float


@dataclass(frozen=True)
class Look:
    """One decoding.

    Attributes:
        tokens: those that were decoded, cut and edited.
        original: the part of the medium that `decoded` stands for: uint8 `[3, H, W]`, or float `[C, T]`.
        decoded: of the same kind as `original`; None where the tokenizer only encodes.
        rate_hz: sampling rate of both; 0 for pictures.
        bits: of the tokens.
        raw_bits: of `original` as 8-bit pixels or 16-bit samples.
        seconds: that decoding took.
    """

    tokens: Tokens
    original: Tensor
    decoded: Tensor | None
    rate_hz: int
    bits: int
    raw_bits: int
    seconds: float


def check_kind(tokenizer: Tokenizer, name: str, medium: Medium) -> None:
    """Raise ValueError where the tokenizer takes another kind of media."""
    own = tokenizer.spec.modality
    if own != medium.kind:
        given = "a picture" if medium.kind == "image" else "sound"
        raise ValueError(f"{name} takes {KINDS.get(own, own)}, and {medium.name} is {given}; pick another tokenizer.")


def encode(tokenizer: Tokenizer, medium: Medium) -> Coded:
    """All tokens of a medium. Pictures are cropped to the middle where the tokenizer takes one size only."""
    start, options = time.perf_counter(), {}
    media: Any = medium.data if medium.kind == "image" else Waveform(medium.data, medium.rate_hz)
    if getattr(tokenizer.spec, "image_size", None) and "resize" in option_names(options_class(tokenizer, "encode")):
        options["resize"] = "crop"
    tokens = tokenizer.encode(media, **options).to("cpu")
    return Coded(medium, tokens, time.perf_counter() - start)


def look(
    tokenizer: Tokenizer,
    coded: Coded,
    *,
    codebooks: int | None = None,
    positions: int | None = None,
    edits: Sequence[Edit] = (),
) -> Look:
    """Decode the first `codebooks` and `positions` (None: all) of the tokens, with some ids replaced.

    Raises:
        ValueError: a cut that the tokenizer does not decode; an edit of a token that does not exist.
    """
    tokens = edited(coded.tokens, edits)
    tokens = tokens.first(
        codebooks=None if codebooks is None else min(codebooks, tokens.num_codebooks),
        positions=None if positions is None else _whole_frames(tokens, min(positions, tokens.ids.shape[-1])),
    )
    start, decoded, rate = time.perf_counter(), None, coded.medium.rate_hz
    original = _kept(coded.medium, tokens)
    if tokenizer.spec.decodes:
        decoded = tokenizer.decode(tokens)[0].detach().cpu()
        if is_pictures(tokenizer):
            decoded = tokenizer.to_uint8(decoded)
            decoded = decoded[0] if decoded.ndim == 4 else decoded  # a clip of one picture
        elif is_sound(tokenizer):
            rate = tokenizer.rate_of(tokens)
            original, decoded = _alike(original, coded.medium.rate_hz, decoded, rate)
    raw = original.numel() * 8
    if coded.medium.kind == "audio":
        samples = coded.medium.rate_hz * original.shape[1] / rate
        raw = 16 * round(samples) * min(tokenizer.spec.channels, len(coded.medium.data))
    return Look(tokens, original, decoded, rate, sum(tokens.bits()), raw, time.perf_counter() - start)


def edited(tokens: Tokens, edits: Sequence[Edit]) -> Tokens:
    """The tokens of one item with some ids replaced; of a codebook with a stride, the id of the whole stride.

    Raises:
        ValueError: a codebook, position or id that does not exist.
    """
    ids = tokens.ids.clone()  # [1, K, L]
    for edit in edits:
        _check("codebook", edit.codebook, tokens.num_codebooks)
        _check("position", edit.position, _extent(tokens, edit.codebook))
        _check("the new id", edit.new_id, tokens.vocab_sizes[edit.codebook])
        step = tokens.strides[edit.codebook] if tokens.strides else 1
        first = edit.position // step * step
        ids[0, edit.codebook, first : first + step] = edit.new_id
    return dataclasses.replace(tokens, ids=ids) if edits else tokens


def _check(what: str, value: int, limit: int) -> None:
    if not 0 <= value < limit:
        raise ValueError(f"{what} is {value}; allowed: 0 to {limit - 1}.")


def _extent(tokens: Tokens, codebook: int) -> int:
    """Number of positions of one codebook."""
    if tokens.book_grids is not None:
        return int(tokens.book_grids[0, codebook].prod())
    return int(tokens.lengths[0])


def _whole_frames(tokens: Tokens, positions: int) -> int:
    """The nearest allowed number of positions, at least one frame of a multi-rate codec."""
    step = max(tokens.strides, default=1)
    return max(step, positions // step * step)


def _kept(medium: Medium, tokens: Tokens) -> Tensor:
    """The part of a medium that its tokens stand for: the middle of a cropped picture."""
    if medium.kind == "audio" or tokens.sizes is None:
        return medium.data
    height, width = (int(n) for n in tokens.sizes[0, -2:])
    top, left = (medium.data.shape[1] - height) // 2, (medium.data.shape[2] - width) // 2
    return medium.data[:, top : top + height, left : left + width]


def _alike(a: Tensor, rate_a: int, b: Tensor, rate_b: int) -> tuple[Tensor, Tensor]:
    """Both clips as one channel at `rate_b`, cut to the shorter."""
    from ...codecs.media import resample

    a, b = a.mean(0, keepdim=True), b.mean(0, keepdim=True)
    a = resample(a, rate_a, rate_b)
    most = min(a.shape[1], b.shape[1])
    return a[:, :most], b[:, :most]


# --- figures -----------------------------------------------------------------------------------------------------------


def log_mel(samples: Tensor, rate_hz: int) -> Tensor:
    """Natural log mel spectrum `[80, frames]` of `[C, T]`, channels averaged; sound of less than a window is filled with zeros."""
    import torchaudio

    x = samples.mean(0)
    x = torch.nn.functional.pad(x, (0, max(0, 1024 - x.shape[0])))
    mel = torchaudio.transforms.MelSpectrogram(rate_hz, n_fft=1024, hop_length=256, n_mels=80, power=1.0)
    return mel(x).clamp(min=1e-5).log()


def psnr(a: Tensor, b: Tensor) -> float:
    """PSNR in dB of uint8 pictures; infinite for equal ones."""
    error = (a.double() - b.double()).square().mean() / 255**2
    return float(-10 * torch.log10(error))


def quality(seen: Look) -> str:
    """How close the decoded medium is to the original, as text; "" where nothing was decoded."""
    if seen.decoded is None:
        return ""
    if not seen.rate_hz:
        return f"PSNR {psnr(seen.original, seen.decoded):.2f} dB"
    a, b = (log_mel(x, seen.rate_hz) for x in (seen.original, seen.decoded))
    return f"mel distance {(a - b).abs().mean():.3f}"


def meaning(before: Look, after: Look) -> str:
    """What changed in the decoded medium, in one sentence."""
    a, b = before.decoded, after.decoded
    if a is None or b is None:
        return "This tokenizer only encodes; nothing is decoded."
    if after.rate_hz:
        return _meaning_of_sound(a, b, after.rate_hz)
    change = (a.int() - b.int()).abs().amax(0)  # [H, W]
    if not change.any():
        return "No pixel changed."
    where = change > 1
    share, largest = where.double().mean(), int(change.max())
    rows, columns = (where.any(axis).nonzero()[:, 0] for axis in (1, 0))
    place = ""
    if len(rows):
        place = f", within columns {columns[0]} to {columns[-1]} and rows {rows[0]} to {rows[-1]}"
    return f"{share:.1%} of the pixels changed by more than 1 of 255{place}; the largest change is {largest} of 255."


def _meaning_of_sound(a: Tensor, b: Tensor, rate_hz: int) -> str:
    change = (a - b).abs().amax(0)  # [T]
    if not change.any():
        return "No sample changed."
    at = (change > change.max() / 1000).nonzero()[:, 0]  # 60 dB below the largest change
    level = 20 * torch.log10((change.square().mean() / a.square().mean().clamp(min=1e-12)).sqrt())
    return (
        f"Samples from {at[0] / rate_hz:.2f} to {at[-1] / rate_hz:.2f} s changed; the change lies {abs(level):.1f} dB "
        f"{'below' if level < 0 else 'above'} the sound."
    )
