"""Frechet distance of features of pictures and of their reconstructions: rFID (Heusel et al. 2017, arXiv 1706.08500) and relatives."""

import importlib
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...codecs.config import ConfigError
from ...codecs.spec import ImageSpec, TokenizerSpec
from ..teachers.base import Teacher, TeacherConfig
from .base import Figure, FigureConfig


@dataclass(frozen=True, kw_only=True)
class FidConfig(FigureConfig):
    """Frechet distance of the crops' features and their reconstructions': of few crops far above that of many, but comparable from
    step to step.

    Attributes:
        features: a teacher of kind `vision_model`, whose features are compared (their mean over patches); None: rFID in the
            narrow sense, by the Inception network of torch-fidelity, which downloads its weights.
    """

    kind: ClassVar[str] = "fid"
    features: TeacherConfig | None = None

    def build(self, spec: TokenizerSpec) -> Figure:
        if not isinstance(spec, ImageSpec) or spec.channels != 3:
            raise ConfigError("the figure 'fid' judges colour pictures; this tokenizer has none.")
        return Fid(_Inception(spec.value_range) if self.features is None else _OfTeacher(self.features.build(spec)))


class Fid(Figure):
    """Frechet distance of two normal distributions with the mean and the covariance of the features.

    Args:
        network: pictures `[B, 3, H, W]` -> features `[B, D]`.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network.requires_grad_(False).eval()
        self._features: tuple[list[Tensor], list[Tensor]] = [], []

    @torch.no_grad()
    def add(self, x: Tensor, x_hat: Tensor) -> None:
        """See `Figure.add`."""
        network = self.network.to(x.device)
        for pictures, kept in zip((x, x_hat), self._features, strict=True):
            kept.append(network(pictures).double().cpu())

    def take(self) -> float | None:
        """See `Figure.take`; of fewer than two pictures None."""
        (a, b), self._features = self._features, ([], [])
        if sum(map(len, a)) < 2:
            return None
        return frechet_distance(torch.cat(a), torch.cat(b))


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Frechet distance of normal distributions fitted to the rows of `a` and `b`, `[n, D]`, float64, n at least 2."""
    means = (a.mean(0) - b.mean(0)).square().sum()
    one, two = ((v - v.mean(0)) / (len(v) - 1) ** 0.5 for v in (a, b))
    # The covariances are one' one and two' two; the trace of the root of their product is the sum of the singular values of one two'.
    shared = torch.linalg.svdvals(one @ two.T).sum()
    return float(means + one.square().sum() + two.square().sum() - 2 * shared)


class _OfTeacher(nn.Module):
    """The mean over positions of a teacher's features."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.teacher = teacher

    def forward(self, x: Tensor) -> Tensor:
        return self.teacher.targets(x).float().mean(-1)


class _Inception(nn.Module):
    """The 2048 features of FID's Inception network, of pictures rounded to 8 bits."""

    def __init__(self, value_range: tuple[float, float]) -> None:
        super().__init__()
        self.value_range = value_range
        try:
            importlib.import_module("torch_fidelity")  # without it the class below is an empty one
            from torchmetrics.image.fid import NoTrainInceptionV3

            self.network: Any = NoTrainInceptionV3(name="inception-v3-compat", features_list=["2048"])
        except ImportError as error:
            raise ConfigError(
                f"the figure 'fid' without `features` needs the network of torch-fidelity ({error}): pip install torch-fidelity."
            ) from error
        except Exception as error:  # the download of its weights fails in any way that torch.hub does
            raise ConfigError(
                f"the figure 'fid': the weights of its Inception network could not be had ({type(error).__name__}: {error}). "
                "`features: {kind: vision_model, ...}` compares features of another network."
            ) from error

    def forward(self, x: Tensor) -> Tensor:
        low, high = self.value_range
        return self.network(((x - low) / (high - low) * 255).round().clamp(0, 255).byte())
