"""SpeechTokenizer, DM-Codec and FuseCodec: SEANet with a residual quantizer whose first level is distilled from speech models.

Zhang et al. 2023, "SpeechTokenizer: Unified Speech Tokenizer for Speech Large Language Models", arXiv 2308.16692. Ahasan et al.
2024, "DM-Codec: Distilling Multimodal Representations for Speech Tokenization", arXiv 2410.15017. Parity was checked against
ZhangXInFD/SpeechTokenizer @ 30c96fb and mubtasimahasan/DM-Codec @ 25c742a (both Apache-2.0). Both have one architecture; they
differ in the teacher: hidden states of HuBERT, or those and a text model's.

SEANet (strided convolutions and a bidirectional LSTM) encodes `[B, 1, T]` to latents `[B, D, L]`, one for every hop of 320 samples:
50 a second at 16 kHz. The residual quantizer returns ids `[B, K, L]`. In training, the vectors of the first level are also mapped
to the teacher's width and compared with its states, so that this level encodes the content of speech. The decoder mirrors the
encoder and returns `[B, 1, L * hop]`.

FuseCodec (Ahasan et al. 2025, "FuseCodec: Semantic-Contextual Fusion and Supervision for Neural Codecs", arXiv 2509.11425; neither
code nor weights are public) is the same network trained in one of three further ways: with `fusion` (`latent_fusion.py`), or with
the losses of `configs/audio/fusecodec-*.yaml`.

The first codebook is called `semantic`, the others `acoustic`. `forward` returns `features["semantic"]`, the first
level's vectors in the teacher's width `[B, S, L]`, for a distillation loss.

Letters: B batch, T samples, D latent width, S teacher's width, K codebooks, L positions (frames).
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...coding import Batch
from ...layers.seanet import SEANetConfig, SEANetDecoder, SEANetEncoder
from ...members import members
from ...options import EncodeOptions, FeatureEncodeOptions
from ...quantizers.base import QuantizerConfig, straight_through
from ...quantizers.parts.residual import ResidualStack
from ...quantizers.parts.rows import RowQuantizer
from ...quantizers.residual_vq import ResidualVQ, ResidualVQConfig
from ...spec import AudioSpec
from ...tokenizer import Reconstruction
from ..base import to_length
from ..features import FeatureTokenizer
from ..start import start_sound
from .latent_fusion import FusionConfig, LatentFusion


@dataclass(frozen=True, kw_only=True)
class SpeechTokenizerConfig:
    """Settings of `SpeechTokenizer`; the defaults are the published models'.

    Attributes:
        sample_rate_hz: rate of the waveform.
        seanet: settings of encoder and decoder; `lstm_bidirectional` applies to the encoder alone.
        semantic_dim: S, the teacher's width; if it equals `seanet.latent_dim`, there is no linear map to it.
        quantizer: settings of `residual_vq`; its `dim` is filled in.
        fusion: settings of the fusion, which adds vectors of a speech and a text model to the latents if they are given
            (FuseCodec); None: no fusion.
    """

    sample_rate_hz: int = 16000
    seanet: SEANetConfig = SEANetConfig(latent_dim=1024, width=64, lstm_bidirectional=True)
    semantic_dim: int = 768
    quantizer: QuantizerConfig = ResidualVQConfig(num_codebooks=8, kmeans_iterations=50, commitment_weight=1.0)
    fusion: FusionConfig | None = None

    def __post_init__(self) -> None:
        if self.seanet.causal:
            raise ValueError("seanet.causal is true; this family is not causal: set it to false.")
        if not isinstance(self.quantizer, ResidualVQConfig):
            raise ValueError(f"quantizer is {self.quantizer.kind!r}; the first level needs 'residual_vq'.")
        if self.quantizer.codebook_dim or set(self.quantizer.strides) - {1}:
            raise ValueError("leave out quantizer.codebook_dim and strides: the first level's vectors are features.")


class SpeechTokenizer(FeatureTokenizer):
    """SpeechTokenizer; see the module's docstring. The first k codebooks alone can be decoded.

    With `fusion`, `encode` takes `features=`: the concatenated vectors of the speech model and of the text model, `[S + W, 1]` for
    each clip. Without them nothing is added to the latents, as for items whose vectors are dropped in training.
    """

    family: ClassVar[str] = "speechtokenizer"
    config_class: ClassVar[type] = SpeechTokenizerConfig
    quantizer: ResidualStack

    def __init__(self, config: SpeechTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        c = config.seanet
        self.encoder = SEANetEncoder(c)
        quantizer = config.quantizer.build(dim=c.latent_dim)
        assert isinstance(quantizer, ResidualStack)
        self.quantizer = quantizer
        self.decoder = SEANetDecoder(dataclasses.replace(c, lstm_bidirectional=False))
        start_sound(self.encoder, self.decoder)
        same = config.semantic_dim == c.latent_dim
        self.fusion = LatentFusion(config.fusion, c.latent_dim) if config.fusion else None
        self.semantic_head = nn.Identity() if same else nn.Linear(c.latent_dim, config.semantic_dim)
        k = self.quantizer.num_codebooks
        self.encode_options = FeatureEncodeOptions if config.fusion else EncodeOptions
        self.spec = AudioSpec.of(
            self.quantizer,
            prefix=("codebooks",),
            names=("semantic",) + ("acoustic",) * (k - 1),
            channels=c.channels,
            sample_rate_hz=config.sample_rate_hz,
            hop_samples=c.hop_samples,
            semantic_dim=config.semantic_dim,
        )

    def encode_latents(self, x: Tensor, semantic: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        """Latents `[B, D, ceil(T / hop)]` of clips `[B, 1, T]`; vectors `[B, S, N]` and `[B, W, M]` are added if they are given."""
        z = self.encoder(x)
        if semantic is None and context is None:
            return z
        if self.fusion is None:
            raise ValueError("this model has no fusion (config.fusion): it takes no vectors of other models.")
        if semantic is None or context is None:
            raise ValueError("give the vectors of both models, speech and text, or none.")
        return self.fusion(z, semantic, context)

    def latents_of(self, x: Tensor, batch: Batch) -> Tensor:
        """Latents `[B, D, L]` of clips `[B, 1, T]`; features, if given, are vectors `[B, S + W, N]`, those of speech first."""
        features, f = self.features_of(batch), self.config.fusion
        if features is None or f is None:
            return self.encode_latents(x)
        widths = (f.semantic_dim, f.context_dim)
        if features.shape[1] != sum(widths):
            raise ValueError(f"features have {features.shape[1]} channels; give {widths[0]} of speech, then {widths[1]} of text.")
        return self.encode_latents(x, *features.split(widths, dim=1))

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Waveform `[B, 1, L * hop]` of latents `[B, D, L]`."""
        return self.decoder(z_q)

    def semantic_features(self, z_q: Tensor) -> Tensor:
        """Map first-level vectors `[B, D, L]` to the teacher's width, `[B, S, L]`."""
        return self.semantic_head(z_q.transpose(1, 2)).transpose(1, 2)

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """First-level vectors in the teacher's width, `[B, S, L]`."""
        return self.semantic_features(self.vectors_of(ids[:, :1]))

    def forward(self, x: Tensor, semantic: Tensor | None = None, context: Tensor | None = None) -> Reconstruction:
        """Reconstruct a batch `[B, 1, T]` with gradients; `features["semantic"]` is `[B, S, L]`.

        `semantic` and `context` as in `encode_latents`.
        """
        z = self.encode_latents(x, semantic, context)
        quantized = self.quantizer(z)
        first = straight_through(z, self.quantizer.decode(quantized.ids[:, :1]).to(z.dtype))
        x_hat = to_length(self.decode_latents(quantized.z_q), x.shape[-1])
        features = {"semantic": self.semantic_features(first)}
        return Reconstruction(x_hat=x_hat, z=z, quantized=quantized, features=features)

    # --- the levels after the first, alone --------------------------------------------------------------------------

    @torch.no_grad()
    def ids_from(self, z: Tensor, start: int) -> Tensor:
        """Ids `[B, K - start, L]` of the levels from `start` on, searched in the whole latents `[B, D, L]`.

        This is the authors' `encode(x, st=start)`. The vectors of the skipped levels are not subtracted first, so the ids differ
        from those that `encode` returns for the same levels.
        """
        left, out = z.float().transpose(1, 2), []  # [B, L, D]
        for level in self._levels(start):
            ids = level.search_rows(left.flatten(0, 1).contiguous())
            left = left - level.decode_rows(ids).view_as(left)
            out.append(ids.view(left.shape[:2]))
        return torch.stack(out, dim=1)

    def latents_from(self, ids: Tensor, start: int) -> Tensor:
        """Sum `[B, D, L]` of the vectors of ids `[B, n, L]` of the levels from `start` on; without level 0: voice without content."""
        pairs = zip(self._levels(start)[: ids.shape[1]], ids.unbind(1), strict=True)
        rows = [level.decode_rows(at.flatten()).view(*at.shape, -1) for level, at in pairs]
        return torch.stack(rows).sum(0).transpose(1, 2)

    def _levels(self, start: int) -> list[RowQuantizer]:
        if not 0 <= start < self.quantizer.num_codebooks:
            raise ValueError(f"start is {start}; there are {self.quantizer.num_codebooks} levels.")
        assert isinstance(self.quantizer, ResidualVQ)
        return members(self.quantizer.levels, RowQuantizer)[start:]
