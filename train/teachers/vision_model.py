"""Features of a frozen image model of timm: DINOv2, SigLIP, CLIP, MAE, convolutional nets.

Sources: VA-VAE (arXiv 2501.01423) and TokenFlow (arXiv 2412.03069) compare patch by patch, ImageFolder and XQ-GAN (arXiv
2410.01756, 2412.01762) with one vector a picture. Letters: B batch, H W pixels, h w grid of patches, D width.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ...codecs.config import ConfigError, SignedInt
from ...codecs.spec import ImageSpec, TokenizerSpec
from ...codecs.timm_models import timm_model
from .base import Teacher, TeacherConfig


@dataclass(frozen=True, kw_only=True)
class VisionModelConfig(TeacherConfig):
    """A vector for each patch, row by row, or one for the picture.

    Attributes:
        model: what `timm.create_model` takes: a name with a tag (`vit_base_patch14_dinov2.lvd142m`,
            `vit_base_patch16_siglip_256.webli`), `hf-hub:org/name`, or `local-dir:FOLDER` with `config.json` and weights.
        image_size: side in pixels that pictures are brought to (a multiple of the patch; the model's positions are
            fitted to it); 0: the model's own. Choose it so that the model's grid is the tokenizer's: 16 x 16 patches of 14
            pixels are 224.
        layer: block whose output is taken: 0 the first, -1 the last.
        norm: whether the model's last norm is applied to it.
        form: "patches": `[B, D, h w]`; "mean": their mean `[B, D, 1]`; "pooled": the input of the model's head (class token, mean or
            attention pooling), `[B, D, 1]`; "embedding": the output of its head (CLIP's image embedding), `[B, D, 1]`.
        pretrained: False leaves the weights random, for a run that only checks that everything works.
    """

    kind: ClassVar[str] = "vision_model"
    of_pictures: ClassVar[bool] = True
    model: str
    image_size: int = 0
    layer: SignedInt = -1
    norm: bool = True
    form: Literal["patches", "mean", "pooled", "embedding"] = "patches"
    pretrained: bool = True

    def build(self, spec: TokenizerSpec) -> Teacher:
        if not isinstance(spec, ImageSpec) or spec.channels != 3:
            raise ConfigError("the teacher 'vision_model' looks at colour pictures; this tokenizer has none.")
        return VisionModel(self, spec.value_range)


class VisionModel(Teacher):
    """A frozen image model; settings: `VisionModelConfig`."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: VisionModelConfig, value_range: tuple[float, float]) -> None:
        super().__init__()
        from timm.data import resolve_model_data_config

        if config.form in ("pooled", "embedding") and config.layer != -1:
            raise ConfigError(f"layer is {config.layer}, but form {config.form!r} comes from the last one; leave layer out.")
        self.config, self.value_range = config, value_range
        options: dict[str, Any] = {"img_size": config.image_size} if config.image_size else {}
        options |= {} if config.form == "embedding" else {"num_classes": 0}
        self.model = timm_model(config.model, pretrained=config.pretrained, **options).requires_grad_(False)
        if config.form == "embedding" and not self.model.num_classes:
            raise ConfigError(f"form is 'embedding', but {config.model} has no head; use 'pooled'.")
        data = resolve_model_data_config(self.model)
        self.size = (config.image_size,) * 2 if config.image_size else tuple(data["input_size"][1:])
        self.register_buffer("mean", torch.tensor(data["mean"]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(data["std"]).view(1, 3, 1, 1), persistent=False)
        self.eval()

    def targets(self, x: Tensor) -> Tensor:
        """`[B, 3, H, W]` -> `[B, D, h w]` of patches, or `[B, D, 1]`."""
        low, high = self.value_range
        y = F.interpolate(x.float(), size=self.size, mode="bicubic", antialias=True, align_corners=False)
        y = (((y - low) / (high - low)).clamp(0, 1) - self.mean) / self.deviation
        if self.config.form in ("pooled", "embedding"):
            pre_logits = self.config.form == "pooled"
            return self.model.forward_head(self.model.forward_features(y), pre_logits=pre_logits)[..., None]
        maps = self.model.forward_intermediates(
            y, indices=[self.config.layer], norm=self.config.norm, output_fmt="NCHW", intermediates_only=True
        )
        patches = maps[0].flatten(2)  # [B, D, h w]
        return patches.mean(2, keepdim=True) if self.config.form == "mean" else patches
