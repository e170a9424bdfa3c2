"""Figures of reconstructed pictures: PSNR, SSIM, a perceptual distance, rFID where its network can be had."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ...codecs.media import as_image
from ...codecs.tokenizer import Tokenizer

#: Fewer pictures than this give no meaningful rFID.
MIN_FID_ITEMS = 500


class ImageMetrics:
    """Measures on 8-bit values scaled to 0..1, as files would hold them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.spec: Any = tokenizer.spec
        self.to_uint8: Callable[[Tensor], Tensor] = cast(Any, tokenizer).to_uint8
        self.tokenizer = tokenizer
        self.notes: list[str] = []
        self.perceptual_name, self.perceptual = self._find_perceptual()
        self.fid = self._find_fid()
        self.items = 0

    def _find_perceptual(self) -> tuple[str, Any]:
        """The official LPIPS if its network is at hand, else LPIPS-HED, else nothing."""
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
        except Exception as error:  # the network's weights are downloaded at construction: any failure means there are none
            self.notes.append(f"no rFID: its Inception network cannot be had ({type(error).__name__})")
            return None

    def read(self, path: Path) -> Tensor:
        """One picture, uint8 `[3, H, W]`, brought to the tokenizer's size where it has one."""
        x = as_image(path, self.spec.value_range)
        if self.spec.image_size is not None:
            x = self.tokenizer._fit_in(x, self.spec.resize)  # type: ignore[attr-defined]
        return self.to_uint8(x)

    def add(self, original: Tensor, decoded: Tensor) -> dict[str, float]:
        """Figures of one picture, uint8 `[3, H, W]`, and its reconstruction in the tokenizer's value range."""
        from torchmetrics.functional.image import structural_similarity_index_measure as ssim

        a, b = original[None], self.to_uint8(decoded.cpu())[None]  # [1, 3, H, W]
        x, y = a.float() / 255, b.float() / 255
        out = {"PSNR dB": float(-10 * torch.log10((x - y).square().mean().clamp(min=1e-10)))}
        out["SSIM"] = float(cast(Tensor, ssim(y, x, data_range=1.0)))
        if self.perceptual is not None and min(x.shape[-2:]) >= 64:
            out[self.perceptual_name] = float(self.perceptual(y, x))
        if self.fid is not None:
            self.fid.update(a, real=True)
            self.fid.update(b, real=False)
        self.items += 1
        return out

    def totals(self) -> dict[str, float]:
        """rFID of the set, if it is large enough."""
        if self.fid is None:
            return {}
        if self.items < MIN_FID_ITEMS:
            self.notes.append(f"no rFID: {self.items} pictures, at least {MIN_FID_ITEMS} are needed")
            return {}
        return {"rFID": float(self.fid.compute())}
