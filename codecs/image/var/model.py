"""The VQGAN line with multi-scale residual tokens: VAR and Infinity.

VAR (Tian et al. 2024, arXiv 2404.02905; FoundationVision/VAR @ 78b95394fc, MIT). Infinity (Han et al. 2024, arXiv
2412.04431; FoundationVision/Infinity @ 4c27bbb54a, MIT). The tokenizer is the first half of each.

Letters: B batch, D width of the code, h w full grid, S positions of all scales, K ids a position.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ...config import ConfigError
from ...spec import ImageSpec
from ...tokens import Tokens
from ..vqgan.model import VQGAN, VQGANConfig


@dataclass(frozen=True, kw_only=True)
class MultiScaleVQGANConfig(VQGANConfig):
    """Settings of `MultiScaleVQGAN`; `quantizer` must be a multi-scale kind; its last scale sets the picture's size.

    Attributes:
        resize: how other pictures are brought to that size: "crop" or "squash".
    """

    resize: Literal["crop", "squash"] = "crop"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not getattr(self.quantizer, "scales", ()):
            raise ConfigError(f"quantizer.kind is {self.quantizer.kind!r}; multi-scale kinds have the key 'scales'.")


class MultiScaleVQGAN(VQGAN):
    """ids `[B, K, S]`: the scales from coarse to fine, each row by row. The first scales alone give a coarser picture.

    `tokens.first(positions=n)` may end anywhere; positions of a scale that is not complete are left out of the picture.
    """

    family: ClassVar[str] = "var"
    config_class: ClassVar[type] = MultiScaleVQGANConfig
    encoder_only = ("encoder", "to_code")
    decoder_only = ("decoder", "from_code")
    config: MultiScaleVQGANConfig  # type: ignore[assignment]

    def _spec(self) -> ImageSpec:
        stride = self.config.encoder.stride
        scales = self.quantizer.config.scales  # type: ignore[attr-defined]
        return ImageSpec(
            vocab_sizes=self.quantizer.codebook_sizes,
            prefix=("positions",),
            decodes=self.config.decoder is not None,
            stride=stride,
            image_size=(scales[-1][0] * stride, scales[-1][1] * stride),
            scales=scales,
            value_range=self.config.value_range,
            resize=self.config.resize,
        )

    @torch.no_grad()
    def decode(self, tokens: Tokens, *, original: bool = True) -> Tensor | list[Tensor]:  # type: ignore[override]
        """As `ImageTokenizer.decode`; tokens may end early."""

        def run(ids: Tensor, grid: tuple[int, ...], items: list[int]) -> Tensor:
            return self.decode_batch(ids[..., : self._complete(ids.shape[2])], self.spec.scales[-1])

        return self.decode_with(tokens, run, original=original)

    def _complete(self, positions: int) -> int:
        """Positions of the scales that fit whole into so many."""
        total = 0
        for h, w in self.spec.scales:
            if total + h * w > positions:
                break
            total += h * w
        return total
