"""TokenFlow: one id for semantics and pixels, at several scales.

Qu et al. 2024, "TokenFlow: Unified Image Tokenizer for Multimodal Understanding and Generation", arXiv 2412.03069. Parity
checked against ByteVisionLab/TokenFlow @ 9812da01c0 (Apache-2.0), class `TokenFlow` with the SigLIP and the CLIP teacher; the
ViTamin teacher's tower against timm.

The teacher's tower returns semantic channels `[B, D_s, L]` of pictures `[B, 3, H, W]`, a VQGAN encoder pixel channels `[B, D_p, L]`;
they are concatenated. A multi-scale quantizer encodes them from coarse to fine scales with paired tables, a semantic and a pixel
vector for each id: ids `[B, 1, S]`. The semantic part is decoded to the teacher's features, the pixel part to `[B, 3, H, W]`.

Letters: B batch, H W pixels, g grid side, L = g g, D = D_s + D_p latent width, S positions of all scales, C width of a tower.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...coding import Batch
from ...config import ConfigError
from ...layers.vision_tower import CLIP_MEAN, CLIP_STD, TowerConfig, VisionTower
from ...layers.vit import init_linear
from ...layers.vitamin import ViTaminConfig, ViTaminEncoder
from ...layers.vqgan import DecoderConfig, EncoderConfig, VQGANDecoder, VQGANEncoder
from ...options import OrderedEncodeOptions
from ...quantizers.base import QuantizerConfig
from ...quantizers.multiscale_vq import MultiScaleVQConfig
from ...spec import ImageSpec
from ...tokenizer import Reconstruction
from ..base import ImageTokenizer

_SCALES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 17, 22, 27)


@dataclass(frozen=True, kw_only=True)
class TokenFlowConfig:
    """Settings of `TokenFlow`; the defaults are those of the published SigLIP model.

    Attributes:
        image_size: side of the pictures and of the tower's input, in pixels.
        output_size: side of the decoded pictures, resized from the pixel decoder's output at `g * stride`.
        tower: settings of the semantic tower (SigLIP without its last layer: the features come from the one before).
        vitamin: settings of a ViTamin that replaces `tower`; None: `tower`.
        tower_input: the tower's input of pixels in -1..1: clipped to that range ("clipped": SigLIP), unchanged ("raw": the
            CLIP teacher, as the authors don't apply CLIP's mean and deviation), or normalised by CLIP's mean and deviation
            ("clip": ViTamin).
        encoder, decoder: settings of the pixel encoder and decoder; see `layers/vqgan.py`. Pictures are resized to `g * stride` before
            the encoder.
        z_channels: output channels of the encoder and input channels of the decoder.
        pixel_dim: D_p, pixel channels of the latents.
        semantic_decoder: transformer from the semantic code to features; its `in_channels` is D_s, its patch 1.
        feature_dim: width of the teacher's features, the semantic decoder's target.
        quantizer: settings of a multi-scale quantizer with `semantic_dim`; its last scale is the grid.
    """

    image_size: int = 384
    output_size: int = 384
    tower: TowerConfig = field(
        default_factory=lambda: TowerConfig(
            image_size=384, patch_size=14, width=1152, layers=26, heads=16, hidden=4304, class_token=False, registers=0,
            layer_scale=None, gelu="tanh", norm_out="none",
        )
    )  # fmt: skip
    vitamin: ViTaminConfig | None = None
    tower_input: Literal["clipped", "raw", "clip"] = "clipped"
    encoder: EncoderConfig = EncoderConfig(widths=(128, 128, 256, 256, 512), attention_levels=(4,))
    decoder: DecoderConfig = DecoderConfig(widths=(128, 128, 256, 256, 512), attention_levels=(4,))
    z_channels: int = 256
    pixel_dim: int = 8
    semantic_decoder: TowerConfig = field(
        default_factory=lambda: TowerConfig(
            image_size=27, patch_size=1, in_channels=32, width=1152, layers=3, heads=12, hidden=4608, registers=0,
            layer_scale=None, norm_out="affine",
        )
    )  # fmt: skip
    feature_dim: int = 1152
    quantizer: QuantizerConfig = MultiScaleVQConfig(
        codebook_size=32768,
        scales=tuple((s, s) for s in _SCALES),
        phi_ratio=0.0,
        semantic_dim=32,
        normalize=True,
        returns="normalized",
        commitment_weight=1.0,
    )

    def __post_init__(self) -> None:
        if self.encoder.stride != self.decoder.stride:
            raise ConfigError(f"strides differ: encoder {self.encoder.stride}, decoder {self.decoder.stride}.")
        scales, g = getattr(self.quantizer, "scales", ()), self.grid_size
        if not scales or tuple(scales[-1]) != (g, g):
            raise ConfigError(f"quantizer.scales must end with the tower's grid {(g, g)}; got {scales}.")
        if getattr(self.quantizer, "semantic_dim", 0) != self.semantic_decoder.in_channels:
            raise ConfigError("quantizer.semantic_dim and semantic_decoder.in_channels must be the same width D_s.")

    @property
    def grid_size(self) -> int:
        """Side g of the tower's grid."""
        return self.image_size // (self.tower.patch_size if self.vitamin is None else self.vitamin.stride)


class TokenFlow(ImageTokenizer):
    """ids `[B, 1, S]`, scales from coarse to fine, each row by row; the first scales alone decode to a coarser picture."""

    family: ClassVar[str] = "tokenflow"
    config_class: ClassVar[type] = TokenFlowConfig
    encode_options = OrderedEncodeOptions
    encoder_only = ("tower", "to_semantic", "encoder", "to_code")
    decoder_only = ("from_code", "decoder", "semantic_decoder", "to_features")
    config: TokenFlowConfig
    clip_mean: Tensor
    clip_std: Tensor

    def __init__(self, config: TokenFlowConfig) -> None:
        super().__init__()
        self.config = c = config
        d_s, d_p, width = c.semantic_decoder.in_channels, c.pixel_dim, c.semantic_decoder.width
        self.tower = VisionTower(c.tower) if c.vitamin is None else ViTaminEncoder(c.vitamin)
        wide = (c.vitamin or c.tower).width
        self.to_semantic = nn.Sequential(nn.Linear(wide, wide), nn.Tanh(), nn.Linear(wide, d_s))
        self.encoder = VQGANEncoder(c.encoder, c.z_channels)
        self.to_code = nn.Conv2d(c.z_channels, d_p, 1)
        self.quantizer = c.quantizer.build(dim=d_s + d_p)
        self.semantic_decoder = VisionTower(c.semantic_decoder)
        self.to_features = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, c.feature_dim))
        self.from_code = nn.Conv2d(d_p, c.z_channels, 1)
        self.decoder = VQGANDecoder(c.decoder, c.z_channels)
        for part in (self.to_semantic, self.to_features):
            part.apply(init_linear)
        for name, values in (("clip_mean", CLIP_MEAN), ("clip_std", CLIP_STD)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        self.spec = ImageSpec.of(
            self.quantizer,
            prefix=("positions",),
            stride=c.encoder.stride,
            image_size=(c.image_size, c.image_size),
            scales=self.quantizer.scale_grids,
            resize="crop",
            semantic_dim=c.feature_dim,
        )

    def grid_of(self, x: Tensor) -> tuple[int, int]:
        """The tower's grid (g, g), independent of the stride of the pixel encoder."""
        return self.config.grid_size, self.config.grid_size

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, L]`, semantic channels first, of pictures `[B, 3, H, W]` in -1..1."""
        side = self.config.grid_size * self.config.encoder.stride
        semantic = self.to_semantic(self.tower(self._for_tower(x))).transpose(1, 2)  # [B, D_s, L]
        pixels = self.to_code(self.encoder(_resized(x, side))).flatten(2)  # [B, D_p, L]
        return torch.cat([semantic, pixels], dim=1)

    def _for_tower(self, x: Tensor) -> Tensor:
        kind = self.config.tower_input
        if kind == "raw":
            return x
        x = x.clamp(-1, 1)
        return ((x + 1) / 2 - self.clip_mean) / self.clip_std if kind == "clip" else x

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Pictures `[B, 3, H, W]` of latents `[B, D, L]`."""
        g = self.config.grid_size
        pixels = z_q[:, self.config.semantic_decoder.in_channels :].unflatten(2, (g, g))
        return _resized(self.decoder(self.from_code(pixels)), self.config.output_size)

    def decode_features(self, z_q: Tensor) -> Tensor:
        """The teacher's features `[B, L, feature_dim]` of latents `[B, D, L]`."""
        g = self.config.grid_size
        semantic = z_q[:, : self.config.semantic_decoder.in_channels].unflatten(2, (g, g))
        return self.to_features(self.semantic_decoder(semantic))

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Pictures `[B, 3, H, W]` of ids `[B, 1, S]`, or of a first part of them; positions of an incomplete scale are ignored."""
        return self.decode_latents(self._whole(ids))

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """The teacher's features `[B, feature_dim, L]` of ids `[B, 1, S]`; they may end after any scale."""
        return self.decode_features(self._whole(ids)).transpose(1, 2)

    def _whole(self, ids: Tensor) -> Tensor:
        """Latents `[B, D, L]` of the complete scales of ids `[B, 1, S]`."""
        return self.vectors_of(ids[..., : self.spec.whole_scales(ids.shape[2])], self.spec.scales[-1])

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct `[B, 3, H, W]`; `features["semantic"]` are the predicted features `[B, feature_dim, L]`."""
        z = self.encode_latents(x)
        quantized = self.quantizer(z, grid=self.grid_of(x))
        features = {"semantic": self.decode_features(quantized.z_q).transpose(1, 2)}
        return Reconstruction(x_hat=self.decode_latents(quantized.z_q), z=z, quantized=quantized, features=features)


def _resized(x: Tensor, side: int) -> Tensor:
    """Resize `[B, C, H, W]` to `side` x `side`, bicubic without antialiasing, as in the authors' code."""
    return x if x.shape[-2:] == (side, side) else F.interpolate(x, size=(side, side), mode="bicubic")
