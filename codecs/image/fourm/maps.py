"""4M's tokenizers for maps other than pictures: depth, classes, features of other networks; and for vectors.

The networks are those of `model.py` and `divae.py`; only inputs and outputs differ. Mizrahi et al. 2023 (4M, arXiv
2312.06647), Bachmann et al. 2024 (4M-21, arXiv 2406.09406); parity checked against apple/ml-4m @ cda590faa3, classes `VQVAE` and
`DiVAE`.

    tok.encode(depth)      # float [1, H, W] of any size; of 4M's depth first `codecs.media.arrays.standardized(depth)`
    tok.encode(features)   # float [C, h, w] of CLIP, DINOv2 or ImageBind, one token a position
    tok.encode(vectors)    # float [C, N]: N global features or poses, K ids each, where both halves are towers of MLPs
    tok.encode(classes)    # integers [H, W] below `spec.classes`, or a picture or file of them; decode gives the likeliest classes

The networks that predict depth, features and classes from a picture are not included.
Letters: B batch, C channels, H W rows and columns of a map, h w grid of tokens, D latent width, K codebooks.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...coding import Batch
from ...latent import LatentTokenizer, as_tensors
from ...media import MediaError
from ...media.blobs import is_encoded
from ...media.picture_files import labels_of, read_labels
from ...options import DecodeOptions
from ...spec import MapSpec
from ...tokenizer import Reconstruction
from ..base import pad_to_stride
from .divae import FourMDiffusion, FourMDiVAEConfig
from .model import FourMCodec, FourMConfig


@dataclass(frozen=True, kw_only=True)
class FourMMapsConfig(FourMConfig):
    """Settings of `FourMMaps`.

    Attributes:
        channels: C of maps of floats; of maps of classes, the width of a class's vector.
        classes: see `MapSpec`.
    """

    classes: int = 0
    pictures: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class FourMDiVAEMapsConfig(FourMDiVAEConfig):
    """Settings of `FourMDiVAEMaps`, as in `FourMDiVAEConfig`."""

    pictures: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class FourMMapsDecodeOptions(DecodeOptions):
    """Options of `FourMMaps.decode`.

    Attributes:
        scores: for maps of classes, return the network's scores `[B, classes, H, W]`, not the likeliest class `[B, H, W]`.
    """

    scores: bool = False


class MapTokenizer(LatentTokenizer):
    """Input preparation of maps: padded to whole patches by repeating the last row and column, cut again by `decode`."""

    spec: MapSpec

    @property
    def size_multiple(self) -> int:
        """Rows and columns are padded to multiples of this number."""
        return self.spec.stride

    def items_of(self, media: Any) -> list[Tensor]:
        """Checked maps `[C, H, W]`, vectors `[C, N]` or classes `[H, W]` of the media passed."""
        spec, many = self.spec, isinstance(media, (list, tuple))
        if not spec.classes:
            if getattr(media, "ndim", 0) == 3 and not spec.sequences:
                media = media[None]  # one map
            xs = super().items_of(media)
            for i, x in enumerate(xs):
                if x.ndim == 2 and not spec.sequences:
                    raise MediaError(f"{self.family} takes maps [C={spec.channels}, H, W]; item {i} is {list(x.shape)}.")
            return xs
        takes = f"{self.family} takes maps of classes: integers [H, W], pictures of them, or batches or lists of these"
        media = [_numbers(x, f"item {i}") for i, x in enumerate(media)] if many else _numbers(media, "the picture")
        xs = as_tensors(media, 2, takes=takes, advice=self.features_advice)
        for i, x in enumerate(xs):
            if x.ndim != 2 or x.numel() == 0 or x.is_floating_point() or x.dtype == torch.bool:
                name = f"item {i}" if many else "the batch"
                raise MediaError(
                    f"{self.family} takes maps of classes: integers [H, W], or batches [B, H, W]; {name} is {x.dtype} {list(x.shape)}."
                )
        bounds = torch.stack([torch.stack(torch.aminmax(x.long())).to(xs[0].device) for x in xs]).tolist()  # one transfer
        for i, (low, high) in enumerate(bounds):
            if low < 0 or high >= spec.classes:
                raise MediaError(f"item {i} has classes in {low}..{high}, outside 0..{spec.classes - 1}.")
        return [x.long() for x in xs]

    def fit_in(self, x: Tensor) -> Tensor:
        """One map `[C, H, W]` or `[H, W]`, padded by repeating its last row and column."""
        return self._padded(x) if self._is_map(x, batched=False) else x

    def kept_size(self, x: Tensor) -> tuple[int, ...]:
        """Rows and columns of the map before padding."""
        return (x.shape[-2], x.shape[-1]) if self.size_multiple > 1 and self._is_map(x, batched=False) else ()

    def grid_of(self, x: Tensor) -> tuple[int, int] | None:
        """Grid of tokens of a batch of padded maps, None for sequences."""
        return (x.shape[-2] // self.spec.stride, x.shape[-1] // self.spec.stride) if self._is_map(x, batched=True) else None

    def _is_map(self, x: Tensor, *, batched: bool) -> bool:
        return bool(self.spec.classes) or x.ndim == 3 + batched

    def _padded(self, x: Tensor) -> Tensor:
        rows, columns = x.shape[-2:]
        multiple = self.size_multiple
        if x.is_floating_point():
            return pad_to_stride(x, multiple)
        more = [torch.arange(math.ceil(n / multiple) * multiple, device=x.device).clamp(max=n - 1) for n in (rows, columns)]
        return x[..., more[0][:, None], more[1]]


def _numbers(media: Any, name: str) -> Any:
    """A file or a PIL picture of classes as an array `[H, W]`; all else unchanged. Raises what `read_labels` raises."""
    if hasattr(media, "getbands"):
        return labels_of(media, name)
    return read_labels(media) if is_encoded(media) else media


class FourMMaps(FourMCodec, MapTokenizer):
    """Maps or vectors to ids `[B, K, h w]` and back; see the module's docstring."""

    family: ClassVar[str] = "fourm_maps"
    config_class: ClassVar[type] = FourMMapsConfig
    decode_options = FourMMapsDecodeOptions
    config: FourMMapsConfig

    def __init__(self, config: FourMMapsConfig) -> None:
        super().__init__(config)
        c = config
        self.class_vectors = nn.Embedding(c.classes, c.channels) if c.classes else None
        alone = c.encoder_tower is not None and c.decoder_tower is not None and not c.classes
        facts = MapSpec.of(self.quantizer, channels=1 if c.classes else c.channels)
        self.spec = dataclasses.replace(facts, stride=c.patch_size, classes=c.classes, sequences=alone)

    @property
    def outputs(self) -> int:
        """Output channels: a score for each class, or the input's channels."""
        return self.config.classes or self.config.channels

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, h w]` of maps `[B, C, H, W]`, integers `[B, H, W]`, or vectors `[B, C, N]`."""
        if self.class_vectors is not None:
            x = self.class_vectors(x).permute(0, 3, 1, 2)
        return super().encode_latents(x if x.ndim == 4 else x[:, :, None])

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Maps `[B, C, H, W]`, of classes their scores `[B, classes, H, W]`, of latents `[B, D, h w]`; without a grid `[B, C, N]`."""
        if grid is None and self.spec.sequences:
            return super().decode_latents(z_q, (1, z_q.shape[2]))[:, :, 0]
        return super().decode_latents(z_q, grid)

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Maps or vectors of ids `[B, K, h w]`; of classes the likeliest, `[B, H, W]`, or with `scores` their scores."""
        y = super().media_of(ids, batch)
        return y.argmax(1) if self.spec.classes and not batch.options.scores else y

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct a batch with gradients; of classes `x_hat` are scores `[B, classes, H, W]`."""
        if not self._is_map(x, batched=True):
            return super().forward(x)
        size = x.shape[-2:]
        out = super().forward(self._padded(x))
        return Reconstruction(x_hat=out.x_hat[..., : size[0], : size[1]], z=out.z, quantized=out.quantized)


class FourMDiVAEMaps(FourMDiffusion, MapTokenizer):
    """Maps of floats (depth) of any size to ids `[B, K, h w]`; back by diffusion from noise."""

    family: ClassVar[str] = "fourm_divae_maps"
    config_class: ClassVar[type] = FourMDiVAEMapsConfig

    def __init__(self, config: FourMDiVAEMapsConfig) -> None:
        super().__init__(config)
        self.spec = dataclasses.replace(MapSpec.of(self.quantizer, channels=config.channels), stride=config.patch_size)
