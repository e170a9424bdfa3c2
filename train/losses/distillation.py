"""Distance of the tokenizer's features from a frozen teacher's (semantic distillation).

Sources: SpeechTokenizer (Zhang et al. 2023, arXiv 2308.16692, eq. 1-2): cosine along time for each feature ("channels"),
also DM-Codec's (arXiv 2410.15017), or MSE; Mimi (Moshi, arXiv 2410.00037): cosine for each frame ("frames"). FuseCodec's
global supervision (arXiv 2509.11425) is "channels" with a teacher that gives one vector for the whole crop.
"""

import itertools
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ...codecs.config import ConfigError
from ...codecs.spec import ImageSpec, TokenizerSpec
from .base import Loss, LossConfig, LossInputs, features_named, width_of


@dataclass(frozen=True, kw_only=True)
class DistillationConfig(LossConfig):
    """Compare `Reconstruction.features[feature]` (or the quantized latents) with the targets of a teacher.

    Attributes:
        teacher: name under `teachers:`.
        feature: name in `Reconstruction.features`; "z_q" and "z" are the latents after and before the quantizer.
        along: "frames": one minus the cosine at each position; "channels": `-log sigmoid(cosine)` along time for each
            feature (SpeechTokenizer's D-axis); "mse": mean square distance; "l1", "smooth_l1": as in `FeatureLossConfig`.
        project: width D of the teacher when a linear layer is to be learned in between; 0: widths agree already.
        hidden: with `project`, widths of layers before that one, each followed by a SiLU (DetailFlow: two of 1024).
    """

    kind: ClassVar[str] = "distillation"
    teacher: str
    feature: str = "z_q"
    along: Literal["frames", "channels", "mse", "l1", "smooth_l1"] = "frames"
    project: int = 0
    hidden: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if (self.hidden and not self.project) or min(self.hidden, default=1) < 1:
            raise ConfigError(f"hidden is {list(self.hidden)}, project {self.project}; hidden layers need project, and widths above 0.")

    def build(self, spec: TokenizerSpec) -> Loss:
        return Distillation(self, grids=isinstance(spec, ImageSpec))


class Distillation(Loss):
    """Distance from a teacher's features; settings: `DistillationConfig`. A learned projection is not part of the tokenizer.

    Args:
        config: its settings.
        grids: True if positions are those of a square grid, row by row; False: positions in time.
    """

    on_output = False

    def __init__(self, config: DistillationConfig, *, grids: bool = False) -> None:
        super().__init__()
        self.config, self.grids = config, grids
        self.reads = (config.feature,)
        self.head: nn.Module = nn.Identity()

    def prepare(self, widths: dict[str, int]) -> None:
        """Make the projection; `widths` gives the number of channels of each feature by name."""
        if self.config.project:
            wide = [width_of(widths, self.config.feature), *self.config.hidden]
            layers = [(nn.Conv1d(a, b, 1), nn.SiLU()) for a, b in itertools.pairwise(wide)]
            last = nn.Conv1d(wide[-1], self.config.project, 1)
            self.head = nn.Sequential(*itertools.chain(*layers), last) if layers else last

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean distance, a scalar; targets are interpolated linearly to the tokenizer's positions."""
        ours, target = self.pair(inputs)
        if ours.shape[2] != target.shape[2]:
            target = self._resized(target, ours.shape[2])
        return distance(ours, target, self.config.along)

    def pair(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        """The tokenizer's features `[B, D, L]` and the teacher's `[B, D, L']`, of one width, float32."""
        ours = self.head(features_named(inputs, self.config.feature)[0].float())  # [B, D, L]
        target = inputs.targets[self.config.teacher].float()  # [B, D, L']
        if ours.shape[1] != target.shape[1]:
            raise ConfigError(
                f"the teacher {self.config.teacher!r} gives {target.shape[1]} channels, the tokenizer's feature "
                f"{self.config.feature!r} has {ours.shape[1]}; set project to {target.shape[1]}."
            )
        return ours, target

    def _resized(self, target: Tensor, length: int) -> Tensor:
        if target.shape[2] == 1:
            return target.expand(-1, -1, length)
        if not self.grids:
            return F.interpolate(target, size=length, mode="linear", align_corners=False)
        theirs, ours = round(target.shape[2] ** 0.5), round(length**0.5)
        if theirs**2 != target.shape[2] or ours**2 != length:
            raise ConfigError(
                f"the teacher {self.config.teacher!r} gives {target.shape[2]} positions, the tokenizer has {length}: they are no "
                "two square grids. Use a teacher with one vector a picture (form: pooled), or one with as many positions."
            )
        grid = target.unflatten(2, (theirs, theirs))
        return F.interpolate(grid, size=(ours, ours), mode="bilinear", antialias=True, align_corners=False).flatten(2)


def distance(ours: Tensor, target: Tensor, along: str) -> Tensor:
    """Mean distance of two `[B, D, L]`; see `DistillationConfig.along`."""
    if along == "mse":
        return (ours - target).square().mean()
    if along == "l1":
        return F.l1_loss(ours, target)
    if along == "smooth_l1":
        return F.smooth_l1_loss(ours, target)
    if along == "frames":
        return (1 - F.cosine_similarity(ours, target, dim=1)).mean()
    return -F.logsigmoid(F.cosine_similarity(ours, target, dim=2)).mean()
