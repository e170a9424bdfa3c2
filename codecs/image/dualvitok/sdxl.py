"""DualViTok's diffusion decoder: a U-Net as SDXL's that reads the merged codes beside its noised latents.

Huang et al. 2025 (ILLUME+), arXiv 2504.01934; SDXL: Podell et al. 2023, arXiv 2307.01952. Read from illume-unified-mllm/ILLUME_plus
@ 51de69dcd4 (Apache-2.0), `StableDiffusionXLDecoderPipeline`, with which it was compared on random weights. The networks are diffusers'
own. The merged codes are brought to the size of the latents by nearest neighbours and follow the latents' channels; without the
condition they are zeros. Text states and the pooled text are zeros, and of SDXL's six size numbers five are zeros and the last is the
number of the picture's size among those of the training.

Pictures are twice as high and wide as the tokens' pixels where that is a size of the training (256 to 512, 512 to 1024), as in the
authors' scripts; else they have the size of the training that is nearest in shape, as in their demo.

Differs: the codes are used in the tokenizer's number type, where the authors round them to float16; the VAE runs in float32.

Letters: B batch, D code width, h w pixel grid, C latent channels, y x latents, H W pixels of the refined picture.
"""

from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError
from ...layers.diffusion_parts import SCHEDULERS, Float32VAE, new_scheduler, plain_config
from ..refined import fill, read_network, start_noise

#: (H, W) of the authors' training, in the order of their numbers.
RESOLUTIONS = (
    (1024, 1024), (1024, 768), (768, 1024), (2048, 512), (512, 2048), (1920, 640), (640, 1920), (1536, 768), (768, 1536),
    (1152, 768), (768, 1152), (512, 512),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SdxlRefinerConfig:
    """Settings of `SdxlRefiner`.

    Attributes:
        unet: arguments of diffusers' `UNet2DConditionModel`, with `addition_embed_type` "text_time".
        vae: arguments of diffusers' `AutoencoderKL`.
        scheduler: `kind`, one of `SCHEDULERS`, and its arguments.
        prompt_tokens: length of the text states, which are zeros.
        resolutions: (H, W) of the pictures that the U-Net was trained on, in the order of their numbers.
        steps: denoising steps, unless an option of `decode` is given.
        guidance: classifier-free guidance scale, unless an option of `decode` is given; 1: no guidance.
    """

    unet: dict[str, Any]
    vae: dict[str, Any]
    scheduler: dict[str, Any] = field(default_factory=lambda: {"kind": "EulerDiscreteScheduler"})
    prompt_tokens: int = 77
    resolutions: tuple[tuple[int, int], ...] = RESOLUTIONS
    steps: int = 50
    guidance: float = 2.0

    def __post_init__(self) -> None:
        if self.scheduler.get("kind") not in SCHEDULERS:
            raise ConfigError(f"scheduler.kind is {self.scheduler.get('kind')!r:.80}; allowed: {', '.join(SCHEDULERS)}.")
        if self.unet.get("addition_embed_type") != "text_time":
            raise ConfigError("unet.addition_embed_type must be 'text_time': the picture's size is a condition.")
        if not self.resolutions:
            raise ConfigError("resolutions is empty; give at least one (H, W).")


class SdxlRefiner(nn.Module):
    """Merged codes `[B, D, h, w]` to pictures `[B, 3, H, W]` in -1..1, drawn from noise."""

    unet: Any  # diffusers' type annotations: a dict for its config, a tuple for the result

    def __init__(self, config: SdxlRefinerConfig, code_dim: int) -> None:
        super().__init__()
        from diffusers import UNet2DConditionModel

        self.config = config
        self.unet = UNet2DConditionModel(**config.unet).requires_grad_(False)
        self.vae = Float32VAE(config.vae)
        own = cast(Any, self.unet.config)
        if own.in_channels != self.vae.channels + code_dim or own.out_channels != self.vae.channels:
            raise ConfigError(
                f"the U-Net maps {own.in_channels} channels to {own.out_channels}; {self.vae.channels} of latents and {code_dim} of "
                "codes are needed. Only the refiner that was trained with these codes fits."
            )
        if own.time_cond_proj_dim is not None:
            raise ConfigError("unet.time_cond_proj_dim must be empty: guidance is by two passes, not by an embedding of the scale.")
        pooled = own.projection_class_embeddings_input_dim - 6 * own.addition_time_embed_dim
        if pooled < 0:
            raise ConfigError("unet.projection_class_embeddings_input_dim must hold six numbers of addition_time_embed_dim channels.")
        width = own.cross_attention_dim
        self.pooled_dim, self.prompt_dim = pooled, width if isinstance(width, int) else width[0]

    def resolution(self, height: int, width: int) -> int:
        """Number of the training's size for a picture of this size in pixels: twice its size, else the nearest shape."""
        sizes = self.config.resolutions
        if (2 * height, 2 * width) in sizes:
            return sizes.index((2 * height, 2 * width))
        return min(range(len(sizes)), key=lambda i: abs(width / height - sizes[i][1] / sizes[i][0]))

    def forward(
        self,
        code: Tensor,
        *,
        size: tuple[int, int],
        noise: Tensor | None = None,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
    ) -> Tensor:
        """Draw pictures `[B, 3, H, W]` in -1..1, not clipped.

        Args:
            code: merged codes `[B, D, h, w]`.
            size: height and width in pixels that the codes stand for.
            noise: start `[B, C, y, x]`, standard normal; None: drawn from `seed`, the same for every item.
            seed: seed of the noise, where that is None.
            steps, guidance: None: those of the config.
        """
        c, number = self.config, self.resolution(*size)
        steps, guidance = c.steps if steps is None else steps, c.guidance if guidance is None else guidance
        latent = (self.vae.channels, *(n // self.vae.stride for n in c.resolutions[number]))
        x = start_noise(noise, latent, code, torch.Generator().manual_seed(seed))
        code, guided = F.interpolate(code, size=latent[1:]), guidance > 1
        if guided:
            code = torch.cat([torch.zeros_like(code), code])
        scheduler = new_scheduler(c.scheduler)
        scheduler.set_timesteps(steps, device=code.device)
        x = x * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            y = scheduler.scale_model_input(torch.cat([x, x]) if guided else x, t)
            out = self.predict(torch.cat([y, code], dim=1), t, number)
            if guided:
                free, bound = out.chunk(2)
                out = free + guidance * (bound - free)
            x = scheduler.step(out, t, x, return_dict=False)[0]
        return self.vae.decode(x)

    def predict(self, x: Tensor, t: Tensor, number: int) -> Tensor:
        """The U-Net's output `[B, C, y, x]` for latents and codes `[B, C + D, y, x]` at time t and a size of the training."""
        sizes = torch.tensor([0.0] * 5 + [float(number)], device=x.device, dtype=x.dtype)
        added = {"text_embeds": x.new_zeros(len(x), self.pooled_dim), "time_ids": sizes.expand(len(x), -1)}
        prompt = x.new_zeros(len(x), self.config.prompt_tokens, self.prompt_dim)
        return self.unet(x, t, encoder_hidden_states=prompt, added_cond_kwargs=added, return_dict=False)[0]


def read_sdxl_refiner(source: Any, code_dim: int) -> SdxlRefiner:
    """The refiner in a folder or hub repository of a diffusers pipeline, with its U-Net, VAE and scheduler.

    Raises:
        CheckpointError, ConfigError: a file is missing or broken, or the networks do not fit the codes.
    """
    import diffusers

    settings: dict[str, dict[str, Any]] = {}
    state: dict[str, Tensor] = {}
    for part, prefix, cls in (("unet", "unet.", diffusers.UNet2DConditionModel), ("vae", "vae.net.", diffusers.AutoencoderKL)):
        names = [f"{part}/diffusion_pytorch_model{end}" for end in (".safetensors", ".fp16.safetensors", ".bin")]
        theirs, weights = read_network(source, config=f"{part}/config.json", weights=names)
        with torch.device("meta"):
            settings[part] = plain_config(cast(Any, cls.from_config(theirs)).config)
        state |= {prefix + k: v for k, v in weights.items()}
    theirs, _ = read_network(source, config="scheduler/scheduler_config.json")
    scheduler = {"kind": theirs.get("_class_name", "")} | plain_config(theirs)
    config = SdxlRefinerConfig(unet=settings["unet"], vae=settings["vae"], scheduler=scheduler)
    with torch.device("meta"):
        refiner = SdxlRefiner(config, code_dim)
    fill(refiner, state, str(source))
    refiner.vae.net.float()
    return refiner
