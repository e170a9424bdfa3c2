"""UniTok: one set of ids for generation and understanding, from several codebooks in parallel.

Ma et al. 2025, "UniTok: A Unified Tokenizer for Visual Generation and Understanding", arXiv 2502.20321.
Parity checked against FoundationVision/UniTok @ bb8012e8e8 (MIT), class `UniTok` at toy size, with the towers in the installed
timm instead of the old one that the class needs; the encoder also against timm's own ViTamin. Its text tower is not included.

ViTamin (convolutional stages, then a transformer) encodes pictures `[B, 3, H, W]` to features `[B, L, C]`. Attention maps them to D
channels, which are cut into K parts, each quantized with a separate codebook: ids `[B, K, L]`. Attention maps the quantized vectors
back to C channels; these features are the input of a language model, and of a mirrored ViTamin that decodes `[B, 3, H, W]`.

Letters: B batch, H W pixels, g grid side, Q queries, L = Q + g g, C width of the features, D code width, E width of the embedding.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from ...config import ConfigError
from ...layers.vitamin import ViTaminConfig, ViTaminDecoder, ViTaminEncoder
from ...quantizers.base import Quantizer
from ...spec import ImageSpec
from ...tokenizer import Reconstruction
from ..base import ImageTokenizer
from .codes import UniTokCodes, UniTokCodesConfig


@dataclass(frozen=True, kw_only=True)
class UniTokConfig:
    """Settings of `UniTok`; the defaults are the published ones.

    Attributes:
        image_size: side of the pictures in pixels.
        tower: settings of ViTamin, the encoder and, mirrored, the decoder.
        codes: settings of the maps to the codes and back, see `UniTokCodesConfig`; its `width` must be the tower's.
        embedding_dim: E, width of the image embedding in the space shared with texts.
    """

    image_size: int = 256
    tower: ViTaminConfig = ViTaminConfig(drop_path=0.1)
    codes: UniTokCodesConfig = UniTokCodesConfig()
    embedding_dim: int = 768

    def __post_init__(self) -> None:
        if self.image_size % self.tower.stride:
            raise ConfigError(f"image_size is {self.image_size}; it must be a multiple of {self.tower.stride}.")
        if self.codes.width != self.tower.width:
            raise ConfigError(f"codes.width {self.codes.width} and tower.width {self.tower.width} must be equal.")


class UniTok(ImageTokenizer):
    """Pictures of one size to ids `[B, K, L]` and back: queries first where there are any, then the grid row by row."""

    family: ClassVar[str] = "unitok"
    config_class: ClassVar[type] = UniTokConfig
    encoder_only = ("encoder", "codes.to_code")
    decoder_only = ("codes.from_code", "decoder")
    config: UniTokConfig

    def __init__(self, config: UniTokConfig) -> None:
        super().__init__()
        self.config = c = config
        self.encoder = ViTaminEncoder(c.tower)
        self.codes = UniTokCodes(c.codes)
        self.decoder = ViTaminDecoder(c.tower)
        self.embedding_norm = nn.LayerNorm(c.tower.width, eps=1e-6)
        self.to_embedding = nn.Linear(c.tower.width, c.embedding_dim)
        side = c.image_size // c.tower.stride
        self.spec = ImageSpec.of(
            self.quantizer,
            stride=0 if c.tower.queries else c.tower.stride,
            image_size=(c.image_size, c.image_size),
            num_positions=c.tower.queries + side**2 if c.tower.queries else 0,
            resize="crop",
            semantic_dim=c.codes.width,
        )

    @property
    def quantizer(self) -> Quantizer:
        """The codebooks, which belong to `codes`."""
        return self.codes.quantizer

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, L]` of pictures `[B, 3, H, W]` in -1..1."""
        return self.codes.encode_latents(self.encoder(x).transpose(1, 2))

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Pictures `[B, 3, H, W]` of latents `[B, D, L]`."""
        return self.decoder(self.decode_features(z_q))

    def decode_features(self, z_q: Tensor) -> Tensor:
        """Features `[B, L, C]` of latents `[B, D, L]`, the input of the pixel decoder and of `embedding`."""
        return self.codes.decode_latents(z_q).transpose(1, 2)

    def embedding(self, features: Tensor) -> Tensor:
        """Image embedding `[B, E]` of features `[B, L, C]`, not normalised; its cosine similarity to a text's is CLIP's score."""
        return self.to_embedding(self.embedding_norm(features.mean(1)))

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """Features `[B, C, L]` of ids `[B, K, L]`, the input of a language model."""
        return self.decode_features(self.vectors_of(ids)).transpose(1, 2)

    def pooled_of(self, features: Tensor) -> Tensor:
        """Image embedding `[B, E]` of features `[B, C, L]`, the input of a classifier."""
        return self.embedding(features.transpose(1, 2))

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct `[B, 3, H, W]`; features "semantic" are `[B, C, L]`, "embedding" `[B, E, 1]`."""
        z = self.encode_latents(x)
        quantized = self.quantizer(z, grid=self.grid_of(x))
        y = self.decode_features(quantized.z_q)
        features = {"semantic": y.transpose(1, 2), "embedding": self.embedding(y).unsqueeze(2)}
        return Reconstruction(x_hat=self.decoder(y), z=z, quantized=quantized, features=features)
