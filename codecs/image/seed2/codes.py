"""The codes of SEED's second tokenizer: the maps between Q-Former features, ids and an image embedding.

Ge et al. 2023, "Making LLaMA SEE and Draw with SEED Tokenizer", arXiv 2310.01218. Parity checked against AILab-CVC/SEED @
93b3cf4081 (Tencent's licence text with Apache-2.0 for the code), class `Blip2QformerQuantizer` after its Q-Former.

A small map to the codebook and one back to the Q-Former's features; a head makes one CLIP image embedding of all positions.
`decode` reconstructs features, `semantic(tokens, pooled=True)` gives the embedding; `model.py` adds encoder and decoder of pictures.

Letters: B batch, N queries = positions, L any positions, C width of the Q-Former, D code width, E width of the embedding.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...config import ConfigError
from ...latent import LatentSpec, LatentTokenizer
from ...layers.qformer import QFormer, QFormerConfig
from ...layers.vit import ViTBlock, init_linear
from ...quantizers.base import QuantizerConfig
from ...quantizers.vq import VQConfig
from ...tokenizer import Reconstruction


@dataclass(frozen=True, kw_only=True)
class Seed2CodesConfig:
    """Settings of `Seed2Codes`; the defaults are the published ones.

    Attributes:
        num_queries: N, number of queries of the Q-Former.
        width: C, channels of the Q-Former's features.
        code_dim: D, channels of the codes.
        embedding_dim: E, width of the image embedding.
        head_layers, head_heads: number of transformer blocks before the embedding, and of their attention heads.
        down: widths of the linear layers that narrow each position before all positions are mapped to one embedding.
        reverse: a Q-Former with one query, which attends to the positions; used instead of `down`.
        quantizer: settings of any quantizer; its `dim` is filled in. The authors' beta weighs the codebook's term, not the commitment.
    """

    num_queries: int = 32
    width: int = 768
    code_dim: int = 32
    embedding_dim: int = 1024
    head_layers: int = 4
    head_heads: int = 12
    down: tuple[int, ...] = (256, 128, 32)
    reverse: QFormerConfig | None = None
    quantizer: QuantizerConfig = VQConfig(
        codebook_size=8192, update="gradient", commitment_weight=1.0, codebook_weight=0.25, kmeans_init=False, replace_below=0.0
    )

    def __post_init__(self) -> None:
        if self.width % self.head_heads:
            raise ConfigError(f"width {self.width} does not divide into {self.head_heads} heads.")
        if self.reverse is None and not self.down:
            raise ConfigError("the embedding needs either widths in 'down' or a 'reverse' Q-Former.")


class EmbeddingHead(nn.Module):
    """Features of all N positions `[B, N, C]` to one image embedding `[B, E]`."""

    def __init__(self, config: Seed2CodesConfig) -> None:
        super().__init__()
        c = config
        self.positions = nn.Parameter(torch.zeros(c.num_queries, c.width))
        self.blocks = nn.ModuleList(ViTBlock(c.width, c.head_heads, eps=1e-6) for _ in range(c.head_layers))
        self.reverse = self.down = None
        if c.reverse is not None:
            self.reverse = QFormer(c.reverse, num_queries=1, memory_width=c.width)
            self.proj = nn.Linear(c.reverse.width, c.embedding_dim)
            return
        parts: list[nn.Module] = []
        for before, after in zip((c.width, *c.down), c.down, strict=False):
            parts += [nn.Linear(before, after, bias=False), nn.ReLU()]
        self.down = nn.Sequential(*parts[:-1])
        self.proj = nn.Linear(c.num_queries * c.down[-1], c.embedding_dim)

    def forward(self, features: Tensor) -> Tensor:
        """Image embedding `[B, E]` of features `[B, N, C]`."""
        y = features + self.positions
        for block in self.blocks:
            y = block(y)
        if self.reverse is not None:
            return self.proj(self.reverse(y)[:, 0])
        assert self.down is not None
        return self.proj(self.down(y).flatten(1))


class Seed2Codes(LatentTokenizer):
    """Q-Former features `[B, C, N]` to ids `[B, 1, N]` and back."""

    family: ClassVar[str] = "seed2_codes"
    config_class: ClassVar[type] = Seed2CodesConfig
    encoder_only = ("to_code",)
    decoder_only = ("from_code", "head")
    config: Seed2CodesConfig

    def __init__(self, config: Seed2CodesConfig) -> None:
        super().__init__()
        self.config = c = config
        self.to_code = nn.Sequential(nn.Linear(c.width, c.width), nn.Tanh(), nn.Linear(c.width, c.code_dim))
        self.quantizer = c.quantizer.build(dim=c.code_dim)
        self.from_code = nn.Sequential(nn.Linear(c.code_dim, c.code_dim), nn.Tanh(), nn.Linear(c.code_dim, c.width))
        self.head = EmbeddingHead(c)
        for part in (self.to_code, self.from_code, self.head):
            part.apply(init_linear)
        self.spec = LatentSpec.of(
            self.quantizer,
            channels=c.width,
            semantic_dim=c.width,
        )

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, L]` of features `[B, C, L]`, each position by itself."""
        return self.to_code(x.flatten(2).transpose(1, 2)).transpose(1, 2)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Features `[B, C, L]` of latents `[B, D, L]`, each position by itself."""
        return super().decode_latents(self.from_code(z_q.transpose(1, 2)).transpose(1, 2), grid)

    def embedding(self, features: Tensor) -> Tensor:
        """Image embedding `[B, E]` of features `[B, C, N]`, with gradients."""
        return self.head(features.transpose(1, 2))

    def pooled_of(self, features: Tensor) -> Tensor:
        """Image embedding `[B, E]` of features of all N positions, `[B, C, N]`: the input of Stable unCLIP.

        Raises:
            ValueError: fewer or more positions than N.
        """
        n = self.config.num_queries
        if features.shape[2] != n:
            raise ValueError(f"{self.family} makes an embedding of {n} positions; got {features.shape[2]}.")
        return self.embedding(features)

    def forward(self, x: Tensor) -> Reconstruction:
        """Quantize features with gradients; where there are N positions, `features["embedding"]` is `[B, E, 1]`."""
        out = super().forward(x)
        features = out.x_hat.flatten(2)
        if features.shape[2] != self.config.num_queries:
            return out
        return dataclasses.replace(out, features={"embedding": self.embedding(features).unsqueeze(2)})
