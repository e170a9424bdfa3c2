"""The voice of a clip as one vector: ConvNeXt blocks over a speech model's features, and statistics weighted by attention.

Pooling as in ECAPA-TDNN (Desplanques et al. 2020, arXiv 2005.07143). Letters: B batch, C channels, N frames, D width, E output width.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from ...config import ConfigError
from ...layers.attentive_statistics import AttentiveStatistics
from ...layers.vocos import VocosBlock


@dataclass(frozen=True, kw_only=True)
class VoiceConfig:
    """Settings of `VoiceEncoder`.

    Attributes:
        dim: E, numbers of the vector.
        width: D, channels of the blocks.
        hidden: inner width of the blocks.
        layers: number of blocks.
        embed: a convolution to the width before the blocks; False: the features have it already.
        attention: channels of the pooling's attention.
        pooling: "attentive": weighted mean and deviation; "mean": the plain mean.
    """

    dim: int = 128
    width: int = 384
    hidden: int = 1152
    layers: int = 4
    embed: bool = True
    attention: int = 128
    pooling: Literal["attentive", "mean"] = "attentive"

    def __post_init__(self) -> None:
        for name in ("dim", "width", "hidden", "layers", "attention"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")


class VoiceEncoder(nn.Module):
    """Features `[B, C, N]` to one vector `[B, E]`."""

    def __init__(self, channels: int, config: VoiceConfig) -> None:
        super().__init__()
        c = config
        if not c.embed and channels != c.width:
            raise ConfigError(f"without embed, width ({c.width}) is that of the features, {channels}.")
        self.embed = nn.Conv1d(channels, c.width, 7, padding=3) if c.embed else nn.Identity()
        self.norm_in = nn.LayerNorm(c.width, eps=1e-6)
        self.blocks = nn.Sequential(*(VocosBlock(c.width, c.hidden, layer_scale=1 / c.layers) for _ in range(c.layers)))
        self.norm_out = nn.LayerNorm(c.width, eps=1e-6)
        self.pool = AttentiveStatistics(c.width, c.attention) if c.pooling == "attentive" else None
        self.proj = nn.Linear(c.width if self.pool is None else 2 * c.width, c.dim)
        self.norm = nn.LayerNorm(c.dim)

    def forward(self, x: Tensor) -> Tensor:
        """The vectors of features `[B, C, N]`."""
        x = self.norm_in(self.embed(x).transpose(1, 2)).transpose(1, 2)
        x = self.norm_out(self.blocks(x).transpose(1, 2)).transpose(1, 2)
        return self.norm(self.proj(x.mean(2) if self.pool is None else self.pool(x)))
