"""Encode clips of different lengths in one batch; each clip gets the ids that it would get alone.

A clip that is zero-padded to the length of the batch has correct latents except for its last frames, which depend on the
batch padding instead of the network's own padding. Those last frames are computed again from a short piece that ends where
the clip ends; c is `encoder_context_frames`:

    clip, zero-padded  |........................|000000000|
    kept               |.................|                        all but the last c frames
    its end                       |......|======|                 a piece of 2 c frames; its last c are kept

Letters: B batch, C channels, T samples, D latent width, K codebooks, L frames, S loudness segments.
"""

import sys
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..coding import Batch, Coded
from ..media import Prepared
from ..options import EncodeOptions, make_options
from ..tokens import Tokens
from .base import AudioTokenizer


def can_mix(tokenizer: AudioTokenizer, frames: int) -> bool:
    """True where clips of `frames` frames may share a batch with others of other lengths."""
    return frames <= longest_mixed(tokenizer)


def longest_mixed(tokenizer: AudioTokenizer) -> int:
    """Frames of the longest clip that may share a batch with clips of other lengths; 0: none may. Looks at every part: ask once."""
    if tokenizer.encoder_context_frames is None or not _frame_by_frame(tokenizer):
        return 0
    return sys.maxsize if tokenizer.piece_positions is None else tokenizer.piece_positions


def _frame_by_frame(tokenizer: AudioTokenizer) -> bool:
    """True where a frame's ids depend on its own latent alone: no strides, no grids, no hook that the family overrides."""
    parts = list(tokenizer.quantizer.modules())
    alone = all(set(getattr(m, "strides", ()) or (1,)) == {1} and not getattr(m, "needs_grid", False) for m in parts)
    cls = type(tokenizer)
    return alone and cls.ids_of is AudioTokenizer.ids_of and cls.latents_of is AudioTokenizer.latents_of


@torch.no_grad()
def encode_ragged(
    tokenizer: AudioTokenizer, items: Sequence[Prepared], options: EncodeOptions | None = None, /, **named: Any
) -> Tokens:
    """Tokens of clips of any lengths, each equal to those that `tokenizer.encode_prepared` returns for the clip alone.

    Args:
        tokenizer: its `encoder_context_frames` must be set.
        items: clips from `prepare`; `can_mix` must be True for all of them.
        options, named: as in `encode`.

    Raises:
        ValueError: the family cannot encode clips of different lengths in one batch.
    """
    hop, context = tokenizer.spec.hop_samples, tokenizer.encoder_context_frames
    if context is None or not _frame_by_frame(tokenizer):
        raise ValueError(f"{tokenizer.family} cannot mix lengths in a batch; encode clips of one length together.")
    chosen = make_options(tokenizer, "encode", options, named)
    xs = [item.x[None].to(tokenizer.device, tokenizer.dtype, non_blocking=True) for item in items]
    clips, scales = zip(*map(tokenizer.normalize, xs), strict=True)
    frames = [-(-x.shape[-1] // hop) for x in clips]
    z = tokenizer.encode_latents(_filled(list(clips), max(frames) * hop))  # [B, D, longest]
    ends: dict[int, list[int]] = {}
    for i, n in enumerate(frames):
        if n < max(frames):
            ends.setdefault(min(n, 2 * context), []).append(i)
    for size, rows in ends.items():
        pieces = [clips[i][..., (frames[i] - size) * hop :] for i in rows]
        tail = tokenizer.encode_latents(_filled(pieces, size * hop))  # [b, D, size]
        for row, i in enumerate(rows):
            keep = size if size == frames[i] else context  # a piece that is the whole clip is right from its start
            z[i, :, frames[i] - keep : frames[i]] = tail[row, :, size - keep :]
    joined = torch.cat([z[i, :, :n] for i, n in enumerate(frames)], dim=-1)[None]  # [1, D, sum of L]
    batch = Batch(options=chosen, items=range(len(items)), total=len(items), samples=sum(x.shape[-1] for x in clips))
    ids = tokenizer.ids_of(joined, batch).ids.split(frames, dim=-1)  # [1, K, L] each
    coded = Coded(_filled(list(ids), max(frames)), lengths=frames, scale=None if scales[0] is None else torch.cat(scales))
    return tokenizer.tokens_of_batch(coded, items, batch).made_by(tokenizer.identity)


def _filled(clips: list[Tensor], length: int) -> Tensor:
    """Clips `[1, C, T]`, or their ids, as one batch `[B, C, length]`, zeros on the right."""
    return torch.cat([F.pad(x, (0, length - x.shape[-1])) for x in clips])
