"""Base class of tokenizers of sound that only encode."""

from torch import Tensor

from ..tokenizer import Reconstruction
from .own_pieces import OwnPiecesTokenizer


class EncodeOnlyTokenizer(OwnPiecesTokenizer):
    """Clips to ids, without a way back; `semantic` returns the code vectors. A family adds `own_pieces`, and `num_frames` if it must.

    Letters: B batch, T samples, D latent width, L positions.
    """

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """Code vectors `[B, D, L]` of ids `[B, 1, L]`."""
        return self.vectors_of(ids, grid)

    def forward(self, x: Tensor) -> Reconstruction:
        """Encode and quantize `[B, 1, T]`; there is no sound to compare with, so `x_hat` is the code vectors `[B, D, L]`."""
        z = self.encode_latents(x)
        quantized = self.quantizer(z)
        return Reconstruction(x_hat=quantized.z_q, z=z, quantized=quantized)
