"""A continuous autoencoder whose latents are quantized after training: TokenBridge over MAR's KL-16, or diffusers' AutoencoderKL.

TokenBridge: Wang et al. 2025, "Bridging Continuous and Discrete Tokens for Autoregressive Visual Generation", arXiv 2503.16430;
YuqingWang1029/TokenBridge @ 3ede281825 (MIT). The autoencoder is that of latent diffusion: Rombach et al. 2022, "High-Resolution
Image Synthesis with Latent Diffusion Models", arXiv 2112.10752.

A convolutional encoder maps pictures `[B, 3, H, W]` to mean and variance of latents `[B, D, h w]`. Every channel of the scaled mean is
rounded to one of a few levels by itself: ids `[B, K, h w]` with K = D. The decoder maps the levels' values back to `[B, 3, H, W]`.

Letters: B batch, H W pixels, h w grid, D latent width, L = h w.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...coding import Batch
from ...config import ConfigError, Signed
from ...layers.vqgan import DecoderConfig, EncoderConfig, VQGANDecoder, VQGANEncoder
from ...options import ImageEncodeOptions
from ...quantizers.base import QuantizerConfig
from ...quantizers.dimension_wise import DimensionWiseConfig
from ...spec import ImageSpec
from ..base import ImageTokenizer


@dataclass(frozen=True, kw_only=True)
class KLTokensConfig:
    """Settings of `KLTokens`; the defaults are TokenBridge's.

    Attributes:
        encoder, decoder: settings of the convolutional encoder and decoder; see `layers/vqgan.py`.
        latent_dim: D, channels of the latents.
        variational: whether the encoder also predicts a variance (its output has 2 D channels in any case).
        posterior_map, latent_map: whether there are 1x1 convolutions after the encoder and before the decoder (diffusers'
            `use_quant_conv`, `use_post_quant_conv`).
        latent_scale, latent_shift: the quantizer's input is `(latent - latent_shift) * latent_scale`.
        quantizer: settings of any quantizer, meant for "dimension_wise"; its `dim` is filled in.
    """

    encoder: EncoderConfig = EncoderConfig(attention_levels=(4,))
    decoder: DecoderConfig = DecoderConfig()
    latent_dim: int = 16
    variational: bool = True
    posterior_map: bool = True
    latent_map: bool = True
    latent_scale: float = 0.2325
    latent_shift: Signed = 0.0
    quantizer: QuantizerConfig = DimensionWiseConfig()

    def __post_init__(self) -> None:
        if self.encoder.stride != self.decoder.stride:
            raise ConfigError(
                f"the encoder divides the size by {self.encoder.stride}, "
                f"the decoder multiplies it by {self.decoder.stride}."
            )
        if not self.posterior_map and not self.variational:
            raise ConfigError("variational = false needs posterior_map: it maps 2 D channels to D.")


@dataclass(frozen=True, kw_only=True)
class KLTokensEncodeOptions(ImageEncodeOptions):
    """Options of `KLTokens.encode`.

    Attributes:
        noise: standard normal noise `[D, h, w]` of each picture for a sample of the posterior; None: the posterior's mean.
    """

    noise: Tensor | tuple[Tensor, ...] | None = None


class KLTokens(ImageTokenizer):
    """Autoencoder and quantizer; `encode` takes the mean of the posterior, or a sample if noise is given."""

    family: ClassVar[str] = "kl_tokens"
    config_class: ClassVar[type] = KLTokensConfig
    encode_options = KLTokensEncodeOptions
    encoder_only = ("encoder", "to_posterior")
    decoder_only = ("from_latent", "decoder")
    config: KLTokensConfig

    def __init__(self, config: KLTokensConfig) -> None:
        super().__init__()
        self.config = c = config
        d = c.latent_dim
        self.encoder = VQGANEncoder(c.encoder, 2 * d)
        self.to_posterior = nn.Conv2d(2 * d, 2 * d if c.variational else d, 1) if c.posterior_map else nn.Identity()
        self.quantizer = c.quantizer.build(dim=d)
        self.from_latent = nn.Conv2d(d, d, 1) if c.latent_map else nn.Identity()
        self.decoder = VQGANDecoder(c.decoder, d)
        self.spec = ImageSpec.of(self.quantizer, stride=c.encoder.stride)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents, each `[B, D, h, w]`, unscaled; without `variational` the latter is e^0.5."""
        moments = self.to_posterior(self.encoder(x))
        if not self.config.variational:
            return moments, torch.full_like(moments, 0.5).exp()
        mean, log_variance = moments.chunk(2, dim=1)
        return mean, (0.5 * log_variance.clamp(-30.0, 20.0)).exp()

    def encode_latents(self, x: Tensor, *, noise: Tensor | None = None) -> Tensor:
        """Scaled latents `[B, D, h w]` of pictures `[B, 3, H, W]`: the mean, plus deviation * `noise` if given."""
        mean, deviation = self.posterior(x)
        z = mean if noise is None else mean + deviation * noise
        return ((z - self.config.latent_shift) * self.config.latent_scale).flatten(2)

    def latents_of(self, x: Tensor, batch: Batch) -> Tensor:
        """Scaled latents `[B, D, h w]` of pictures of one size."""
        noise = batch.rows("noise")
        return self.encode_latents(x) if noise is None else self.encode_latents(x, noise=noise.to(x))

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Pictures `[B, 3, H, W]` of scaled latents `[B, D, h w]`, quantized or not."""
        if grid is None or len(grid) != 2:
            raise ValueError(f"{self.family} needs the grid (h, w) of its latents, got {grid}.")
        z = (z_q / self.config.latent_scale + self.config.latent_shift).unflatten(-1, (grid[0], grid[1]))
        return self.decoder(self.from_latent(z))
