"""Parts that KARL and ALIT share: a frozen VQGAN, and a transformer decoder that predicts its codes.

Latent distillation: the 1-D tokens are decoded to logits over the codes of a 2-D tokenizer, whose decoder makes the pixels of
the softmax-weighted mean code (TiTok's first generation does the same).

Letters: B batch, H W pixels, G = g x g grid positions, C channels of the VQGAN's codes, V_b number of codes, n tokens, D width.
"""

from typing import cast

import torch
from torch import Tensor, nn

from ..layers.vit import TransformerSize, ViTBlock
from ..layers.vqgan import DecoderConfig, EncoderConfig
from ..quantizers.base import codebook_size_of
from ..quantizers.vq import VQ, VQConfig
from ..start import first_norm
from .vqgan.model import VQGAN, VQGANConfig

#: The VQGAN that KARL and ALIT were published with: MAGE's (Li et al. 2022, arXiv 2211.09117), MaskGIT's network at stride 16.
MAGE_VQGAN = VQGANConfig(
    encoder=EncoderConfig(bias=False, shortcut="output", middle=("residual",) * 2, resample="average", head_kernel=1),
    decoder=DecoderConfig(blocks=2, bias=False, shortcut="output", middle=("residual",) * 2),
    embed_dim=0,
    quantizer=VQConfig(codebook_size=1024, update="gradient", kmeans_init=False, replace_below=0.0),
    value_range=(0.0, 1.0),
)


class GridDecoder(nn.Module):
    """One sequence (grid queries, tokens) through ViT blocks; logits over the VQGAN's codes at the grid positions."""

    def __init__(self, size: TransformerSize, codes: int) -> None:
        super().__init__()
        self.norm_in = first_norm(size.width)
        self.blocks = nn.ModuleList(ViTBlock(size.width, size.heads) for _ in range(size.layers))
        self.norm_out = nn.LayerNorm(size.width)
        self.head = nn.Sequential(nn.Linear(size.width, 2 * size.width), nn.Tanh(), nn.Linear(2 * size.width, codes))

    def forward(self, grid: Tensor, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits `[B, G', V_b]` of queries `[B, G', D]` and tokens `[B, n, D]`.

        Args:
            grid, tokens: queries `[B, G', D]` and tokens `[B, n, D]`, with positions already added.
            mask: bool `[B, 1, G' + n, G' + n]`, True where the row attends to the column.
        """
        x = self.norm_in(torch.cat([grid, tokens], dim=1))
        for block in self.blocks:
            x = block(x, mask)
        return self.head(self.norm_out(x[:, : grid.shape[1]]))


class BaseTokenizer(nn.Module):
    """The VQGAN underneath: latents and codes of a picture, pixels of soft codes.

    Args:
        config: settings of the VQGAN.
        train: whether it is trained (the second stage of the published recipes); its codebook and batch statistics never change.
    """

    def __init__(self, config: VQGANConfig, *, train: bool = False) -> None:
        super().__init__()
        self.vqgan = VQGAN(config)
        self.codes, self.channels = codebook_size_of(config.quantizer), config.z_channels
        self.freeze(not train)

    def freeze(self, frozen: bool = True) -> "BaseTokenizer":
        """Stop (or allow) gradients to its weights."""
        self.vqgan.requires_grad_(not frozen)
        return self

    def train(self, mode: bool = True) -> "BaseTokenizer":
        """Stay in eval mode, whatever `mode`: the VQGAN's codebook must not change."""
        return super().train(False)

    def features(self, x: Tensor) -> Tensor:
        """Latents before quantization, `[B, C, g, g]`, of pictures `[B, 3, H, W]`."""
        return self.vqgan.encode_features(x)

    def ids(self, features: Tensor) -> Tensor:
        """Id of the VQGAN's nearest code at each grid position, `[B, G]`, of latents `[B, C, g, g]`."""
        return self.vqgan.quantizer.encode(features.flatten(2))[:, 0]

    def pixels(self, logits: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]` of logits `[B, G, V_b]` over its codes."""
        side = int(logits.shape[1] ** 0.5)
        return self.vqgan.decode_latents(self.mean_code(logits), (side, side))

    def mean_code(self, logits: Tensor) -> Tensor:
        """The softmax-weighted mean `[B, C, G]` of the VQGAN's codes under logits `[B, G, V_b]`."""
        return (logits.float().softmax(-1) @ self._table).transpose(1, 2).to(logits.dtype)

    def code(self, ids: Tensor) -> Tensor:
        """The VQGAN's codes `[B, C, G]` of ids `[B, G]`."""
        return self._table[ids].transpose(1, 2)

    @property
    def _table(self) -> Tensor:
        return cast(VQ, self.vqgan.quantizer).codebook.embed


def check_base(config: VQGANConfig, patch_size: int, grid: int) -> None:
    """Raise ValueError if the VQGAN's grid differs from that of the patches concatenated with its latents."""
    if config.embed_dim or config.quant_kernel != 1:
        raise ValueError("base: the VQGAN must quantize its encoder's output directly (embed_dim 0).")
    if config.encoder.stride != patch_size:
        raise ValueError(f"base: the VQGAN makes one latent of {config.encoder.stride} pixels, patch_size is {patch_size}.")
    if grid < 1:
        raise ValueError(f"grid_size is {grid}; it must be positive.")
