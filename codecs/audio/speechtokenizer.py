"""SpeechTokenizer and DM-Codec: SEANet whose first level of quantization is taught the content of speech.

Zhang et al. 2023, arXiv 2308.16692; Ahasan et al. 2024, arXiv 2410.15017. Parity was checked against
ZhangXInFD/SpeechTokenizer @ 30c96fb and mubtasimahasan/DM-Codec @ 25c742a (both Apache-2.0). One architecture; they
differ in the teacher: hidden states of HuBERT, or those and a text model's.

The first codebook is called `semantic`, the others `acoustic`. `forward` gives `features["semantic"]`, the first
level's vectors in the teacher's width, for a distillation loss.

Letters: B batch, T samples, D latent width, S teacher's width, K codebooks, L positions (frames).
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..layers.seanet import SEANetConfig, SEANetDecoder, SEANetEncoder
from ..quantizers.base import QuantizerConfig, straight_through
from ..quantizers.residual_vq import ResidualVQ, ResidualVQConfig
from ..spec import AudioSpec
from ..tokenizer import Reconstruction
from .base import AudioTokenizer, to_length


@dataclass(frozen=True, kw_only=True)
class SpeechTokenizerConfig:
    """Settings of `SpeechTokenizer`; the defaults are the published models'.

    Attributes:
        sample_rate_hz: rate of the waveform.
        seanet: both sides; `lstm_bidirectional` concerns the encoder alone.
        semantic_dim: S; equal to `seanet.latent_dim`: no map to it.
        quantizer: `residual_vq`; its `dim` is filled in.
    """

    sample_rate_hz: int = 16000
    seanet: SEANetConfig = SEANetConfig(latent_dim=1024, width=64, lstm_bidirectional=True)
    semantic_dim: int = 768
    quantizer: QuantizerConfig = ResidualVQConfig(num_codebooks=8, kmeans_iterations=50, commitment_weight=1.0)

    def __post_init__(self) -> None:
        if self.seanet.causal:
            raise ValueError("seanet.causal is true; this family looks both ways.")
        if not isinstance(self.quantizer, ResidualVQConfig):
            raise ValueError(f"quantizer is {self.quantizer.kind!r}; the first level needs 'residual_vq'.")
        if self.quantizer.codebook_dim or set(self.quantizer.strides) - {1}:
            raise ValueError("leave out quantizer.codebook_dim and strides: the first level's vectors are features.")


class SpeechTokenizer(AudioTokenizer):
    """SpeechTokenizer; see the module's docstring. Any first codebooks decode."""

    family: ClassVar[str] = "speechtokenizer"
    config_class: ClassVar[type] = SpeechTokenizerConfig
    quantizer: ResidualVQ

    def __init__(self, config: SpeechTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        c = config.seanet
        self.encoder = SEANetEncoder(c)
        self.quantizer = config.quantizer.build(dim=c.latent_dim)  # type: ignore[assignment]
        self.decoder = SEANetDecoder(dataclasses.replace(c, lstm_bidirectional=False))
        same = config.semantic_dim == c.latent_dim
        self.semantic_head = nn.Identity() if same else nn.Linear(c.latent_dim, config.semantic_dim)
        k = self.quantizer.num_codebooks
        self.spec = AudioSpec(
            vocab_sizes=self.quantizer.codebook_sizes,
            prefix=("codebooks",),
            names=("semantic",) + ("acoustic",) * (k - 1),
            channels=c.channels,
            sample_rate_hz=config.sample_rate_hz,
            hop_samples=c.hop_samples,
        )

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, ceil(T / hop)]` of `[B, 1, T]`."""
        return self.encoder(x)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Waveform `[B, 1, L * hop]` of latents `[B, D, L]`."""
        return self.decoder(z_q)

    def semantic_features(self, z_q: Tensor) -> Tensor:
        """First-level vectors `[B, D, L]` in the teacher's width, `[B, S, L]`."""
        return self.semantic_head(z_q.transpose(1, 2)).transpose(1, 2)

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct a batch `[B, 1, T]` with gradients; `features["semantic"]` is `[B, S, L]`."""
        z = self.encode_latents(x)
        quantized = self.quantizer(z)
        first = straight_through(z, self.quantizer.decode(quantized.ids[:, :1]).to(z.dtype))
        x_hat = to_length(self.decode_latents(quantized.z_q), x.shape[-1])
        features = {"semantic": self.semantic_features(first)}
        return Reconstruction(x_hat=x_hat, z=z, quantized=quantized, features=features)

    # --- the levels after the first, alone --------------------------------------------------------------------------

    @torch.no_grad()
    def ids_from(self, z: Tensor, start: int) -> Tensor:
        """Ids `[B, K - start, L]` of the levels from `start` on, searched in the whole latents `[B, D, L]`.

        The authors' `encode(x, st=start)`: what the skipped levels would have taken away stays in, so these are not the
        ids that `encode` gives for the same levels.
        """
        left, out = z.float().transpose(1, 2), []  # [B, L, D]
        for level in self._levels(start):
            ids = level.search_rows(left.flatten(0, 1).contiguous())
            left = left - level.decode_rows(ids).view_as(left)
            out.append(ids.view(left.shape[:2]))
        return torch.stack(out, dim=1)

    def latents_from(self, ids: Tensor, start: int) -> Tensor:
        """Sum `[B, D, L]` of the vectors of ids `[B, n, L]` of the levels from `start` on: voice without content."""
        pairs = zip(self._levels(start)[: ids.shape[1]], ids.unbind(1), strict=True)
        rows = [level.decode_rows(at.flatten()).view(*at.shape, -1) for level, at in pairs]
        return torch.stack(rows).sum(0).transpose(1, 2)

    def _levels(self, start: int) -> nn.ModuleList:
        if not 0 <= start < self.quantizer.num_codebooks:
            raise ValueError(f"start is {start}; there are {self.quantizer.num_codebooks} levels.")
        return self.quantizer.levels[start:]  # type: ignore[return-value]
