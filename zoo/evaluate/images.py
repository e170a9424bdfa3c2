"""Metrics of reconstructed pictures: PSNR, SSIM, a perceptual distance, and rFID if the weights of its network are available."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ...codecs.media import as_pictures
from ...codecs.tokenizer import Tokenizer
from .figures import Figures

#: Side of SSIM's window in pixels (Wang et al. 2004), hence the least side of a picture.
SSIM_WINDOW = 11
#: Fewer pictures than this give no meaningful rFID.
MIN_FID_ITEMS = 500


class ImageMetrics(Figures):
    """Metrics of pictures rounded to 8 bits, as in files, and scaled to 0..1. `notes` names what is missing for a metric."""

    def __init__(self, tokenizer: Tokenizer, items: int = 0) -> None:
        """`items`: the largest number of pictures; with fewer than `MIN_FID_ITEMS` the network for rFID is not loaded."""
        super().__init__()
        self.spec: Any = tokenizer.spec
        self.to_uint8: Callable[[Tensor], Tensor] = cast(Any, tokenizer).to_uint8
        self.tokenizer = tokenizer
        self.notes: list[str] = []
        self._ssim = self._find_ssim()
        self.perceptual_name, self.perceptual = self._find_perceptual()
        self.fid = self._find_fid() if items >= MIN_FID_ITEMS else None
        self.items = 0

    def _find_ssim(self) -> Any:
        try:
            from torchmetrics.functional.image import structural_similarity_index_measure
        except ImportError:
            self.notes.append("no SSIM: the package torchmetrics is not installed; pip install 'tokenzoo[eval]'")
            return None
        return structural_similarity_index_measure

    def _find_perceptual(self) -> tuple[str, Any]:
        """The official LPIPS if its network is available, else LPIPS-HED, else None."""
        checkpoints = Path(torch.hub.get_dir()) / "checkpoints"
        if any(checkpoints.glob("vgg16-*.pth")):
            from torchmetrics.functional.image import learned_perceptual_image_patch_similarity as lpips

            return "LPIPS (VGG)", lambda a, b: lpips(a, b, net_type="vgg", normalize=True)
        cache = Path(os.environ.get("TOKENZOO_CACHE", "data/cache"))
        from .perceptual import LpipsHed

        try:
            metric = LpipsHed.from_cache(cache)
        except FileNotFoundError as error:
            self.notes.append(f"no perceptual distance: the VGG16 of LPIPS is not in torch's cache, and {error}")
            return "", None
        self.notes.append("LPIPS-HED: LPIPS heads on the VGG16 of the HED edge detector; not official LPIPS numbers")
        return "LPIPS-HED", metric

    def _find_fid(self) -> Any:
        try:
            from torchmetrics.image.fid import FrechetInceptionDistance

            return FrechetInceptionDistance(feature=2048)
        except ModuleNotFoundError as error:
            wanted = (error.name or "torch-fidelity").split(".")[0]  # torchmetrics raises without a name where its own check fails
            self.notes.append(f"no rFID: the package {wanted} is not installed; pip install {wanted}")
        except Exception as error:  # the network's weights are downloaded at construction: any failure means there are none
            reason = f"{type(error).__name__}: {error}"
            self.notes.append(f"no rFID: the weights of its Inception network could not be downloaded ({reason})")
        return None

    def read(self, path: Path) -> Tensor:
        """Read one picture, uint8 `[3, H, W]`, resized or cropped if the tokenizer takes one size only."""
        (x,) = as_pictures(path, self.spec.value_range)
        if self.spec.image_size is not None:
            x = self.tokenizer.fit_in(x, self.spec.resize)  # type: ignore[attr-defined, operator]
        return self.to_uint8(x)

    def add(self, original: Tensor, decoded: Tensor) -> dict[str, float]:
        """Metrics of one picture by name; those for which it is too small are left out, and counted in `left_out`.

        Args:
            original: uint8 `[3, H, W]`.
            decoded: float `[3, H, W]` in the tokenizer's value range.
        """
        a, b = original[None], self.to_uint8(decoded.cpu())[None]  # [1, 3, H, W]
        x, y = a.float() / 255, b.float() / 255
        side = min(x.shape[-2:])
        metrics: dict[str, Callable[[], float | None]] = {
            "PSNR dB": lambda: float(-10 * torch.log10((x - y).square().mean().clamp(min=1e-10)))
        }
        if self._ssim is not None:
            metrics["SSIM"] = lambda: self._of_large(side, SSIM_WINDOW, "SSIM", lambda: self._ssim(y, x, data_range=1.0))
        if self.perceptual is not None:
            name = self.perceptual_name
            metrics[name] = lambda: self._of_large(side, 64, name, lambda: self.perceptual(y, x))
        out = self.measured(metrics)
        self._count_for_fid(a, b)
        self.items += 1
        return out

    def _of_large(self, side: int, least: int, metric: str, measure: Callable[[], Any]) -> float | None:
        """The metric of a picture whose shorter side is at least `least` pixels; of a smaller one, None."""
        return float(measure()) if side >= least else self.without(metric, "too small")

    def _count_for_fid(self, a: Tensor, b: Tensor) -> None:
        """Add an original and its reconstruction to the two sets of rFID; if one cannot be added, rFID is given up."""
        if self.fid is None:
            return
        try:
            self.fid.update(a, real=True)
            self.fid.update(b, real=False)
        except Exception as error:  # a network of another package
            self.fid = None
            self.notes.append(f"no rFID: a picture could not be counted ({type(error).__name__}: {error})")

    def totals(self) -> dict[str, float]:
        """rFID of the set, by its name; empty if there are fewer than `MIN_FID_ITEMS` pictures."""
        if self.items < MIN_FID_ITEMS:
            self.notes.append(f"no rFID: {self.items} pictures, at least {MIN_FID_ITEMS} are needed")
        elif self.fid is not None:
            try:
                return {"rFID": float(self.fid.compute())}
            except Exception as error:  # of the whole set: the figures of the items stay
                self.notes.append(f"no rFID: {type(error).__name__}: {error}")
        return {}
