"""The codes of UniTok: attention from features to several small codebooks, and back.

Ma et al. 2025, "UniTok: A Unified Tokenizer for Visual Generation and Understanding", arXiv 2502.20321. Parity checked against
FoundationVision/UniTok @ bb8012e8e8 (MIT), `quant_proj`, `quantizer` and `post_quant_proj` of class `UniTok`.

Each position's code is cut into parts, and each part has a separate codebook with lookup by cosine similarity. `model.py` adds
encoder and decoder of pictures.

Letters: B batch, L positions, C width of the features, D code width, K codebooks.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from ...latent import LatentSpec, LatentTokenizer
from ...layers.attention_projection import AttentionProjection
from ...quantizers.base import QuantizerConfig
from ...quantizers.grouped_vq import GroupedVQConfig


@dataclass(frozen=True, kw_only=True)
class UniTokCodesConfig:
    """Settings of `UniTokCodes`; the defaults are the published ones.

    Attributes:
        width: C, channels of the features.
        code_dim: D, channels of the latents, shared out to the K codebooks.
        projection: maps between C and D channels: attention over all positions, or linear.
        quantizer: settings of any quantizer; its `dim` is filled in.
    """

    width: int = 1024
    code_dim: int = 64
    projection: Literal["attention", "linear"] = "attention"
    quantizer: QuantizerConfig = GroupedVQConfig(
        groups=8,
        levels=1,
        codebook_size=4096,
        normalize=True,
        returns="normalized",
        update="gradient",
        kmeans_init=False,
        replace_below=0.0,
    )


class UniTokCodes(LatentTokenizer):
    """Features `[B, C, L]` to ids `[B, K, L]` and back; with attention a position's id depends on all of them."""

    family: ClassVar[str] = "unitok_codes"
    config_class: ClassVar[type] = UniTokCodesConfig
    encoder_only = ("to_code",)
    decoder_only = ("from_code",)
    config: UniTokCodesConfig

    def __init__(self, config: UniTokCodesConfig) -> None:
        super().__init__()
        self.config = c = config
        kind = AttentionProjection if c.projection == "attention" else nn.Linear
        self.to_code = kind(c.width, c.code_dim)
        self.quantizer = c.quantizer.build(dim=c.code_dim)
        self.from_code = kind(c.code_dim, c.width)
        self.spec = LatentSpec.of(
            self.quantizer,
            channels=c.width,
            semantic_dim=c.width,
        )

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, L]` of features `[B, C, L]`."""
        return self.to_code(x.flatten(2).transpose(1, 2)).transpose(1, 2)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Features `[B, C, L]` of latents `[B, D, L]`."""
        return super().decode_latents(self.from_code(z_q.transpose(1, 2)).transpose(1, 2), grid)
