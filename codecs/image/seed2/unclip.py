"""Stable unCLIP: a latent diffusion model from one CLIP image embedding to a picture.

unCLIP: Ramesh et al. 2022 (arXiv 2204.06125); latent diffusion: Rombach et al. 2022 (arXiv 2112.10752). The networks are
diffusers' own (`UNet2DConditionModel`, `AutoencoderKL`, a scheduler); the order of operations is that of its
`StableUnCLIPImg2ImgPipeline` with noise level 0 and an empty prompt, whose text states are kept as a table.

Letters: B batch, E width of the embedding, C h w VAE latents, H W pixels.
"""

from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ...config import ConfigError
from ...layers.diffusion_parts import SCHEDULERS, new_scheduler, plain_config
from ...precision import KeepsDtype


@dataclass(frozen=True, kw_only=True)
class UnclipConfig:
    """Settings of `UnclipDecoder`.

    Attributes:
        unet: arguments of diffusers' `UNet2DConditionModel`; `class_embed_type` is "projection" and takes 2 E numbers.
        vae: arguments of diffusers' `AutoencoderKL`.
        scheduler: `kind`, one of `SCHEDULERS`, and its arguments.
        prompt_tokens: length of the empty prompt's text states.
        train_unet: whether the U-Net is trained; the VAE is frozen.
        steps: denoising steps, unless an option of `decode` is given.
        guidance: classifier-free guidance scale (arXiv 2207.12598), unless an option of `decode` is given; 1: no guidance.
    """

    unet: dict[str, Any]
    vae: dict[str, Any]
    scheduler: dict[str, Any] = field(default_factory=lambda: {"kind": "DDIMScheduler", "prediction_type": "v_prediction"})
    prompt_tokens: int = 77
    train_unet: bool = False
    steps: int = 20
    guidance: float = 10.0

    def __post_init__(self) -> None:
        if self.scheduler.get("kind") not in SCHEDULERS:
            raise ConfigError(f"scheduler.kind is {self.scheduler.get('kind')!r}; allowed: {', '.join(SCHEDULERS)}.")
        if self.unet.get("class_embed_type") != "projection":
            raise ConfigError("unet.class_embed_type must be 'projection': the embedding is the class condition.")


class UnclipDecoder(KeepsDtype):
    """Embeddings `[B, E]` to pictures `[B, 3, H, W]` in 0..1, drawn from noise."""

    # diffusers' type annotations: dicts for configs, whose keys are attributes too, and tuples for results.
    unet: Any
    vae: Any
    prompt: Tensor
    exact = ("embedding_mean", "embedding_std", "embedding_alpha")
    embedding_mean: Tensor
    embedding_std: Tensor
    embedding_alpha: Tensor

    def __init__(self, config: UnclipConfig, embedding_dim: int) -> None:
        super().__init__()
        from diffusers import AutoencoderKL, UNet2DConditionModel

        self.config = config
        self.unet = UNet2DConditionModel(**config.unet).requires_grad_(config.train_unet)
        self.vae = AutoencoderKL(**config.vae).eval().requires_grad_(False)
        own = cast(Any, self.unet.config)
        if own.projection_class_embeddings_input_dim != 2 * embedding_dim:
            raise ConfigError(
                f"the U-Net takes embeddings of {own.projection_class_embeddings_input_dim // 2} numbers, the codes have "
                f"{embedding_dim}; only the model that the codes were trained for fits."
            )
        self.latent_shape = (own.in_channels, own.sample_size, own.sample_size)
        width = own.cross_attention_dim
        self.register_buffer("prompt", torch.zeros(config.prompt_tokens, width if isinstance(width, int) else width[0]))
        # Statistics of CLIP embeddings, and the share of the signal at noise level 0.
        self.register_buffer("embedding_mean", torch.zeros(embedding_dim))
        self.register_buffer("embedding_std", torch.ones(embedding_dim))
        self.register_buffer("embedding_alpha", torch.ones(()))

    @classmethod
    def from_pipeline(cls, pipeline: Any, embedding_dim: int) -> "UnclipDecoder":
        """Build from the networks of a diffusers `StableUnCLIPImg2ImgPipeline`; weights are shared, not copied.

        Raises:
            ValueError: another kind of pipeline, or one whose embeddings have another width.
        """
        parts = ("unet", "vae", "text_encoder", "tokenizer", "image_normalizer", "image_noising_scheduler", "scheduler")
        missing = [p for p in parts if getattr(pipeline, p, None) is None]
        if missing:
            raise ValueError(
                f"{type(pipeline).__name__} lacks {', '.join(missing)}; pass diffusers' StableUnCLIPImg2ImgPipeline, loaded "
                "with all its parts but the image encoder."
            )
        text = pipeline.encode_prompt("", pipeline.device, 1, False)[0][0]  # [prompt_tokens, width]
        scheduler = {"kind": type(pipeline.scheduler).__name__} | plain_config(pipeline.scheduler.config)
        config = UnclipConfig(
            unet=plain_config(pipeline.unet.config),
            vae=plain_config(pipeline.vae.config),
            scheduler=scheduler,
            prompt_tokens=len(text),
        )
        with torch.device("meta"):
            self = cls(config, embedding_dim)
        self.unet, self.vae = pipeline.unet.eval().requires_grad_(False), pipeline.vae.eval().requires_grad_(False)
        self.prompt = text.detach()
        self.embedding_mean = pipeline.image_normalizer.mean.detach()[0]
        self.embedding_std = pipeline.image_normalizer.std.detach()[0]
        self.embedding_alpha = pipeline.image_noising_scheduler.alphas_cumprod[0].to(text)
        return self

    def train(self, mode: bool = True) -> "UnclipDecoder":
        """Switch the mode; the VAE stays as it is."""
        super().train(mode)
        self.vae.eval()
        return self

    def forward(
        self,
        embedding: Tensor,
        *,
        noise: Tensor | None = None,
        embedding_noise: Tensor | None = None,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
    ) -> Tensor:
        """Draw pictures `[B, 3, H, W]` in 0..1 of image embeddings.

        Args:
            embedding: image embeddings `[B, E]`.
            noise: start `[B, C, h, w]`, standard normal; None: drawn from `seed`, the same for every item.
            embedding_noise: `[B, E]`, added to the embeddings at noise level 0; None: drawn from `seed`, the same for every item.
            seed: seed of both noises, where they are None.
            steps, guidance: None: those of the config.
        """
        c = self.config
        steps, guidance = c.steps if steps is None else steps, c.guidance if guidance is None else guidance
        generator, batch = torch.Generator().manual_seed(seed), len(embedding)
        shapes = ((embedding.shape[1],), self.latent_shape)
        drawn = [torch.randn(shape, generator=generator, dtype=torch.float32) for shape in shapes]
        add = drawn[0].to(embedding).expand(batch, -1) if embedding_noise is None else embedding_noise.to(embedding)
        x = drawn[1].to(embedding).expand(batch, -1, -1, -1) if noise is None else noise.to(embedding)
        condition, guided = self.condition(embedding, add), guidance > 1
        if guided:
            condition = torch.cat([torch.zeros_like(condition), condition])
        scheduler = self.scheduler()
        scheduler.set_timesteps(steps, device=embedding.device)
        x = x * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            out = self.predict(scheduler.scale_model_input(torch.cat([x, x]) if guided else x, t), t, condition)
            if guided:
                free, bound = out.chunk(2)
                out = free + guidance * (bound - free)
            x = scheduler.step(out, t, x, return_dict=False)[0]
        return self.to_pixels(x)

    def condition(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """The U-Net's condition `[B, 2 E]`: the embedding `[B, E]` at noise level 0, then the level as cosines and sines (of 0)."""
        alpha = self.embedding_alpha
        scaled = (embedding - self.embedding_mean) / self.embedding_std
        noised = (alpha.sqrt() * scaled + (1 - alpha).sqrt() * noise) * self.embedding_std + self.embedding_mean
        half = embedding.shape[1] // 2
        level = F.pad(torch.ones_like(embedding[:, :half]), (0, embedding.shape[1] - half))
        return torch.cat([noised.to(embedding.dtype), level], dim=1)

    def predict(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The U-Net's output for noised latents `[B, C, h, w]` at time(s) t under a condition `[B, 2 E]`."""
        prompt = self.prompt.to(x).expand(len(x), -1, -1)
        return self.unet(x, t, encoder_hidden_states=prompt, class_labels=condition, return_dict=False)[0]

    def denoise_once(self, embedding: Tensor, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One training step at random times.

        Args:
            embedding: image embeddings `[B, E]`.
            pictures: `[B, 3, H, W]` in 0..1, of the decoder's size.

        Returns:
            Pictures of the one-step estimate, the U-Net's prediction `[B, C, h, w]` and its target.
        """
        import diffusers

        s = cast(Any, diffusers.DDPMScheduler.from_config(self.scheduler().config))
        with torch.no_grad():
            clean = self.vae.encode(pictures * 2 - 1).latent_dist.mode() * self.vae.config.scaling_factor
        t = torch.randint(s.config.num_train_timesteps, (len(clean),), device=clean.device)
        noise = torch.randn_like(clean)
        x = s.add_noise(clean, noise, t)
        out = self.predict(x, t, self.condition(embedding, torch.randn_like(embedding)))
        alpha = s.alphas_cumprod.to(clean)[t][:, None, None, None]
        if s.config.prediction_type == "v_prediction":
            target, estimate = s.get_velocity(clean, noise, t), alpha.sqrt() * x - (1 - alpha).sqrt() * out
        elif s.config.prediction_type == "epsilon":
            target, estimate = noise, (x - (1 - alpha).sqrt() * out) / alpha.sqrt()
        else:
            target, estimate = clean, out
        return self.to_pixels(estimate), out, target

    def to_pixels(self, latents: Tensor) -> Tensor:
        """Pictures in 0..1 `[B, 3, H, W]` of latents `[B, C, h, w]`."""
        return self.vae.decode(latents / self.vae.config.scaling_factor, return_dict=False)[0] / 2 + 0.5

    def scheduler(self) -> Any:
        """A new scheduler for each call, since schedulers keep state from step to step."""
        return new_scheduler(self.config.scheduler)
