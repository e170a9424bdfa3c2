"""Vectors of a speech model and of a text model, mixed with each other and added to an encoder's latents.

FuseCodec, Ahasan et al. 2025, arXiv 2509.11425, section on latent representation fusion; no code of it is public. From the
paper: one global vector of each model (mean over time of HuBERT's states, BERT's first state), repeated along time; each
attends to the other with several heads; linear maps to the latents' width; random masks; both are added to the latents.

The paper leaves details open. Here the attention has a skip connection, and a mask drops one model's vector for a whole item, so
that the network also works without the vectors. As each model has a single vector, it is fused once and then repeated along time,
which equals fusing it at every position.

Letters: B batch, D latent width, L positions, S and W widths of the speech and the text model, N and M their vectors.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """Settings of `LatentFusion`.

    Attributes:
        semantic_dim: S, channels of the speech model's vectors.
        context_dim: W, channels of the text model's vectors.
        heads: number of heads of both attentions.
        drop: in training, probability with which each model's vectors are dropped for an item.
    """

    semantic_dim: int = 768
    context_dim: int = 768
    heads: int = 8
    drop: float = 0.1

    def __post_init__(self) -> None:
        for name in ("semantic_dim", "context_dim"):
            if getattr(self, name) % self.heads:
                raise ConfigError(f"{name} {getattr(self, name)} does not divide into {self.heads} heads.")
        if not 0 <= self.drop < 1:
            raise ConfigError(f"drop is {self.drop}; it is a probability below 1.")


class CrossModal(nn.Module):
    """Cross-attention from one model's vectors `[B, width, N]` to the other's `[B, other, M]`, mapped to `[B, D, N]`."""

    def __init__(self, width: int, other: int, heads: int, latent_dim: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, kdim=other, vdim=other, batch_first=True)
        self.proj = nn.Linear(width, latent_dim)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Attend from `own` `[B, width, N]` to `other` `[B, other, M]`, and project to `[B, D, N]`."""
        q, kv = own.transpose(1, 2), other.transpose(1, 2)
        return self.proj(q + self.attention(q, kv, kv, need_weights=False)[0]).transpose(1, 2)


class LatentFusion(nn.Module):
    """Adds the vectors of two frozen models (speech and text) to a clip's latents; see the module's docstring."""

    def __init__(self, config: FusionConfig, latent_dim: int) -> None:
        super().__init__()
        self.config = c = config
        self.semantic = CrossModal(c.semantic_dim, c.context_dim, c.heads, latent_dim)
        self.context = CrossModal(c.context_dim, c.semantic_dim, c.heads, latent_dim)

    def forward(self, z: Tensor, semantic: Tensor, context: Tensor) -> Tensor:
        """Add the vectors `[B, S, N]` and `[B, W, M]`, interpolated to L positions, to the latents `[B, D, L]`."""
        semantic, context = semantic.to(z.dtype), context.to(z.dtype)
        for part in (self.semantic(semantic, context), self.context(context, semantic)):  # [B, D, N or M]
            part = F.interpolate(part, size=z.shape[-1], mode="linear", align_corners=False)  # one vector: repeated
            if self.training and self.config.drop:
                part = part * (torch.rand(len(z), 1, 1, device=z.device) >= self.config.drop)
            z = z + part
        return z
