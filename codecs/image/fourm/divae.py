"""4M's tokenizer with a diffusion decoder (DiVAE): a network paints pixels from noise, with the codes beside them.

Mizrahi et al. 2023 (4M, arXiv 2312.06647), Bachmann et al. 2024 (4M-21, arXiv 2406.09406), after Shi et al. 2022 (DiVAE, arXiv
2206.00386). Parity checked against apple/ml-4m @ cda590faa3 (Apache-2.0 code; Apple's sample-code terms for weights), class
`DiVAE`.

Encoder and codebook are those of `fourm.py`. The painter runs over small patches of the noised picture: a U-Net, to whose patches
the codes are laid, each repeated over its place; or convolutions around a transformer that gets the codes (U-ViT). `decode` is a
function of its `seed` (or `noise`) and `steps`. `fourm_maps.py` has the same over maps that are no pictures.

Letters: B batch, C channels, H W pixels, h w grid, D latent width.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...layers.draws import same_draws
from ...spec import ImageSpec
from ...tokenizer import Reconstruction
from ...tokens import Tokens
from ..base import ImageTokenizer, pad_to_stride
from .adm_unet import UNet, UNetConfig
from .diffusion import Schedule, ScheduleConfig
from .model import FourMEncoder, FourMEncoderConfig
from .uvit import UViT, UViTConfig


@dataclass(frozen=True, kw_only=True)
class FourMDiVAEConfig(FourMEncoderConfig):
    """Settings of `FourMDiVAE`; the defaults are those of the published RGB tokenizer.

    Attributes:
        unet: the painter.
        uvit: the other kind of painter, in its place.
        unet_patch: pixels on a side of the patches that either of them sees.
        schedule: times, noise and steps.
        steps: of `decode`, unless it is told another number; the authors evaluate with 50.
    """

    unet: UNetConfig = UNetConfig()
    uvit: UViTConfig | None = None
    unet_patch: int = 4
    schedule: ScheduleConfig = ScheduleConfig()
    steps: int = 50


class FourMDiffusion(FourMEncoder):
    """Both halves, whatever goes in; `decode_with` and the spec are those of its intake."""

    decoder_only = ("unet",)
    config: FourMDiVAEConfig
    decode_with: Callable[..., Any]

    def __init__(self, config: FourMDiVAEConfig) -> None:
        super().__init__(config)
        c, folded = config, config.channels * config.unet_patch**2
        self.unet: UNet | UViT
        if c.uvit is None:
            self.unet = UNet(c.unet, folded + c.latent_dim, folded)
        else:
            self.unet = UViT(c.uvit, c.channels, c.latent_dim, c.unet_patch)
        self.schedule = Schedule(c.schedule)

    @property
    def size_multiple(self) -> int:
        """Whole patches of the encoder, and sides that the painter can halve."""
        return math.lcm(self.config.patch_size, self.config.unet_patch * self.unet.config.stride)

    # --- latents ----------------------------------------------------------------------------------------------------

    def predict(self, x: Tensor, t: Tensor, codes: Tensor) -> Tensor:
        """What the painter says of noised pictures `[B, C, H, W]` at times `[B]`, with codes `[B, D, h, w]`."""
        if isinstance(self.unet, UViT):
            return self.unet(x, t, codes)
        folded = F.pixel_unshuffle(x, self.config.unet_patch)
        beside = F.interpolate(codes, folded.shape[2:], mode="nearest")
        return F.pixel_shuffle(self.unet(torch.cat([folded, beside], dim=1), t), self.config.unet_patch)

    def decode_latents(
        self,
        z_q: Tensor,
        grid: tuple[int, ...] | None = None,
        *,
        noise: Tensor | None = None,
        seed: int = 0,
        steps: int | None = None,
    ) -> Tensor:
        """Pictures `[B, 3, H, W]` (maps `[B, C, H, W]`) of latents `[B, D, h w]`; the arguments are those of `decode`."""
        if grid is None or len(grid) != 2:
            raise ValueError(f"{self.family} needs the grid (h, w) of its latents, got {grid}.")
        c, generator = self.config, torch.Generator().manual_seed(seed)
        shape = (c.channels, grid[0] * c.patch_size, grid[1] * c.patch_size)
        if noise is None:  # one draw: no item depends on the batch
            noise = torch.randn(shape, generator=generator).expand(len(z_q), -1, -1, -1)
        codes = z_q.unflatten(2, (grid[0], grid[1]))
        x = self.schedule.sample(
            noise.to(z_q), lambda x, t: self.predict(x, t, codes), steps=steps or min(c.steps, c.schedule.times), generator=generator
        )
        return self.shown(x)

    def shown(self, x: Tensor) -> Tensor:
        """What `decode` gives of painted `[B, C, H, W]`."""
        return x

    # --- tokens -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def decode(
        self,
        tokens: Tokens,
        *,
        original: bool = True,
        noise: Tensor | Sequence[Tensor] | None = None,
        seed: int = 0,
        steps: int | None = None,
    ) -> Tensor | list[Tensor]:
        """Draw pictures (or maps).

        Args:
            tokens, original: as in `ImageTokenizer.decode`.
            noise: start of the diffusion for each picture, `[C, H, W]` at its padded size; None: drawn from `seed`, the
                same for every picture of one size.
            seed: see `noise`; a "ddpm" sampler draws its further noise from it too.
            steps: None takes the config's. As in the authors' code, a number that does not divide the schedule's times is
                rounded up to whole strides.

        Raises:
            ValueError: noise of another number or size, or steps out of range.
        """
        if noise is not None:
            self._check_noise(noise, tokens)

        def run(ids: Tensor, grid: tuple[int, ...], items: list[int]) -> Tensor:
            z_q = self.quantizer.decode(ids, grid=grid).to(self.dtype)
            start = None if noise is None else torch.stack([noise[i] for i in items])
            return self.decode_latents(z_q, grid, noise=start, seed=seed, steps=steps)

        return self.decode_with(tokens, run, original=original)

    def _check_noise(self, noise: Tensor | Sequence[Tensor], tokens: Tokens) -> None:
        p = self.config.patch_size
        want = [[self.config.channels, *(n * p for n in tokens[i].grid)] for i in range(len(tokens))]
        got = [list(n.shape) for n in noise]
        if got != want:
            raise ValueError(f"noise is of sizes {got}, expected {want}: one [C, H, W] for each picture, padding included.")

    def forward(self, x: Tensor) -> Reconstruction:
        """In eval mode `encode` and `decode` of a batch. In training one step of the diffusion at random times.

        `features` are `prediction` and `prediction_target` `[B, C, H, W]` of such a step (in eval mode always the same one),
        whose squared distance is the loss; training's `x_hat` is its estimate of the picture.
        """
        size, x = x.shape[-2:], pad_to_stride(x, self.size_multiple)
        grid = self.grid_of(x)
        z = self.encode_latents(x)
        quantized = self.quantizer(z, grid=grid)
        clean = x[:, : self.config.channels]
        with same_draws(x.device, active=not self.training):
            t = torch.randint(self.config.schedule.times, (len(x),), device=x.device)
            noised, target = self.schedule.noised(clean, torch.randn_like(clean), t)
        out = self.predict(noised, t, quantized.z_q.unflatten(2, grid))
        if self.training:
            x_hat = self.shown(self.schedule.estimate(noised, out, t)[0])
        else:
            x_hat = self.decode_latents(quantized.z_q, grid)
        features = {"prediction": out, "prediction_target": target}
        return Reconstruction(x_hat=x_hat[..., : size[0], : size[1]], z=z, quantized=quantized, features=features)


class FourMDiVAE(FourMDiffusion, ImageTokenizer):
    """Pictures of any size to ids `[B, K, h w]`; back by drawing from noise."""

    family: ClassVar[str] = "fourm_divae"
    config_class: ClassVar[type] = FourMDiVAEConfig

    def __init__(self, config: FourMDiVAEConfig) -> None:
        super().__init__(config)
        self.spec = ImageSpec(**self.facts)

    def shown(self, x: Tensor) -> Tensor:
        """Three equal colours of one channel."""
        return x.expand(-1, 3, -1, -1)
