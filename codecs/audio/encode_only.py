"""Base class of tokenizers of sound that only encode and that cut clips into pieces of their own."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..coding import Batch
from ..tokenizer import Reconstruction
from .base import AudioTokenizer


class EncodeOnlyTokenizer(AudioTokenizer):
    """Clips to ids, without a way back; `semantic` returns the code vectors. A family adds `own_pieces`, and `num_frames` if it must.

    Letters: B batch, T samples, D latent width, l positions of a piece, L of the clip.
    """

    def own_pieces(self, x: Tensor) -> Iterator[Tensor]:
        """Latents of clips `[B, 1, T]`, piece by piece `[B, D, l]`."""
        raise NotImplementedError

    def latent_pieces(self, x: Tensor, batch: Batch) -> Iterator[Tensor]:
        """`own_pieces`, however long the pieces of a call are to be."""
        return self.own_pieces(x)

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, L]` of clips `[B, 1, T]`."""
        return torch.cat(list(self.own_pieces(x)), dim=-1)

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """Code vectors `[B, D, L]` of ids `[B, 1, L]`."""
        return self.vectors_of(ids, grid)

    def forward(self, x: Tensor) -> Reconstruction:
        """Encode and quantize `[B, 1, T]`; there is no sound to compare with, so `x_hat` is the code vectors `[B, D, L]`."""
        z = self.encode_latents(x)
        quantized = self.quantizer(z)
        return Reconstruction(x_hat=quantized.z_q, z=z, quantized=quantized)
