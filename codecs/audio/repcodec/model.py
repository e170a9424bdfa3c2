"""RepCodec as MaskGCT and IndexTTS-2 have it: ids of w2v-BERT 2.0's features, 50 a second; it only encodes.

Huang et al. 2023, "RepCodec: A Speech Representation Codec for Speech Tokenization", arXiv 2309.00169; MaskGCT (Wang et al. 2024, arXiv
2409.00750) puts Vocos' blocks on both sides. Parity was checked against open-mmlab/Amphion @ d3de90f (`RepCodec`, MIT).

    clip, 16 kHz -> w2v-BERT 2.0, hidden state 17, standardised by stored statistics -> ConvNeXt -> factorised VQ -> ids
    ids -> ConvNeXt -> features, which `semantic` returns

There is no sound in the ids: MaskGCT's second model makes acoustic ids of them. Ids see the speech model's attention, so they depend on
the whole clip.

Letters: B batch, T samples, C channels of the features, L positions, K codebooks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...layers.frame_backbone import FrameBackbone
from ...layers.speech_features import FBANK_HOP, FBANK_WINDOW, FrozenModel, NamedModel, stacked_fbanks
from ...quantizers.base import QuantizerConfig
from ...quantizers.residual_vq import ResidualVQConfig
from ...spec import AudioSpec
from ...tokenizer import Reconstruction
from ..features import FeatureTokenizer

SAMPLE_RATE_HZ = 16000


@dataclass(frozen=True, kw_only=True)
class RepCodecConfig:
    """Settings of `RepCodec`; the defaults are MaskGCT's.

    Attributes:
        semantic_model: configuration of the speech model in the terms of transformers, whose weights are part of this model; empty: the
            published model `semantic_name` is loaded from the hub when it is first needed.
        semantic_name: name of the published speech model.
        semantic_layers: number of its layers that run; the output of the last is the features.
        features: C, which is also the width of the latents.
        width, hidden: channels of the blocks, and inside of them.
        layers: number of blocks on each side.
        quantizer: settings of any quantizer; its `dim` is filled in.
    """

    semantic_model: Mapping[str, Any] = field(default_factory=dict)
    semantic_name: str = "facebook/w2v-bert-2.0"
    semantic_layers: int = 17
    features: int = 1024
    width: int = 384
    hidden: int = 2048
    layers: int = 12
    quantizer: QuantizerConfig = ResidualVQConfig(
        num_codebooks=1, codebook_size=8192, codebook_dim=8, normalize=True, update="gradient", kmeans_init=False, replace_below=0.0,
        commitment_weight=0.15,
    )  # fmt: skip


class FeatureSide(nn.Module):
    """Backbone and a linear map, `[B, C, L]` to `[B, C, L]`."""

    def __init__(self, config: RepCodecConfig) -> None:
        super().__init__()
        c = config
        self.backbone = FrameBackbone(c.features, c.width, c.hidden, c.layers)
        self.head = nn.Linear(c.width, c.features)

    def forward(self, x: Tensor) -> Tensor:
        """Apply both."""
        return self.head(self.backbone(x).transpose(1, 2)).transpose(1, 2)


class RepCodec(FeatureTokenizer):
    """RepCodec; see the module's docstring. `decode` raises NotDecodable; `semantic` returns the features of the ids.

    `features=` takes the speech model's features `[B, C, L]`, already standardised.
    """

    family: ClassVar[str] = "repcodec"
    config_class: ClassVar[type] = RepCodecConfig
    encoder_only = ("encoder", "semantic_model")
    decoder_only = ("decoder",)
    config: RepCodecConfig
    feature_mean: Tensor
    feature_deviation: Tensor

    def __init__(self, config: RepCodecConfig) -> None:
        super().__init__()
        c = self.config = config
        self.encoder, self.decoder = FeatureSide(c), FeatureSide(c)
        self.quantizer = c.quantizer.build(dim=c.features)
        self.semantic_model = FrozenModel(c.semantic_model) if c.semantic_model else None
        self._published = NamedModel(c.semantic_name, {"num_hidden_layers": c.semantic_layers})
        self.register_buffer("feature_mean", torch.zeros(c.features))
        self.register_buffer("feature_deviation", torch.ones(c.features))
        self.spec = AudioSpec.of(
            self.quantizer, sample_rate_hz=SAMPLE_RATE_HZ, hop_samples=2 * FBANK_HOP, decodes=False, semantic_dim=c.features
        )

    def num_frames(self, samples: int) -> int:
        """L, the number of positions of a clip of `samples` samples that is encoded without `features=`."""
        banks = (max(samples, FBANK_WINDOW + FBANK_HOP) - FBANK_WINDOW) // FBANK_HOP + 1
        return -(-banks // 2)

    @torch.no_grad()
    def speech_features(self, x: Tensor) -> Tensor:
        """The speech model's features `[B, C, L]` of clips `[B, 1, T]`, standardised; clips below 35 ms are filled up with zeros."""
        x = F.pad(x[:, 0], (0, max(0, FBANK_WINDOW + FBANK_HOP - x.shape[-1])))
        banks = torch.stack([stacked_fbanks(clip) for clip in x])
        model = self.semantic_model or self._published.get(self.device, self.dtype)
        return (model(banks.to(self.dtype)) - self.feature_mean[:, None]) / self.feature_deviation[:, None]

    def encode_latents(self, x: Tensor, features: Tensor | None = None) -> Tensor:
        """Latents `[B, C, L]` of clips `[B, 1, T]`, or of their `features` `[B, C, L]`."""
        return self.encoder((self.speech_features(x) if features is None else features).to(self.dtype))

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """The speech model's features `[B, C, L]`, standardised, as reconstructed from ids."""
        return self.decoder(self.vectors_of(ids))

    def forward(self, x: Tensor, features: Tensor | None = None) -> Reconstruction:
        """Encode, quantize and reconstruct the features of a batch `[B, 1, T]` with gradients; `x_hat` is the quantized latents.

        `Reconstruction.features` holds "semantic", the reconstructed features `[B, C, L]`, and "semantic_target", the speech model's.
        """
        target = self.speech_features(x) if features is None else features
        z = self.encode_latents(x, target)
        quantized = self.quantizer(z)
        out = {"semantic": self.decoder(quantized.z_q), "semantic_target": target}
        return Reconstruction(x_hat=quantized.z_q, z=z, quantized=quantized, features=out)
