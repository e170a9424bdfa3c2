"""What FlexTok and COMiT share: a frozen VAE, whose latents the decoder draws by a rectified flow under the condition of tokens.

Letters: B batch, H W pixels, h w grid of VAE latents, C their channels, D latent width, L token positions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, cast

import torch
from torch import Tensor

from ..coding import Batch
from ..layers.rectified_flow import integrate
from ..options import MAX_STEPS, NoiseDecodeOptions, check_at_least
from ..start import start_vae
from .base import ImageTokenizer

#: diffusers' AutoencoderKL as stabilityai/sd-vae-ft-ema and -mse have it.
SD_VAE: dict[str, Any] = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}


@dataclass(frozen=True, kw_only=True)
class FlowDecodeOptions(NoiseDecodeOptions):
    """Options of `decode`; `noise` is the start of the flow, `[B, C, h, w]` of the VAE's latents.

    Attributes:
        steps: Euler steps, 1 to 10,000; FlexTok's authors show 20, COMiT's 10.
        guidance: weight of the tokens, also as a function of the time in 0..1; 1: no guidance. The authors of both show 7.5 with
            `normalized_guidance`.
        normalized_guidance: APG (arXiv 2410.02416) in place of classifier-free guidance.
    """

    steps: int = 25
    guidance: float | Callable[[float], float] = 1.0
    normalized_guidance: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("steps", self.steps, 1, MAX_STEPS)
        if not callable(self.guidance):
            check_at_least("guidance", self.guidance, 0)


class FlowDecoded(ImageTokenizer):
    """Base class of the families named above; a family calls `_start_vae` and writes `encode_latents` and `velocity`.

    `decode` is a function of its `seed` (or `noise`), `steps` and `guidance`. `encode` takes the mean of the VAE's posterior; training
    may sample.
    """

    decode_options = FlowDecodeOptions
    vae: Any  # diffusers' type annotations: a dict for its config, a tuple for the results of encode and decode
    vae_scale: float
    latent_shape: tuple[int, int, int]

    def _start_vae(self, arguments: dict[str, Any], *, scale: float, image_size: tuple[int, int]) -> int:
        """Make the frozen VAE of diffusers' arguments; returns C, the channels of its latents, which are multiplied by `scale`."""
        from diffusers import AutoencoderKL

        self.vae = AutoencoderKL(**arguments).eval().requires_grad_(False)
        self.vae_scale = scale
        channels: int = cast(Any, self.vae.config).latent_channels
        start_vae(self.vae, channels)
        stride = vae_stride(arguments)
        self.latent_shape = (channels, image_size[0] // stride, image_size[1] // stride)
        return channels

    def train(self, mode: bool = True) -> Self:
        """Switch the mode; the VAE stays as it is."""
        super().train(mode)
        self.vae.eval()
        return self

    # --- latents ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def vae_encode(self, x: Tensor, *, sample: bool = False) -> Tensor:
        """VAE latents `[B, C, h, w]` of pictures `[B, 3, H, W]`; the posterior's mean unless `sample`."""
        posterior = self.vae.encode(x).latent_dist
        return (posterior.sample() if sample else posterior.mode()) * self.vae_scale

    def vae_decode(self, latents: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]` of VAE latents `[B, C, h, w]`."""
        return self.vae.decode(latents / self.vae_scale).sample

    def velocity(self, x: Tensor, t: Tensor, z_q: Tensor, *, null: bool = False) -> Tensor:
        """Velocity of noised VAE latents.

        Args:
            x: noised latents `[B, C, h, w]`.
            t: times `[B]`, 1 for noise and 0 for a picture.
            z_q: tokens `[B, D, L]`.
            null: leave out the tokens, for guidance.

        Returns:
            `[B, C, h, w]`.
        """
        raise NotImplementedError

    def decode_latents(
        self,
        z_q: Tensor,
        grid: tuple[int, ...] | None = None,
        *,
        noise: Tensor | None = None,
        seed: int = 0,
        steps: int = 25,
        guidance: float | Callable[[float], float] = 1.0,
        normalized_guidance: bool = False,
        condition: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """Pictures `[B, 3, H, W]` of latents `[B, D, L]`; arguments as in `sample_latents`."""
        flow = {"noise": noise, "seed": seed, "steps": steps, "guidance": guidance, "normalized_guidance": normalized_guidance}
        return self.vae_decode(self.sample_latents(z_q, condition=condition, **flow))

    def sample_latents(
        self,
        z_q: Tensor,
        *,
        noise: Tensor | None = None,
        seed: int = 0,
        steps: int = 25,
        guidance: float | Callable[[float], float] = 1.0,
        normalized_guidance: bool = False,
        condition: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """VAE latents `[B, C, h, w]` drawn under the condition of latents `[B, D, L]`.

        The arguments are the options of `decode`; `condition` holds further arguments of this family's `velocity`.
        """
        more = condition or {}
        if noise is None:
            draw = torch.randn(self.latent_shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
            noise = draw.to(z_q).expand(len(z_q), -1, -1, -1)  # one draw: no item depends on the batch
        return integrate(
            noise,
            lambda x, t: self.velocity(x, t, z_q, **more),
            steps=steps,
            unconditional=lambda x, t: self.velocity(x, t, z_q, null=True, **more),
            guidance=guidance,
            normalized=normalized_guidance,
        )

    # --- tokens -----------------------------------------------------------------------------------------------------

    def condition_of(self, batch: Batch) -> dict[str, Any]:
        """Further arguments of this family's `velocity` for a batch of `decode`."""
        return {}

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Pictures `[B, 3, H, W]` of ids `[B, K, L]`."""
        o: FlowDecodeOptions = batch.options
        noise = batch.rows("noise")
        if noise is not None and noise.shape[1:] != self.latent_shape:
            raise ValueError(f"noise of a picture is {list(noise.shape[1:])}, expected {list(self.latent_shape)}.")
        return self.decode_latents(
            self.vectors_of(ids),
            noise=None if noise is None else noise.to(self.device, self.dtype),
            seed=o.seed,
            steps=o.steps,
            guidance=o.guidance,
            normalized_guidance=o.normalized_guidance,
            condition=self.condition_of(batch),
        )


def vae_stride(arguments: dict[str, Any]) -> int:
    """Pixels from one latent to the next, of diffusers' arguments of an `AutoencoderKL`."""
    return 2 ** (len(arguments.get("block_out_channels", (64,))) - 1)
