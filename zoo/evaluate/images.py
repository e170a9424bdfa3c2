"""Metrics of reconstructed pictures: PSNR, SSIM, MS-SSIM, a perceptual distance, and rFID where its network can be had."""

import copy
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor

from ...codecs.media import as_clips, as_pictures, is_film
from ...codecs.token_checks import is_clips
from ...codecs.tokenizer import Tokenizer
from . import kernel
from .figures import Figures, HasSpec

#: Side of SSIM's window in pixels (Wang et al. 2004), hence the least side of a picture.
SSIM_WINDOW = 11
#: Least side for MS-SSIM (Wang et al. 2003): its fifth scale, a sixteenth, must hold the window.
MS_SSIM_SIDE = 176
#: Fewer pictures than this give no meaningful rFID.
MIN_FID_ITEMS = 500


class ImageMetrics(Figures):
    """Metrics of pictures rounded to 8 bits, as in files, and scaled to 0..1. `notes` names what is missing for a metric."""

    def __init__(self, tokenizer: HasSpec, items: int = 0, frames: int | None = None) -> None:
        """`items`: the largest number of pictures; with fewer than `MIN_FID_ITEMS` the network for rFID is not loaded.

        `frames`: of longer clips these many are read, evenly spaced; None: all.
        """
        super().__init__()
        self.spec: Any = tokenizer.spec
        self.to_uint8: Callable[[Tensor], Tensor] = cast(Any, tokenizer).to_uint8
        self.tokenizer, self.frames = tokenizer, frames
        self.notes: list[str] = []
        self._ssim, self._ms_ssim = self._find_ssim()
        self.perceptual_name, self.perceptual = self._find_perceptual()
        self.dists = self._find_dists()
        self.fid = self._find_fid() if items >= MIN_FID_ITEMS else None
        self.kernel = kernel.KernelDistance()
        self.items = 0

    def anew(self) -> Self:
        """See `Figures.anew`."""
        other = super().anew()
        other.items, other.notes, other.kernel = 0, list(self.notes), kernel.KernelDistance()
        if self.fid is not None:
            other.fid = copy.deepcopy(self.fid)
            other.fid.reset()
        return other

    def _find_ssim(self) -> tuple[Any, Any]:
        """SSIM and MS-SSIM, or None twice."""
        try:
            from torchmetrics.functional import image
        except ImportError:
            self.notes.append("no SSIM and MS-SSIM: the package torchmetrics is not installed; pip install 'tokenzoo[eval]'")
            return None, None
        return image.structural_similarity_index_measure, image.multiscale_structural_similarity_index_measure

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

    def _find_dists(self) -> Any:
        """DISTS-HED if its weights are in the cache, else None."""
        from .dists import DistsHed

        try:
            metric = DistsHed.from_cache(Path(os.environ.get("TOKENZOO_CACHE", "data/cache")))
        except FileNotFoundError as error:
            self.notes.append(f"no DISTS: {error}")
            return None
        self.notes.append("DISTS-HED: weights of DISTS on the VGG16 of the HED edge detector; not official DISTS numbers")
        return metric

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
        """Read one picture, uint8 `[3, H, W]`, or one clip, `[T, 3, H, W]`; see `read_picture`."""
        return read_picture(path, self.tokenizer, frames=self.frames)

    def add(self, original: Tensor, decoded: Tensor) -> dict[str, float]:
        """Metrics of one picture by name, those of a clip being the means over its frames.

        Those for which a picture is too small are left out, and counted in `left_out`.

        Args:
            original: uint8 `[3, H, W]` or `[T, 3, H, W]`.
            decoded: float, of that shape, in the tokenizer's value range.
        """
        if original.ndim == 3:
            return self._add_picture(original, decoded)
        found = [self._add_picture(a, b) for a, b in zip(original, decoded, strict=True)]
        return {name: sum(frame[name] for frame in found) / len(found) for name in found[0] if all(name in f for f in found)}

    def _add_picture(self, original: Tensor, decoded: Tensor) -> dict[str, float]:
        a, b = original[None], self.to_uint8(decoded.cpu())[None]  # [1, 3, H, W]
        x, y = a.float() / 255, b.float() / 255
        side = min(x.shape[-2:])
        metrics: dict[str, Callable[[], float | None]] = {
            "PSNR dB": lambda: float(-10 * torch.log10((x - y).square().mean().clamp(min=1e-10)))
        }
        if self._ssim is not None:
            metrics["SSIM"] = lambda: self._of_large(side, SSIM_WINDOW, "SSIM", lambda: self._ssim(y, x, data_range=1.0))
            metrics["MS-SSIM"] = lambda: self._of_large(side, MS_SSIM_SIDE, "MS-SSIM", lambda: self._ms_ssim(y, x, data_range=1.0))
        if self.perceptual is not None:
            name, distance = self.perceptual_name, self._distance_hed if self.perceptual_name == "LPIPS-HED" else self.perceptual
            metrics[name] = lambda: self._of_large(side, 64, name, lambda: distance(y, x))
        if self.dists is not None:
            metrics["DISTS-HED"] = lambda: self._of_large(side, 64, "DISTS-HED", lambda: self.dists(y, x))
        out = self.measured(metrics)
        self._count_for_fid(a, b)
        self.items += 1
        return out

    def _distance_hed(self, y: Tensor, x: Tensor) -> Tensor:
        """LPIPS-HED, and the same features kept for KID-HED."""
        ours, theirs = self.perceptual.features(y), self.perceptual.features(x)
        self.kernel.add(theirs[-1], ours[-1])
        return self.perceptual.compare(ours, theirs)

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
        """Figures of the whole set by name: rFID of `MIN_FID_ITEMS` pictures or more, KID-HED of `kernel.MIN_ITEMS` or more."""
        out = {"KID-HED": self.kernel.value()} if len(self.kernel) >= kernel.MIN_ITEMS else {}
        if out:
            self.notes.append("KID-HED: kernel distance in features of the VGG16 of HED; neither rFID nor official KID")
        if self.items < MIN_FID_ITEMS:
            self.notes.append(f"no rFID: {self.items} pictures, at least {MIN_FID_ITEMS} are needed")
        elif self.fid is not None:
            try:
                return out | {"rFID": float(self.fid.compute())}
            except Exception as error:  # of the whole set: the figures of the items stay
                self.notes.append(f"no rFID: {type(error).__name__}: {error}")
        return out


def read_picture(path: Path, tokenizer: Any, *, frames: int | None = None) -> Tensor:
    """Read one picture, uint8 `[3, H, W]`, resized or cropped if the tokenizer takes one size only; or a clip, `[T, 3, H, W]`.

    A film is a clip. For a tokenizer of clips an animation and a picture are clips too; for one of pictures an animation is its first
    frame. Of longer clips `frames` are read, evenly spaced; None: all.
    """
    spec = tokenizer.spec
    clip = is_clips(tokenizer) or is_film(path.name)
    found = as_clips(path, spec.value_range, frames=frames)[0] if clip else as_pictures(path, spec.value_range)[0][None]
    if spec.image_size is not None:
        found = torch.stack([tokenizer.fit_in(x, spec.resize) for x in found])
    return tokenizer.to_uint8(found if clip else found[0])


def parts_of(tokenizer: Tokenizer, media: Any) -> list[Any]:
    """What the tokenizer encodes of a medium that the metrics read: the medium, or of a clip, if it takes pictures only, each frame."""
    clip = isinstance(media, Tensor) and media.ndim == 4
    return list(media) if clip and not is_clips(tokenizer) else [media]


def joined(tokenizer: Tokenizer, media: Any, decoded: Sequence[Tensor]) -> Tensor:
    """The decoded parts of a medium as one."""
    clip = isinstance(media, Tensor) and media.ndim == 4
    return torch.stack(list(decoded)) if clip and not is_clips(tokenizer) else decoded[0]
