"""FlexTok: a picture as an ordered sequence of tokens, coarse to fine; any prefix decodes, by a rectified flow.

Bachmann et al. 2025, "FlexTok: Resampling Images into 1D Token Sequences of Flexible Length", arXiv 2502.13967.
Parity checked against apple/ml-flextok @ 87d00cc8ba (Apple Sample Code License 1.1; the published weights are for
non-commercial research), class `FlexTokFromHub`, FlexAttention replaced by scaled dot-product attention. Own code.

A frozen AutoencoderKL encodes pictures `[B, 3, H, W]` to VAE latents `[B, C, h, w]`. A transformer over their patches and N register
tokens returns the registers' states `[B, latent_dim, N]`, which FSQ quantizes: ids `[B, K, N]`. The decoder, a transformer too,
predicts the velocity of a rectified flow that leads from noise to VAE latents, conditioned on the tokens; the VAE decodes them to
pixels. `decode` is a function of its `seed` (or `noise`), `steps` and `guidance`.
Differs: `encode` takes the mean of the VAE's posterior where the published configuration samples, so that ids are a
function of the picture; training samples.

Letters: B batch, H W pixels, h w grid of VAE latents, C their channels, N register tokens, D width, L = patches + N.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...layers.rectified_flow import TimeEmbedding, draw_step
from ...layers.vit import init_linear
from ...options import OrderedEncodeOptions
from ...quantizers.base import QuantizerConfig
from ...quantizers.fsq import FSQConfig
from ...spec import ImageSpec
from ...start import start_deviation
from ...tokenizer import Reconstruction
from ..flow_decoded import SD_VAE, FlowDecoded, vae_stride
from .modulated import ModulatedBlock, ModulatedConfig, NormHead
from .parts import ConditionConfig, Positions, PositionsConfig, TokenCondition, part_mask

#: diffusers' AutoencoderKL as the published models have it, but for `latent_channels`.
PUBLISHED_VAE: dict[str, Any] = SD_VAE | {"latent_channels": 16}


@dataclass(frozen=True, kw_only=True)
class FlexTokConfig:
    """Settings of `FlexTok`; sizes default to d18-d18.

    Attributes:
        image_size: (H, W) of the pictures in pixels.
        vae: arguments of diffusers' `AutoencoderKL`.
        vae_scale: factor on the VAE's latents.
        sample_posterior: training draws VAE latents from the posterior; ids never depend on it.
        patch_size: VAE latents on a side of a patch.
        encoder, decoder: settings of the two transformers.
        encoder_mask: which parts of (patches, registers) attend to which: "full"; "causal"; "causal_last": patches attend to
            one another, registers to patches and earlier registers.
        encoder_positions, decoder_positions: position embeddings of the patches; None: no position embeddings.
        num_registers: number of register tokens of the encoder.
        num_tokens: N, number of tokens that `encode` returns; 0: one for each register.
        register_order: how fewer tokens are made of all registers: the first ones ("nested"), or means of neighbours ("avg_pool").
        quantizer: settings of any quantizer; its `dim` is filled in from `latent_dim`.
        latent_dim: channels that are quantized.
        condition: preparation of the tokens before the decoder's blocks.
        tokens_first: the decoder's sequence is (tokens, patches), otherwise (patches, tokens).
        part_modulation: tokens and patches each have a separate modulation by the time.
        time_frequencies, longest_time: number of sines and cosines, and largest time, of the time embedding.
        zero_init: the decoder's modulations and last map start at zero (adaLN-zero); False: small random numbers.
        feature_layers: blocks of the decoder whose patches are returned as features, for a loss like REPA's (arXiv 2410.06940).
        train_pixels: training decodes the VAE latents of its one-step estimate to pixels; False returns the latents, which saves
            time if no loss is computed on pixels.
        time_sampling, time_stratified, time_mode_scale: distribution of training times, see `layers/rectified_flow.py`.
    """

    image_size: tuple[int, int] = (256, 256)
    vae: dict[str, Any] = field(default_factory=lambda: dict(PUBLISHED_VAE))
    vae_scale: float = 1.0
    sample_posterior: bool = True
    patch_size: int = 2
    encoder: ModulatedConfig = ModulatedConfig(width=1152, layers=18)
    decoder: ModulatedConfig = ModulatedConfig(width=1152, layers=18)
    encoder_mask: Literal["full", "causal", "causal_last"] = "causal_last"
    encoder_positions: PositionsConfig | None = PositionsConfig()
    decoder_positions: PositionsConfig | None = PositionsConfig()
    num_registers: int = 256
    num_tokens: int = 0
    register_order: Literal["nested", "avg_pool"] = "nested"
    quantizer: QuantizerConfig = FSQConfig(levels=(8, 8, 8, 5, 5, 5))
    latent_dim: int = 6
    condition: ConditionConfig = field(default_factory=ConditionConfig)
    tokens_first: bool = True
    part_modulation: bool = True
    time_frequencies: int = 256
    longest_time: float = 1.0
    zero_init: bool = True
    feature_layers: tuple[int, ...] = ()
    time_sampling: Literal["logit_normal", "uniform"] = "logit_normal"
    time_stratified: bool = False
    time_mode_scale: float = 0.0
    train_pixels: bool = True

    def __post_init__(self) -> None:
        step = self.patch_size * self.vae_stride
        if any(n % step for n in self.image_size):
            raise ValueError(f"image_size {self.image_size} is no multiple of {step} (VAE stride x patch_size).")
        if not 0 <= self.num_tokens <= self.num_registers:
            raise ValueError(f"num_tokens is {self.num_tokens}; there are {self.num_registers} registers.")

    @property
    def vae_stride(self) -> int:
        """Pixels from one VAE latent to the next."""
        return vae_stride(self.vae)

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of patches."""
        step = self.patch_size * self.vae_stride
        return self.image_size[0] // step, self.image_size[1] // step


class FlexEncoder(nn.Module):
    """VAE latents to register states: patches and registers in one sequence."""

    def __init__(self, config: FlexTokConfig, channels: int) -> None:
        super().__init__()
        self.config = c = config
        width = c.encoder.width
        self.patch_embed = nn.Conv2d(channels, width, c.patch_size, stride=c.patch_size)
        self.positions = Positions(width, c.grid, c.encoder_positions) if c.encoder_positions else None
        self.registers = nn.Parameter(torch.randn(c.num_registers, width) * start_deviation(width))
        self.blocks = nn.ModuleList(ModulatedBlock(c.encoder) for _ in range(c.encoder.layers))
        self.head = NormHead(width, c.latent_dim)
        nn.init.trunc_normal_(self.head.proj.weight, std=start_deviation(width))

    def forward(self, x: Tensor) -> Tensor:
        """Register states `[B, N, latent_dim]` of VAE latents `[B, C, h, w]`."""
        c = self.config
        y = self.patch_embed(x)  # [B, D, rows, columns]
        y = (y if self.positions is None else y + self.positions(y.shape[2:])).flatten(2).transpose(1, 2)
        registers, count = self.registers, c.num_tokens or c.num_registers
        if c.register_order == "avg_pool":
            registers = F.adaptive_avg_pool1d(registers.t(), count).t()
        z = torch.cat([y, registers[:count].expand(len(x), -1, -1)], dim=1)  # [B, L, D]
        mask = part_mask(c.encoder_mask, y.shape[1], count, z.device)
        for block in self.blocks:
            z = block(z, mask)
        return self.head(z[:, y.shape[1] :])


class FlexDecoder(nn.Module):
    """Velocity of noised VAE latents at a time, under the condition of quantized tokens."""

    def __init__(self, config: FlexTokConfig, channels: int) -> None:
        super().__init__()
        self.config = c = config
        width = c.decoder.width
        self.condition = TokenCondition(c.condition, c.latent_dim, width, c.num_registers)
        self.patch_embed = nn.Conv2d(channels, width, c.patch_size, stride=c.patch_size)
        self.positions = Positions(width, c.grid, c.decoder_positions) if c.decoder_positions else None
        self.time = TimeEmbedding(width, frequencies=c.time_frequencies, longest=c.longest_time)
        parts = 2 if c.part_modulation else 1
        blocks = [ModulatedBlock(c.decoder, parts=parts) for _ in range(c.decoder.layers)]
        self.blocks = nn.ModuleList(blocks)
        self.head = NormHead(width, channels * c.patch_size**2, modulated=True)
        nn.init.zeros_(self.head.proj.weight)
        if not c.zero_init:
            for part in (self.head, *(b.modulation for b in blocks)):
                assert part is not None
                part.apply(init_linear)

    def forward(
        self, x: Tensor, t: Tensor, z_q: Tensor, *, null: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Predict the velocity of noised latents.

        Args:
            x: noised latents `[B, C, h, w]`.
            t: times `[B]`.
            z_q: quantized tokens `[B, n, latent_dim]`, any first part of them.
            null: leave out the condition, for guidance.

        Returns:
            Velocity `[B, C, h, w]`, and the patches `[B, rows columns, D]` of each of `feature_layers`.
        """
        c = self.config
        tokens = self.condition(z_q, null=null)  # [B, registers, D]
        y = self.patch_embed(x)
        grid = y.shape[2:]
        y = (y if self.positions is None else y + self.positions(grid)).flatten(2).transpose(1, 2)
        parts = [tokens, y] if c.tokens_first else [y, tokens]
        lengths, start = tuple(p.shape[1] for p in parts), tokens.shape[1] if c.tokens_first else 0
        z, time, features = torch.cat(parts, dim=1), self.time(t), {}
        for i, block in enumerate(self.blocks):
            z = block(z, condition=time, lengths=lengths)  # [B, L, D]
            if i in c.feature_layers:
                features[f"decoder.{i}"] = z[:, start : start + y.shape[1]]
        out = self.head(z[:, start : start + y.shape[1]], time)  # [B, rows columns, p p C]
        out = out.unflatten(2, (c.patch_size**2, -1)).transpose(2, 3).flatten(2)  # channel first, then row and column
        return F.pixel_shuffle(out.transpose(1, 2).unflatten(2, grid), c.patch_size), features


class FlexTok(FlowDecoded):
    """Pictures of one size to N ordered tokens and back; see the module's docstring."""

    family: ClassVar[str] = "flextok"
    config_class: ClassVar[type] = FlexTokConfig
    encode_options = OrderedEncodeOptions
    encoder_only = ("vae.encoder", "vae.quant_conv", "encoder")
    decoder_only = ("vae.decoder", "vae.post_quant_conv", "decoder")

    def __init__(self, config: FlexTokConfig) -> None:
        super().__init__()
        self.config = c = config
        channels = self._start_vae(c.vae, scale=c.vae_scale, image_size=c.image_size)
        self.encoder = FlexEncoder(c, channels)
        self.quantizer = c.quantizer.build(dim=c.latent_dim)
        self.decoder = FlexDecoder(c, channels)
        self.spec = ImageSpec.of(
            self.quantizer,
            prefix=("positions",),
            stride=0,
            image_size=c.image_size,
            num_positions=c.num_tokens or c.num_registers,
            resize="crop",
        )

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, latent_dim, N]` of pictures `[B, 3, H, W]`."""
        return self.encoder(self.vae_encode(x)).transpose(1, 2)

    def velocity(self, x: Tensor, t: Tensor, z_q: Tensor, *, null: bool = False) -> Tensor:
        """The decoder's output for noised VAE latents `[B, C, h, w]` at times `[B]` and tokens `[B, latent_dim, n]`."""
        return self.decoder(x, t, z_q.transpose(1, 2), null=null)[0]

    def forward(self, x: Tensor) -> Reconstruction:
        """In eval mode `encode` and `decode` of `[B, 3, H, W]`. In training one step of the flow at random times.

        `features` are `velocity` and `velocity_target` `[B, C, h, w]` of such a step (in eval mode always the same one), whose
        squared distance is the loss, and `decoder.N` `[B, D, patches]` of `feature_layers`. Training's `x_hat` is the VAE's
        picture of the one-step estimate x_t - t velocity, or this estimate `[B, C, h, w]` itself without `train_pixels`.
        """
        clean = self.vae_encode(x, sample=self.training and self.config.sample_posterior)
        z = self.encoder(clean).transpose(1, 2)
        quantized = self.quantizer(z)
        estimate, features = self._one_step(clean, quantized.z_q)
        if not self.training:
            x_hat = self.decode_latents(quantized.z_q)
        else:
            x_hat = self.vae_decode(estimate) if self.config.train_pixels else estimate
        return Reconstruction(x_hat=x_hat, z=z, quantized=quantized, features=features)

    def _one_step(self, clean: Tensor, z_q: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The estimate of VAE latents `[B, C, h, w]` from noised ones, and `forward`'s features."""
        c = self.config
        step = draw_step(
            clean, kind=c.time_sampling, stratified=c.time_stratified, mode_scale=c.time_mode_scale, fixed=not self.training
        )
        v, layers = self.decoder(step.x, step.t, z_q.transpose(1, 2))
        features = {name: y.transpose(1, 2) for name, y in layers.items()}
        return step.estimate(v), {**features, "velocity": v, "velocity_target": step.target}
