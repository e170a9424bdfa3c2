"""FlowMo: bits of a transformer over patches and tokens, decoded to pixels by a rectified flow without convolutions or an adversary.

Sargent et al. 2025, "Flow to the Mode: Mode-Seeking Diffusion Autoencoders for State-of-the-Art Image Tokenization", arXiv 2503.11056;
checked against kylesargent/FlowMo @ d15029f7ff (Apache-2.0), class `FlowMo`.

The encoder reads patches of a picture beside N token places that begin alike, and gives each token C channels, whose signs are bits: K
groups of them are K ids. The decoder predicts, from a noisy picture, the time and the bits, the velocity towards the picture; `decode`
follows it from noise in `steps` steps, short ones at the end, with guidance at middle times only. The start noise is the same for every
picture of a call and follows from `seed`.

A training step takes one noisy picture, and `x_hat` is where its velocity leads to. With `sampled_steps`, the authors' post-training,
`x_hat` is the end of a whole flow from noise, in that number of steps of random lengths, with gradients: a distance from the picture
then judges what is sampled, not the mean of what might be.

Differs: in the entropy term of training each group of bits has a mean of its own, the authors mix all groups; their scaling of weights
to their first norms is not here.

Letters: B batch, H W pixels, N tokens, C channels of a token, K groups, L = N.
"""

import itertools
import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ...coding import Batch
from ...config import ConfigError
from ...layers.rectified_flow import FlowStep
from ...options import MAX_STEPS, GuidedDecodeOptions, check_at_least
from ...quantizers.base import QuantizerConfig
from ...quantizers.lfq import LFQConfig
from ...spec import ImageSpec
from ...tokenizer import Reconstruction
from ..base import ImageTokenizer
from .network import TwoStreamConfig, TwoStreams


@dataclass(frozen=True, kw_only=True)
class FlowMoConfig:
    """Settings of `FlowMo`; the defaults are those of FlowMo-Lo.

    Attributes:
        image_size: side of the pictures in pixels.
        patch_size: side of a patch.
        num_tokens: N.
        token_dim: C.
        group_bits: bits of an id; C is a multiple of it. The channels of a group lie C / group_bits apart.
        encoder, decoder: settings of both transformers.
        quantizer: settings of any quantizer; its `dim` is filled in.
        steps: of `decode`, where it is called without.
        power: times are (i / steps) ^ power.
        guidance: of `decode`, where it is called without; 1: none.
        guided: times between which there is guidance.
        null_probability: share of training items that are decoded without their bits, for guidance.
        sampled_steps: steps of the flow that a training step follows with gradients for `x_hat` (the authors' post-training: 8); 0: it
            follows the velocity of one noisy picture.
    """

    image_size: int = 256
    patch_size: int = 4
    num_tokens: int = 256
    token_dim: int = 18
    group_bits: int = 9
    encoder: TwoStreamConfig = TwoStreamConfig()
    decoder: TwoStreamConfig = field(default_factory=lambda: TwoStreamConfig(width=1152, layers=16, hidden=4608, axes=(12, 42, 42)))
    quantizer: QuantizerConfig = LFQConfig(
        bits=18, group_bits=9, bit_order="lsb", entropy="grouped", entropy_group_bits=9, entropy_weight=0.0025,
        entropy_temperature=0.2, commitment_weight=0.000625,
    )  # fmt: skip
    steps: int = 25
    power: float = 4.0
    guidance: float = 1.5
    guided: tuple[float, float] = (0.17 / 1.17, 1.02 / 2.02)
    null_probability: float = 0.1
    sampled_steps: int = 0

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            raise ConfigError(f"image_size {self.image_size} is no multiple of patch_size {self.patch_size}.")
        if self.token_dim % self.group_bits:
            raise ConfigError(f"token_dim {self.token_dim} is no multiple of group_bits {self.group_bits}.")
        check_at_least("steps", self.steps, 1, MAX_STEPS)
        check_at_least("sampled_steps", self.sampled_steps, 0, MAX_STEPS)
        if not 0 <= self.null_probability <= 1:
            raise ConfigError(f"null_probability is {self.null_probability}; it is a probability, 0 to 1.")


@dataclass(frozen=True, kw_only=True)
class FlowMoDecodeOptions(GuidedDecodeOptions):
    """Options of `FlowMo.decode`; `noise` is the start of the flow, `[B, 3, H, W]`.

    Attributes:
        steps: of the flow, 1 to 10,000; None: that of the config.
        guidance: weight of the bits at middle times, 1 for none; None: that of the config.
    """


class FlowMo(ImageTokenizer):
    """Pictures of one size to ids `[B, K, N]` and back; see the module's docstring."""

    family: ClassVar[str] = "flowmo"
    config_class: ClassVar[type] = FlowMoConfig
    decode_options = FlowMoDecodeOptions
    encoder_only = ("encoder",)
    decoder_only = ("decoder",)
    config: FlowMoConfig

    def __init__(self, config: FlowMoConfig) -> None:
        super().__init__()
        self.config = c = config
        pixels = 3 * c.patch_size**2
        self.encoder = TwoStreams(c.encoder, patch_size=c.patch_size, tokens=0, out=c.token_dim, gives="tokens", timed=False)
        self.quantizer = c.quantizer.build(dim=c.token_dim)
        self.decoder = TwoStreams(c.decoder, patch_size=c.patch_size, tokens=c.token_dim + 1, out=pixels, gives="patches", timed=True)
        side = (c.image_size, c.image_size)
        self.spec = ImageSpec.of(self.quantizer, stride=0, image_size=side, num_positions=c.num_tokens, resize="crop")

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, C, N]` of pictures `[B, 3, H, W]`; the channels of a group, which lie apart in the network, are neighbours."""
        z = self.encoder(x, self.config.num_tokens).transpose(1, 2)
        return z.unflatten(1, (self.config.group_bits, -1)).transpose(1, 2).flatten(1, 2)

    def codes_of(self, z_q: Tensor) -> Tensor:
        """What the decoder reads `[B, N, C + 1]` of quantized latents `[B, C, N]`: the channels in the network's order, and a 1."""
        code = z_q.unflatten(1, (-1, self.config.group_bits)).transpose(1, 2).flatten(1, 2).transpose(1, 2)
        return torch.cat([code, torch.ones_like(code[..., :1])], dim=2)

    def velocity(self, x: Tensor, t: Tensor, code: Tensor) -> Tensor:
        """Velocity `[B, 3, H, W]` of noisy pictures `[B, 3, H, W]` at times `[B]`, under `code [B, N, C + 1]`; zeros: no condition."""
        return self.decoder(x, code, t)

    @torch.no_grad()
    def sample(
        self, z_q: Tensor, *, noise: Tensor | None = None, seed: int = 0, steps: int | None = None, guidance: float | None = None
    ) -> Tensor:
        """Pictures `[B, 3, H, W]`, not clipped, of quantized latents `[B, C, N]`; arguments as in `FlowMoDecodeOptions`."""
        c, code = self.config, self.codes_of(z_q)
        steps, weight = steps or c.steps, c.guidance if guidance is None else guidance
        if noise is None:
            generator = torch.Generator().manual_seed(seed)
            draw = torch.randn(3, c.image_size, c.image_size, generator=generator, dtype=torch.float32)
            noise = draw.to(z_q).expand(len(z_q), -1, -1, -1)
        x, low, high = noise.float(), *c.guided
        times = torch.arange(steps, -1, -1, dtype=torch.float32) ** c.power / steps**c.power
        for t, after in itertools.pairwise(times):
            now = t.expand(len(x)).to(x.device, non_blocking=True)
            v = self.velocity(x.to(code.dtype), now, code).float()
            if weight != 1 and low <= float(t) <= high:
                free = self.velocity(x.to(code.dtype), now, 0 * code).float()
                v = free + weight * (v - free)
            x = x - float(t - after) * v
        return x.to(z_q.dtype)

    def follow(self, code: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]`, not clipped, at the end of the flow from `noise`, with gradients to the velocities and `code`.

        Args:
            code: as `codes_of` returns it.
            noise: `[B, 3, H, W]`, at time 1.
            times: `[B, S + 1]`, from 1 to 0, of each picture its own. Each step is computed again in the backward pass, to save memory.
        """
        x = noise
        for t, after in itertools.pairwise(times.unbind(1)):
            v = checkpoint(self.velocity, x.to(code.dtype), t, code, use_reentrant=False)
            x = x - (t - after)[:, None, None, None] * v.float()
        return x

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Pictures `[B, 3, H, W]` in -1..1 of quantized latents `[B, C, N]`, with the config's steps and the noise of seed 0."""
        return self.sample(z_q).clamp(-1, 1)

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Pictures `[B, 3, H, W]` in -1..1 of ids `[B, K, N]`."""
        o, noise = batch.options, batch.rows("noise")
        shape = (3, self.config.image_size, self.config.image_size)
        if noise is not None and noise.shape[1:] != shape:
            raise ValueError(f"noise of a picture is {list(noise.shape[1:])}, expected {list(shape)}.")
        noise = None if noise is None else noise.to(self.device, self.dtype)
        return self.sample(self.vectors_of(ids), noise=noise, seed=o.seed, steps=o.steps, guidance=o.guidance).clamp(-1, 1)

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct `[B, 3, H, W]`.

        In a training step: one noisy picture at a random time, whose features `velocity` and `velocity_target` `[B, 3, H, W]` are
        compared; `x_hat` is where its velocity leads to in one step, or the end of a flow of `sampled_steps`, not clipped. Otherwise
        `x_hat` is what `decode` gives.
        """
        z = self.encode_latents(x)
        quantized = self.quantizer(z)
        if not (self.training and torch.is_grad_enabled()):
            return Reconstruction(x_hat=self.decode_latents(quantized.z_q), z=z, quantized=quantized)
        t = torch.sigmoid(torch.randn(len(x), device=x.device, dtype=torch.float32))
        t = torch.where(torch.rand_like(t) <= 0.9, t, torch.rand_like(t))
        noise, share = torch.randn_like(x), t[:, None, None, None].to(x.dtype)
        step = FlowStep(share * noise + (1 - share) * x, t, noise - x)
        kept = (torch.rand(len(x), 1, 1, device=x.device) >= self.config.null_probability).to(x.dtype)
        code = self.codes_of(quantized.z_q)
        v = self.velocity(step.x, t, code * kept)
        features = {"velocity": v, "velocity_target": step.target}
        x_hat = step.estimate(v)
        if steps := self.config.sampled_steps:
            x_hat = self.follow(code, torch.randn_like(x), random_times(len(x), steps, x.device))
        return Reconstruction(x_hat=x_hat, z=z, quantized=quantized, features=features)


def random_times(items: int, steps: int, device: torch.device) -> Tensor:
    """Times `[B, S + 1]` of S steps from 1 to 0, whose lengths are in proportion to even draws in 0..1."""
    ends = torch.rand(items, steps, device=device, dtype=torch.float32).cumsum(1)
    return 1 - torch.cat([torch.zeros_like(ends[:, :1]), ends / ends[:, -1:]], dim=1)


def power_of(schedule: str) -> float:
    """The exponent of the times of a schedule of the authors': "linear", or "pow_0.25" for the fourth power."""
    if schedule == "linear":
        return 1.0
    if schedule.startswith("pow_") and (value := float(schedule.removeprefix("pow_"))) > 0 and math.isfinite(value):
        return 1 / value
    raise ValueError(f"the schedule {schedule!r} is not supported; 'linear' and 'pow_X' are.")
