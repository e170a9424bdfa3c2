"""Clips of different lengths in one batch, with the ids that each has alone.

A clip that is filled up with zeros to the length of the batch has the right latents but for its last frames: there the
network's own padding should stand, and saw the filling instead. Those last frames are computed once more from a short
piece that ends where the clip ends; c is `encoder_context_frames`:

    clip, filled up    |........................|000000000|
    kept               |.................|                        all but the last c frames
    its end                       |......|======|                 a piece of 2 c frames; its last c are kept

Letters: B batch, C channels, T samples, D latent width, K codebooks, L frames, S loudness segments.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import AudioTokenizer


def can_mix(tokenizer: AudioTokenizer, frames: int) -> bool:
    """True where clips of `frames` frames may share a batch with others of other lengths."""
    context = tokenizer.encoder_context_frames
    return context is not None and frames <= tokenizer.piece_frames and _frame_by_frame(tokenizer)


def _frame_by_frame(tokenizer: AudioTokenizer) -> bool:
    """True where a frame's ids depend on its own latent alone: no strides, no grids, no rule for a last frame."""
    parts = list(tokenizer.quantizer.modules())
    alone = all(set(getattr(m, "strides", ()) or (1,)) == {1} and not getattr(m, "needs_grid", False) for m in parts)
    return alone and type(tokenizer).ids_of is AudioTokenizer.ids_of


@torch.no_grad()
def encode_ragged(
    tokenizer: AudioTokenizer, xs: list[Tensor], num_codebooks: int | None = None
) -> list[tuple[Tensor, Tensor | None]]:
    """Ids and loudness scales of clips of any lengths, as `tokenizer.encode_batch` gives of each alone.

    Args:
        tokenizer: one with `encoder_context_frames`.
        xs: `[C, T]` each, at the tokenizer's rate; `can_mix` of all of them holds.
        num_codebooks: as in `encode`.

    Returns:
        for each clip ids `[1, K, L]` and scale `[1, S]` or None.
    """
    hop, context = tokenizer.spec.hop_samples, tokenizer.encoder_context_frames
    if context is None or not _frame_by_frame(tokenizer):
        raise ValueError(f"{tokenizer.family} cannot mix lengths in a batch; encode clips of one length together.")
    clips, scales = zip(*(tokenizer.normalize(x[None].to(tokenizer.device)) for x in xs), strict=True)
    frames = [-(-x.shape[-1] // hop) for x in xs]
    z = tokenizer.encode_latents(_filled(list(clips), max(frames) * hop))  # [B, D, longest]
    ends: dict[int, list[int]] = {}
    for i, n in enumerate(frames):
        if n < max(frames):
            ends.setdefault(min(n, 2 * context), []).append(i)
    for size, items in ends.items():
        pieces = [clips[i][..., (frames[i] - size) * hop :] for i in items]
        tail = tokenizer.encode_latents(_filled(pieces, size * hop))  # [b, D, size]
        for row, i in enumerate(items):
            keep = size if size == frames[i] else context  # a piece that is the whole clip is right from its start
            z[i, :, frames[i] - keep : frames[i]] = tail[row, :, size - keep :]
    joined = torch.cat([z[i, :, :n] for i, n in enumerate(frames)], dim=-1)[None]  # [1, D, sum of L]
    ids = tokenizer.ids_of(joined, sum(x.shape[-1] for x in xs), num_codebooks)  # [1, K, sum of L]
    return list(zip(ids.split(frames, dim=-1), scales, strict=True))


def _filled(clips: list[Tensor], length: int) -> Tensor:
    """Clips `[1, C, T]` as one batch `[B, C, length]`, zeros on the right."""
    return torch.cat([F.pad(x, (0, length - x.shape[-1])) for x in clips])
