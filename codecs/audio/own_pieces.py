"""Base class of tokenizers of sound that cut clips into pieces of their own: windows of a recogniser, chunks of a speech model."""

from collections.abc import Iterator

from torch import Tensor

from ..coding import Batch
from ..kernels.conv1d import join
from .base import AudioTokenizer


class OwnPiecesTokenizer(AudioTokenizer):
    """A tokenizer whose family writes `own_pieces` in place of `encode_latents`.

    Letters: B batch, T samples, D latent width, l positions of a piece, L of the clip.
    """

    def own_pieces(self, x: Tensor, batch: Batch | None = None) -> Iterator[Tensor]:
        """Latents of clips `[B, 1, T]`, piece by piece `[B, D, l]`; `batch`, in a call of `encode`, has its options."""
        raise NotImplementedError

    def latent_pieces(self, x: Tensor, batch: Batch) -> Iterator[Tensor]:
        """`own_pieces`, however long the pieces of a call are to be."""
        return self.own_pieces(x, batch)

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, L]` of clips `[B, 1, T]`."""
        return join(list(self.own_pieces(x)))
