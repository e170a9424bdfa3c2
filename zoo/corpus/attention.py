"""Which steps of a batch may attend to each other, as a mask and as the lengths that variable-length attention kernels take."""

from typing import NamedTuple

import torch
from torch import Tensor


def same_document(document_ids: Tensor) -> Tensor:
    """Attention mask `[B, 1, S, S]`, True where step q may attend to step k: the same document, and not later.

    As `attn_mask` of `scaled_dot_product_attention`, or a 4-D `attention_mask` of transformers.

    Args:
        document_ids: int64 `[B, S]` of a batch.
    """
    same = document_ids[:, :, None] == document_ids[:, None, :]
    steps = torch.arange(document_ids.shape[-1], device=document_ids.device)
    return (same & (steps[:, None] >= steps))[:, None]


class SequenceLengths(NamedTuple):
    """Where the sequences of a batch begin once its rows stand one after another, `[B * S]`.

    Attributes:
        cu_seqlens: int32 `[N + 1]`, the first step of each of N sequences, and B * S at the end.
        max_seqlen: steps of the longest one.
    """

    cu_seqlens: Tensor
    max_seqlen: int


def sequence_lengths(document_ids: Tensor) -> SequenceLengths:
    """The lengths that FlashAttention's `flash_attn_varlen_func` takes, for queries and keys alike; equal to `same_document`.

    Flatten `input_ids` and `position_ids` to `[1, B * S]`. No step moves: the padding of a row is a sequence of its own. The
    function waits for its numbers, so call it before the batch goes to an accelerator.

    Args:
        document_ids: int64 `[B, S]` of a batch.
    """
    rows, steps = document_ids.shape
    begins = torch.ones_like(document_ids, dtype=torch.bool)
    begins[:, 1:] = document_ids[:, 1:] != document_ids[:, :-1]
    starts = begins.flatten().nonzero()[:, 0]
    ends = torch.cat([starts, starts.new_tensor([rows * steps])])
    longest = int(ends.diff().max()) if len(starts) else 0
    return SequenceLengths(ends.int(), longest)
