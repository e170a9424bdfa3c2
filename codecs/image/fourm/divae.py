"""4M's tokenizer with a diffusion decoder (DiVAE): pixels are denoised under the condition of the codes.

Mizrahi et al. 2023 (4M, arXiv 2312.06647), Bachmann et al. 2024 (4M-21, arXiv 2406.09406), based on Shi et al. 2022 (DiVAE,
arXiv 2206.00386). Parity checked against apple/ml-4m @ cda590faa3 (Apache-2.0 code; Apple's sample-code terms for weights),
class `DiVAE`.

Encoder and codebook are those of `model.py`. The diffusion decoder runs over small patches of the noised picture. It is a U-Net
whose input patches are concatenated with the codes, each code repeated over its patch; or a transformer between convolutions that
is conditioned on the codes (U-ViT). `decode` is a function of its `seed` (or `noise`) and `steps`. `maps.py` has the same networks
for maps other than pictures.

Letters: B batch, C channels, H W pixels, h w grid, D latent width.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...coding import Batch
from ...layers.draws import same_draws
from ...options import MAX_STEPS, DecodeOptions, check_at_least
from ...spec import ImageSpec
from ...tokenizer import Reconstruction
from ..base import ImageTokenizer, pad_to_stride
from .adm_unet import UNet, UNetConfig
from .diffusion import NoiseScheduleConfig, Schedule
from .model import FourMEncoder, FourMEncoderConfig
from .uvit import UViT, UViTConfig


@dataclass(frozen=True, kw_only=True)
class FourMDiVAEConfig(FourMEncoderConfig):
    """Settings of `FourMDiVAE`; the defaults are those of the published RGB tokenizer.

    Attributes:
        unet: the diffusion decoder, unless `uvit` is set.
        uvit: a U-ViT as the diffusion decoder; None: the U-Net.
        unet_patch: pixels on a side of the patches that the diffusion decoder takes as input.
        schedule: settings of the noise schedule and of the sampler.
        steps: number of diffusion steps of `decode`, unless its option `steps` is given; the authors evaluate with 50.
    """

    unet: UNetConfig = UNetConfig()
    uvit: UViTConfig | None = None
    unet_patch: int = 4
    schedule: NoiseScheduleConfig = NoiseScheduleConfig()
    steps: int = 50


@dataclass(frozen=True, kw_only=True)
class FourMDiVAEDecodeOptions(DecodeOptions):
    """Options of `decode` of 4M's tokenizers with a diffusion decoder.

    Attributes:
        noise: start of the diffusion of each picture, `[C, H, W]` at its padded size; None: drawn from `seed`, the same for every
            picture of one size.
        seed: seed of the noise, 0 or more; a "ddpm" sampler draws its further noise from it too.
        steps: diffusion steps, 1 to the schedule's times; None: the config's. As in the authors' code, a number that does not
            divide the schedule's times is rounded up to whole strides.
    """

    noise: Tensor | tuple[Tensor, ...] | None = None
    seed: int = 0
    steps: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("seed", self.seed, 0)
        check_at_least("steps", self.steps, 1, MAX_STEPS)


class FourMDiffusion(FourMEncoder):
    """Encoder and diffusion decoder over pictures or maps; subclasses add the input preparation and the spec."""

    decoder_only = ("unet",)
    decode_options: type[DecodeOptions] = FourMDiVAEDecodeOptions
    config: FourMDiVAEConfig

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
        """Number of pixels of which sides must be multiples: whole patches of the encoder, and sides that the decoder can halve."""
        return math.lcm(self.config.patch_size, self.config.unet_patch * self.unet.config.stride)

    # --- latents ----------------------------------------------------------------------------------------------------

    def predict(self, x: Tensor, t: Tensor, codes: Tensor) -> Tensor:
        """The diffusion decoder's output for noised pictures `[B, C, H, W]` at times `[B]`, with codes `[B, D, h, w]`."""
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
            noise = torch.randn(shape, generator=generator, dtype=torch.float32).expand(len(z_q), -1, -1, -1)
        codes = z_q.unflatten(2, (grid[0], grid[1]))
        x = self.schedule.sample(
            noise.to(z_q), lambda x, t: self.predict(x, t, codes), steps=steps or min(c.steps, c.schedule.times), generator=generator
        )
        return self.shown(x)

    def shown(self, x: Tensor) -> Tensor:
        """The result of `decode` from decoded channels `[B, C, H, W]`."""
        return x

    # --- tokens -----------------------------------------------------------------------------------------------------

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Draw pictures `[B, 3, H, W]` (or maps) of ids `[B, K, h w]`."""
        o: FourMDiVAEDecodeOptions = batch.options
        z_q, noise = self.vectors_of(ids, batch.grid), batch.rows("noise")
        if noise is not None and batch.grid is not None:
            want = [self.config.channels, *(n * self.config.patch_size for n in batch.grid)]
            if list(noise.shape[1:]) != want:
                raise ValueError(f"noise of a picture is {list(noise.shape[1:])}, expected {want}: [C, H, W], padding included.")
        return self.decode_latents(z_q, batch.grid, noise=noise, seed=o.seed, steps=o.steps)

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
    """Pictures of any size to ids `[B, K, h w]`; back by diffusion from noise."""

    family: ClassVar[str] = "fourm_divae"
    config_class: ClassVar[type] = FourMDiVAEConfig

    def __init__(self, config: FourMDiVAEConfig) -> None:
        super().__init__(config)
        self.spec = ImageSpec.of(self.quantizer, stride=config.patch_size)

    def shown(self, x: Tensor) -> Tensor:
        """Three equal colours `[B, 3, H, W]` of one channel; three channels unchanged."""
        return x.expand(-1, 3, -1, -1)
