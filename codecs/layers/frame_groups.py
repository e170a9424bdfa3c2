"""Groups of neighbouring frames that are alike: how they are found, and one vector for each, which a transformer reads off behind it.

FlexiCodec (Li et al. 2025, arXiv 2510.00981) and H-Codec 1.5 (arXiv 2512.20151). Read from alibaba/unified-audio @ 7afa7ab,
QuarkAudio-HCodec/HCodec-1.5/adaptive (Apache-2.0), and from AmphionTeam/FlexiCodec @ f52415c (MIT).

    frames  a b b b c c          cosine(b, b) > threshold: one group, of `longest` frames at most
    input   a Q b b b Q c c Q    behind each group a query, the mean of its frames plus a learned vector
    output    |       |     |    the transformer's output there is the vector of the group

Letters: B batch, D width, L frames, R groups.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .transformer1d import Transformer1d, Transformer1dConfig


def check_threshold(name: str, value: float) -> None:
    """Raise ValueError where `value` lies outside 0..1."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}; it must lie between 0 and 1.")


def check_draw(draw: tuple[float, float] | None) -> None:
    """Raise ValueError where `draw_threshold` is no range inside 0..1."""
    if draw is None:
        return
    low, high = draw
    check_threshold("draw_threshold", low)
    check_threshold("draw_threshold", high)
    if low >= high:
        raise ValueError(f"draw_threshold is {draw}; give (lowest, highest).")


def group_frames(x: Tensor, *, threshold: float, longest: int | None) -> Tensor:
    """Number of the group, from 0, of each frame of `[B, D, L]`: int64 `[B, L]`."""
    at = torch.arange(x.shape[2], device=x.device)
    alike = F.cosine_similarity(x[:, :, :-1].float(), x[:, :, 1:].float(), dim=1)  # [B, L - 1]
    first = F.pad(alike <= threshold, (1, 0), value=True)
    if longest is not None:  # a longer group becomes several, all but the last one full
        start = torch.where(first, at, 0).cummax(dim=1).values
        first = (at - start) % longest == 0
    return first.long().cumsum(dim=1) - 1


def group_lengths(groups: Tensor) -> Tensor:
    """Frames of each group, int64 `[B, R]`, of the frames' groups `[B, L]`; 0 behind an item's last group."""
    lasts = torch.zeros(len(groups), int(groups[:, -1].max()) + 1, dtype=groups.dtype, device=groups.device)
    return lasts.scatter_add(1, groups, torch.ones_like(groups))


def expand_groups(z: Tensor, groups: Tensor) -> Tensor:
    """Each group's vector at each of its frames: `[B, D, R]` and the frames' groups `[B, L]` to `[B, D, L]`."""
    return z.gather(2, groups[:, None].expand(-1, z.shape[1], -1))


def group_means(x: Tensor, lasts: Tensor) -> Tensor:
    """Mean of each group's frames, `[B, D, R]`, of frames `[B, D, L]` and the groups' lengths `[B, R]`; 0 where a length is 0.

    Frame by frame, so that the sum has one order on every device.
    """
    firsts = lasts.cumsum(dim=1) - lasts
    total = x.new_zeros(len(x), x.shape[1], lasts.shape[1])
    for j in range(int(lasts.max())):
        at = (firsts + j).clamp(max=x.shape[2] - 1)
        total = total + x.gather(2, at[:, None].expand(-1, x.shape[1], -1)) * (j < lasts)[:, None]
    return total / lasts.clamp(min=1)[:, None]


class GroupVectors(nn.Module):
    """One vector for each group of frames, from a transformer over frames and queries.

    Differs: in a batch whose items have different numbers of groups, the authors' transformer attends to the filling behind the
    shorter ones; here it does not, so that no vector depends on the other items.

    Args:
        channels: D.
        config: settings of the transformer.
        query: "mean": the mean of a group's frames plus a learned vector; "learned": that vector alone.
    """

    def __init__(self, channels: int, config: Transformer1dConfig, query: Literal["mean", "learned"]) -> None:
        super().__init__()
        self.pooled = query == "mean"
        self.query = nn.Parameter(torch.randn(channels))
        self.transformer = Transformer1d(config, in_channels=channels, out_channels=channels)

    def forward(self, x: Tensor, groups: Tensor) -> Tensor:
        """Vectors `[B, D, R]` of frames `[B, D, L]` in groups `[B, L]`; R is the largest number of groups of an item."""
        width, length = x.shape[1:]
        counts, lasts = groups[:, -1] + 1, group_lengths(groups)  # [B], [B, R]
        total = lasts.shape[1]
        ends = lasts.cumsum(dim=1) - 1  # the last frame of each group
        queries = group_means(x, lasts) if self.pooled else x.new_zeros(len(x), width, total)
        queries = queries + self.query[:, None]
        # what fills up an item with fewer groups comes to lie behind all its frames and queries
        query_at = ends + torch.arange(total, device=x.device) + 1  # [B, R]
        at = torch.cat([torch.arange(length, device=x.device) + groups, query_at], dim=1)  # [B, L + R]
        mixed = torch.cat([x, queries], dim=2)
        mixed = torch.empty_like(mixed).scatter(2, at[:, None].expand(-1, width, -1), mixed)
        valid = torch.arange(length + total, device=x.device) < (length + counts)[:, None]
        out = self.transformer(mixed, keys=None if bool(valid.all()) else valid)
        return out.gather(2, query_at[:, None].expand(-1, width, -1))
