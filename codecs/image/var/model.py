"""The VQGAN line with multi-scale residual tokens: VAR and Infinity.

VAR: Tian et al. 2024, "Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale Prediction", arXiv 2404.02905;
FoundationVision/VAR @ 78b95394fc (MIT). Infinity: Han et al. 2024, "Infinity: Scaling Bitwise AutoRegressive Modeling for
High-Resolution Image Synthesis", arXiv 2412.04431; FoundationVision/Infinity @ 4c27bbb54a (MIT). Only the tokenizers of both
systems are here.

VQGAN's encoder maps pictures `[B, 3, H, W]` to latents `[B, D, h w]`. The quantizer goes through grids from 1 x 1 up to h x w: at each
scale it shrinks the remaining error to that grid, quantizes it, enlarges the vectors to h x w and subtracts them; ids `[B, K, S]`.
The sum of all scales is decoded to `[B, 3, H, W]` by VQGAN's decoder.

Letters: B batch, D width of the code, h w full grid, S positions of all scales, K ids a position.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from ...coding import Batch
from ...config import ConfigError
from ...options import OrderedEncodeOptions
from ...spec import ImageSpec
from ..vqgan.model import VQGAN, VQGANConfig


@dataclass(frozen=True, kw_only=True)
class MultiScaleVQGANConfig(VQGANConfig):
    """Settings of `MultiScaleVQGAN`; `quantizer` must be a multi-scale kind; its last scale sets the picture's size.

    Attributes:
        resize: how pictures of other sizes are fitted to that size: "crop" or "squash".
    """

    resize: Literal["crop", "squash"] = "crop"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not getattr(self.quantizer, "scales", ()):
            raise ConfigError(f"quantizer.kind is {self.quantizer.kind!r}; multi-scale kinds have the key 'scales'.")


class MultiScaleVQGAN(VQGAN):
    """ids `[B, K, S]`: the scales from coarse to fine, each row by row. The first scales alone give a coarser picture.

    `tokens.first(positions=n)` may end anywhere; positions of an incomplete scale are ignored.
    """

    family: ClassVar[str] = "var"
    config_class: ClassVar[type] = MultiScaleVQGANConfig
    encode_options = OrderedEncodeOptions
    encoder_only = ("encoder", "to_code")
    decoder_only = ("decoder", "from_code")
    config: MultiScaleVQGANConfig

    def _spec(self) -> ImageSpec:
        stride = self.config.encoder.stride
        height, width = self.quantizer.scale_grids[-1]
        return ImageSpec.of(
            self.quantizer,
            prefix=("positions",),
            decodes=self.config.decoder is not None,
            stride=stride,
            image_size=(height * stride, width * stride),
            scales=self.quantizer.scale_grids,
            value_range=self.config.value_range,
            resize=self.config.resize,
        )

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Pictures `[B, 3, H, W]` of ids `[B, K, S]`, which may end early."""
        whole = dataclasses.replace(batch, grid=self.spec.scales[-1])
        return super().media_of(ids[..., : self.spec.whole_scales(ids.shape[2])], whole)
