"""ITER: restoration by ids. `encode` gives the ids of the clean picture behind a degraded one, `decode` the restored picture.

Chen et al. 2023, "Iterative Token Evaluation and Refinement for Real-World Super-Resolution", arXiv 2312.05616 (AAAI 2024).
Parity checked against chaofengc/ITER @ 826bcaa3a3 (CC BY-NC-SA 4.0 and NTU S-Lab), basicsr/archs/iter_arch.py; own code from these
facts. Its tokenizer, a Swin VQGAN, is of the family vqgan (`tokenzoo info iter-swinvqgan`).

    restorer = tokenzoo.load("file:runs/iter-x4-stage3")
    tokens = restorer.encode("old.jpg")                    # steps=0: the encoder's ids alone; threshold=0.7: keep fewer of them
    picture = restorer.decode(tokens)

Around any frozen tokenizer of pictures with one grid of ids stand three networks: an encoder that predicts the ids of the clean
picture from a degraded one (cross-entropy), one that evaluates which ids are right, and one that predicts ids where some are masked.
`refinement.py` has the loop. The ids are those of the tokenizer underneath, which decodes them too.

`encode` takes a degraded picture of the size that is restored; with `enlarge=True` a small one, which is restored
`config.encoder.scale` times larger. Inside, pictures of full size are reduced by that scale (means of squares of pixels).

Differs: pictures are padded to whole windows by their last row and column; the authors mirror them, and pad whole windows too.

Letters: B batch, H W pixels, h w grid, L = h w positions, D latent width, V number of ids.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...coding import Batch, Coded
from ...config import ConfigError
from ...families import build_tokenizer
from ...layers.swin import SwinConfig
from ...media import Prepared, as_pictures
from ...options import MAX_STEPS, EncodeOptions, ImageEncodeOptions, check_at_least
from ...quantizers.base import Quantized, Quantizer
from ...spec import ImageSpec
from ...tokenizer import Reconstruction
from ..base import ImageTokenizer, pad_to_stride
from .networks import DegradedEncoder, DegradedEncoderConfig, TokenNetwork
from .refinement import Refined, Refiner, Schedule, kept_share


@dataclass(frozen=True, kw_only=True)
class RefinementConfig:
    """Settings of the refinement; the defaults are those of the paper and of the authors' class.

    Attributes:
        swin: attention of both networks.
        steps: T.
        threshold: ids whose probability to be right is at least this are kept from the start (the authors' script for their published
            weights: 0.7).
        schedule: how the share of kept positions grows with the steps (the same script: linear).
        id_temperature, position_temperature: of the draws of ids and of kept positions.
    """

    swin: SwinConfig = SwinConfig(width=256, stacks=4)
    steps: int = 8
    threshold: float = 0.5
    schedule: Schedule = "cosine"
    id_temperature: float = 1.0
    position_temperature: float = 1.0


@dataclass(frozen=True, kw_only=True)
class ITERConfig:
    """Settings of `ITER`; the defaults are those of the authors' x4 model but for the tokenizer underneath.

    Attributes:
        base_family, base: family and config of the frozen tokenizer.
        encoder: of the encoder of degraded pictures.
        refinement: None: the encoder alone (the first of the two stages of training).
    """

    base_family: str = "vqgan"
    base: dict[str, Any] = field(default_factory=dict)
    encoder: DegradedEncoderConfig = DegradedEncoderConfig()
    refinement: RefinementConfig | None = RefinementConfig()


@dataclass(frozen=True, kw_only=True)
class RestoreOptions(ImageEncodeOptions):
    """Options of `ITER.encode` without refinement.

    Attributes:
        enlarge: take a small picture, which is restored `config.encoder.scale` times larger.
    """

    enlarge: bool = False


@dataclass(frozen=True, kw_only=True)
class RefineOptions(RestoreOptions):
    """Options of `ITER.encode`.

    Attributes:
        steps: most steps of refinement; 0: the encoder's ids alone; None: `config.refinement.steps`.
        threshold: ids whose probability to be right is at least this are kept from the start; 0: all, above 1: none, so that every
            step is taken; None: `config.refinement.threshold`.
        temperature: of the draws of ids; 0: always the likeliest; None: `config.refinement.id_temperature`.
        seed: seed of these draws, 0 or more.
    """

    steps: int | None = None
    threshold: float | None = None
    temperature: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("steps", self.steps, 0, MAX_STEPS)
        for name, value in (("threshold", self.threshold), ("temperature", self.temperature)):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} is {value}; allowed: 0 or more.")
        check_at_least("seed", self.seed, 0)


class ITER(ImageTokenizer):
    """Restores pictures by predicting ids of a frozen tokenizer; see the module's docstring."""

    family: ClassVar[str] = "iter"
    config_class: ClassVar[type] = ITERConfig
    encode_options: type[EncodeOptions] = RefineOptions
    config: ITERConfig

    def __init__(self, config: ITERConfig) -> None:
        super().__init__()
        self.config = c = config
        self.base = _frozen(c.base_family, c.base)
        spec, codes = self.base.spec, self.base.spec.vocab_sizes[0]
        self.encoder = DegradedEncoder(c.encoder, stride=spec.stride, codes=codes)
        self.refiner = None if c.refinement is None else _refiner(c.refinement.swin, codes)
        below = ("base." + name for name in self.base.encoder_only)
        self.encoder_only = ("encoder", "refiner", *below)
        self.decoder_only = tuple("base." + name for name in self.base.decoder_only)
        self.encode_options = RestoreOptions if c.refinement is None else RefineOptions
        self.decode_options = self.base.decode_options
        self.spec = ImageSpec.of(
            self.quantizer,
            stride=spec.stride,
            image_size=spec.image_size,
            value_range=spec.value_range,
            resize=spec.resize,
            prefix=(),
        )
        self._check_size()

    @property
    def quantizer(self) -> Quantizer:
        """That of the tokenizer underneath."""
        return self.base.quantizer

    def train(self, mode: bool = True) -> "ITER":
        """As of any module; the tokenizer underneath stays in eval mode."""
        super().train(mode)
        self.base.train(False)
        return self

    @property
    def size_multiple(self) -> int:
        """Whole windows of all attention, and whatever the tokenizer underneath needs."""
        c = self.config
        windows = [c.encoder.swin.window] + ([] if c.refinement is None else [c.refinement.swin.window])
        return math.lcm(self.base.size_multiple, *(self.base.spec.stride * w for w in windows))

    def _check_size(self) -> None:
        """Raise ConfigError if the one size of the tokenizer underneath is not one of whole windows."""
        if any(side % self.size_multiple for side in self.spec.image_size or ()):
            raise ConfigError(
                f"the tokenizer underneath takes pictures of {self.spec.image_size}; with these windows sides must be multiples of "
                f"{self.size_multiple}. Choose other windows of the attention."
            )

    # --- encode -----------------------------------------------------------------------------------------------------

    def prepare_media(self, media: Any, options: Any) -> list[Prepared]:
        """As of other pictures; with `enlarge` each pixel is repeated, of which the encoder takes the mean again."""
        scale = self.config.encoder.scale if options.enlarge else 1
        pictures = as_pictures(media, self.spec.value_range, given_range=options.value_range)
        large = [x.repeat_interleave(scale, -2).repeat_interleave(scale, -1) for x in pictures]
        resize = options.resize or self.spec.resize
        return [Prepared(self.fit_in(x, resize), self.kept_size(x, resize)) for x in large]

    def encode_latents(self, x: Tensor) -> Tensor:
        """Logits of the encoder over the ids, `[B, V, h w]`, of degraded pictures `[B, 3, H, W]`."""
        low, high = self.spec.value_range
        return self.encoder((x - low) / (high - low)).flatten(2)

    def ids_of(self, z: Tensor, batch: Batch) -> Coded:
        """Refined ids `[B, 1, h w]` of logits `[B, V, h w]`."""
        assert batch.grid is not None
        return Coded(self.refined(z, (batch.grid[0], batch.grid[1]), batch.options).ids.flatten(1)[:, None])

    @torch.no_grad()
    def refined(self, logits: Tensor, grid: tuple[int, int], options: RestoreOptions | None = None) -> Refined:
        """Refinement of the likeliest ids of logits `[B, V, h w]`, with the ids of every step.

        Args:
            logits: of `encode_latents`.
            grid: (h, w).
            options: of `encode`; None: the defaults.
        """
        first, r, o = logits.argmax(1).unflatten(1, grid), self.config.refinement, options or RefineOptions()  # [B, h, w]
        if self.refiner is None or r is None or not isinstance(o, RefineOptions):
            return Refined(first, first[None], torch.zeros(len(first), dtype=torch.long), torch.ones_like(first, dtype=torch.bool))
        ids_at = r.id_temperature if o.temperature is None else o.temperature
        return self.refiner(
            first,
            steps=r.steps if o.steps is None else o.steps,
            threshold=r.threshold if o.threshold is None else o.threshold,
            schedule=r.schedule,
            temperatures=(ids_at, r.position_temperature),
            seed=o.seed,
        )

    # --- decode -----------------------------------------------------------------------------------------------------

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Pictures `[B, 3, H, W]` of quantized latents `[B, D, h w]`, by the tokenizer underneath."""
        return self.base.decode_latents(z_q, grid)

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Pictures `[B, 3, H, W]` of ids `[B, 1, h w]`, by the tokenizer underneath."""
        return self.base.media_of(ids, batch)

    # --- training ---------------------------------------------------------------------------------------------------

    def forward(self, x: Tensor, clean: Tensor | None = None) -> Reconstruction:
        """In eval mode `encode` and `decode` of degraded pictures `[B, 3, H, W]`; in training one step from masked clean ids.

        Args:
            x: degraded pictures.
            clean: the pictures before they were degraded, of the same shape; None: `x`, pictures that nothing happened to.

        Returns:
            `features`: `logits` `[B, V, L]` of the encoder and `ids` `[B, L]` of the clean picture. In training, with a refinement:

            - `evaluation.0` `[B, 2, L]` of the encoder's ids, and `right.0` `[B, L]`, 1 where these are right;
            - `refined` `[B, V, L]`, the logits of the refinement where a share of the clean ids is masked, drawn for each picture as
              the cosine of a number in 0..pi/2; `masked` `[B, 1]` is this share, a weight of the loss;
            - `evaluation.1` and `right.1` of the likeliest of these ids.

            `x_hat` is decoded from ids drawn from `refined`, with straight-through gradients (Gumbel-softmax, temperature 1); without a
            refinement from the likeliest ids, without gradients. In the authors' code a conversion to integers cuts the encoder off
            from the losses of pixels in the same way.
        """
        size, multiple = x.shape[-2:], self.size_multiple
        x = pad_to_stride(x, multiple)
        grid = self.grid_of(x)
        assert grid is not None
        z = self.encode_latents(x)  # [B, V, L]
        ids = self._clean_ids(x if clean is None else pad_to_stride(clean, multiple), grid)  # [B, L]
        features = {"logits": z, "ids": ids}
        if self.training and self.refiner is not None:
            features |= self._stage_two(z.detach().argmax(1).unflatten(1, grid), ids.unflatten(1, grid))
            share = F.gumbel_softmax(features["refined"].float(), tau=1.0, hard=True, dim=1)  # [B, V, L]
            found = share.argmax(1)
            z_q = torch.einsum("bvl,vd->bdl", share, self.quantizer.code_vectors(0)).to(z.dtype)
        else:
            found = self.refined(z, grid).ids.flatten(1)
            z_q = self.vectors_of(found[:, None], grid)
        x_hat = self.decode_latents(z_q, grid)[..., : size[0], : size[1]]
        quantized = Quantized(z_q=z_q, ids=found[:, None], loss=z.new_zeros(()))
        return Reconstruction(x_hat=x_hat, z=z, quantized=quantized, features=features)

    def _stage_two(self, first: Tensor, ids: Tensor) -> dict[str, Tensor]:
        """Outputs of evaluation and refinement for their losses, of the encoder's and the clean ids `[B, h, w]`."""
        refiner, (b, h, w) = self.refiner, ids.shape
        assert refiner is not None
        before = refiner.evaluate(first, first)
        share = torch.tensor([1 - kept_share(float(u), "cosine") for u in torch.rand(b, dtype=torch.float32)], dtype=torch.float32)
        masked = (share * h * w).long().clamp(min=1)  # [B]
        order = torch.rand(b, h * w, dtype=torch.float32).argsort(1).argsort(1)
        kept = (order >= masked[:, None]).view(b, h, w).to(ids.device)
        refined = refiner.refine(first, before.detach().argmax(1) == 1, ids, kept)
        after = refined.detach().argmax(1)
        return {
            "evaluation.0": before.flatten(2),
            "right.0": (first == ids).flatten(1).long(),
            "refined": refined.flatten(2),
            "masked": (masked / (h * w)).to(refined)[:, None],
            "evaluation.1": refiner.evaluate(after, first).flatten(2),
            "right.1": (after == ids).flatten(1).long(),
        }

    @torch.no_grad()
    def _clean_ids(self, x: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Ids `[B, L]` of the tokenizer underneath, in float32, as its `encode` gives them."""
        batch = Batch(options=self.base.encode_options(), items=range(len(x)), total=len(x), grid=grid)
        with torch.autocast(x.device.type, enabled=False):
            return self.base.encode_batch(x.to(self.base.dtype), batch).ids[:, 0]


def _refiner(swin: SwinConfig, codes: int) -> Refiner:
    return Refiner(
        TokenNetwork(swin, codes=codes, outputs=2, masks=False),
        TokenNetwork(swin, codes=codes, outputs=codes, masks=True),
    )


def _frozen(family: str, config: Mapping[str, Any]) -> ImageTokenizer:
    """The tokenizer underneath, without gradients and in eval mode.

    Raises:
        ConfigError: it is none of pictures, or has other ids than one for each position of a grid.
    """
    base = build_tokenizer(family, config)
    spec = base.spec
    if not isinstance(base, ImageTokenizer) or not isinstance(spec, ImageSpec) or spec.channels != 3:
        raise ConfigError(f"base_family is {family!r}; the tokenizer underneath must be one of colour pictures.")
    if spec.num_codebooks != 1 or not spec.stride or spec.scales or spec.num_positions or spec.strides or not spec.decodes:
        raise ConfigError(
            f"base: this {family} tokenizer has {spec.num_codebooks} codebooks and a stride of {spec.stride}; the tokenizer underneath "
            "must have one id at each position of one grid, and a decoder."
        )
    base.requires_grad_(False)
    return base.eval()
