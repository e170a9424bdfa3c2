"""SEED's second tokenizer: 32 tokens a picture in causal order, which stand for what it means.

Ge et al. 2023, "Making LLaMA SEE and Draw with SEED Tokenizer", arXiv 2310.01218. Parity checked against AILab-CVC/SEED @
93b3cf4081 (Tencent's licence text with Apache-2.0 for the code), class `Blip2QformerQuantizer`.

Picture -> EVA-CLIP tower -> Q-Former with causal queries -> a small map -> codebook. Back: a small map to the Q-Former's
features, and a head that makes one CLIP image embedding of all of them; Stable unCLIP paints a picture of that.

What is published ends at the embedding (`decode_embedding`). For pictures it needs a painter: give it a diffusers pipeline
once, and `decode` runs that model's parts in its own loop, so that pictures are a function of `seed`:

    pipe = diffusers.StableUnCLIPImg2ImgPipeline.from_pretrained("stabilityai/stable-diffusion-2-1-unclip")
    tok.set_decoder(pipe).decode(tokens, seed=1)

Letters: B batch, H W pixels, N queries = positions, C width of the Q-Former, D code width, E width of the embedding.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...config import ConfigError
from ...layers.draws import same_draws
from ...layers.qformer import QFormer, QFormerConfig
from ...layers.vision_tower import CLIP_MEAN, CLIP_STD, TowerConfig, VisionTower
from ...quantizers.base import Quantizer
from ...spec import ImageSpec
from ...tokenizer import NotDecodable, Reconstruction
from ...tokens import Tokens
from ..base import ImageTokenizer, resize_image
from .codes import Seed2Codes, Seed2CodesConfig
from .unclip import UnclipConfig, UnclipDecoder


@dataclass(frozen=True, kw_only=True)
class Seed2Config:
    """Settings of `Seed2`; the defaults are the published ones (EVA-CLIP-g, BERT-base).

    Attributes:
        tower: the picture's encoder; its class token is read too.
        qformer: its queries are causal.
        train_encoder: whether tower and Q-Former learn; the published ones are frozen.
        codes: see `Seed2CodesConfig`.
        decoder: the painter; None: `decode` has to be given one by `set_decoder`.
    """

    tower: TowerConfig = field(
        default_factory=lambda: TowerConfig(
            image_size=224, patch_size=14, width=1408, layers=39, heads=16, hidden=6144, registers=0, layer_scale=None,
            norm_out="none",
        )
    )  # fmt: skip
    qformer: QFormerConfig = QFormerConfig(causal=True)
    train_encoder: bool = False
    codes: Seed2CodesConfig = Seed2CodesConfig()
    decoder: UnclipConfig | None = None

    def __post_init__(self) -> None:
        if self.qformer.width != self.codes.width:
            raise ConfigError(f"qformer.width {self.qformer.width} and codes.width {self.codes.width} must be equal.")


class Seed2(ImageTokenizer):
    """Pictures in 0..1, squeezed to the tower's square, to ids `[B, 1, N]`, and back where there is a decoder."""

    family: ClassVar[str] = "seed2"
    config_class: ClassVar[type] = Seed2Config
    encoder_only = ("tower", "tower_norm", "qformer", "codes.to_code")
    decoder_only = ("codes.from_code", "codes.head", "decoder")
    config: Seed2Config
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: Seed2Config) -> None:
        super().__init__()
        self.config = c = config
        self.tower = VisionTower(c.tower)
        self.tower_norm = nn.LayerNorm(c.tower.width)
        self.qformer = QFormer(c.qformer, num_queries=c.codes.num_queries, memory_width=c.tower.width)
        for part in (self.tower, self.tower_norm, self.qformer):
            part.requires_grad_(c.train_encoder)
        self.codes = Seed2Codes(c.codes)
        self.decoder = UnclipDecoder(c.decoder, c.codes.embedding_dim) if c.decoder else None
        self.register_buffer("pixel_mean", torch.tensor(CLIP_MEAN)[:, None, None], persistent=False)
        self.register_buffer("pixel_std", torch.tensor(CLIP_STD)[:, None, None], persistent=False)
        self.spec = ImageSpec(
            vocab_sizes=self.codes.quantizer.codebook_sizes,
            stride=0,
            image_size=(c.tower.image_size, c.tower.image_size),
            num_positions=c.codes.num_queries,
            value_range=(0.0, 1.0),
            resize="squash",
            decodes=c.decoder is not None,
        )

    @property
    def quantizer(self) -> Quantizer:  # type: ignore[override]
        """The codebook, which belongs to `codes`."""
        return self.codes.quantizer

    def set_decoder(self, pipeline: Any) -> "Seed2":
        """Take the painter out of a diffusers `StableUnCLIPImg2ImgPipeline`; from now on it is part of this tokenizer.

        Returns:
            The tokenizer itself. `save_pretrained` writes the painter's weights too; they keep their own licence.

        Raises:
            ValueError: a pipeline of another kind or width.
        """
        decoder = UnclipDecoder.from_pipeline(pipeline, self.config.codes.embedding_dim)
        self.decoder = decoder.to(device=self.device, dtype=self.dtype).train(self.training)
        self.config = dataclasses.replace(self.config, decoder=decoder.config)
        self.spec = dataclasses.replace(self.spec, decodes=True)
        return self

    def check_decodes(self) -> None:
        """Raise `NotDecodable`, which says how to give a painter, where there is none."""
        if self.decoder is None:
            raise NotDecodable(
                "this seed2 tokenizer ends at an image embedding: decode_embedding(tokens). For pictures give it a painter: "
                "tok.set_decoder(diffusers.StableUnCLIPImg2ImgPipeline.from_pretrained("
                "'stabilityai/stable-diffusion-2-1-unclip'))."
            )

    # --- latents ----------------------------------------------------------------------------------------------------

    def query_features(self, x: Tensor) -> Tensor:
        """Q-Former features `[B, C, N]` of pictures `[B, 3, H, W]` in 0..1."""
        seen = self.tower((x - self.pixel_mean) / self.pixel_std, patches_only=False)  # [B, 1 + patches, width]
        return self.qformer(self.tower_norm(seen)).transpose(1, 2)

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, N]` of pictures `[B, 3, H, W]`."""
        return self.codes.encode_latents(self.query_features(x))

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None, **options: Any) -> Tensor:
        """Pictures `[B, 3, h, w]` of the decoder's size, of latents `[B, D, N]`; `options` are those of `decode`."""
        return self._painter()(self.codes.embedding(self.codes.decode_latents(z_q)), **options)

    def _painter(self) -> UnclipDecoder:
        self.check_decodes()
        assert self.decoder is not None
        return self.decoder

    # --- tokens -----------------------------------------------------------------------------------------------------

    def decode_embedding(self, tokens: Tokens) -> Tensor:
        """Image embedding `[B, E]` of tokens, as the authors' `get_codebook_entry`."""
        return self.codes.decode_embedding(tokens)

    @torch.no_grad()
    def decode(
        self,
        tokens: Tokens,
        *,
        original: bool = True,
        noise: Tensor | None = None,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
    ) -> Tensor | list[Tensor]:
        """Paint pictures, as `ImageTokenizer.decode`.

        Args:
            tokens, original: as there; `original=False` gives the painter's own size.
            noise: start of the diffusion `[B, C, h, w]`; None: drawn from `seed`, the same for every picture.
            seed: see `noise`; it also draws the little noise on the embedding.
            steps, guidance: None takes the painter's; the authors use 20 and 10.

        Raises:
            NotDecodable: there is no painter; the message says how to give one.
        """
        painter = self._painter()
        if noise is not None and noise.shape != (len(tokens), *painter.latent_shape):
            raise ValueError(f"noise is {list(noise.shape)}, expected {[len(tokens), *painter.latent_shape]}.")

        def run(ids: Tensor, grid: tuple[int, ...], items: list[int]) -> Tensor:
            z_q = self.quantizer.decode(ids).to(self.dtype)
            start = None if noise is None else noise[items].to(self.device)
            return self.decode_latents(z_q, noise=start, seed=seed, steps=steps, guidance=guidance)

        return self.decode_with(tokens, run, original=original)

    def forward(self, x: Tensor) -> Reconstruction:
        """In eval mode `encode` and `decode` of `[B, 3, H, W]`. In training one step of the diffusion at random times.

        `features` are those the authors train on: `queries` `[B, C, N]` of the Q-Former with `queries_hat`, what the codes say of
        them, and `embedding` `[B, E, 1]`, which is to be CLIP's. With a painter also `prediction` and `prediction_target`
        `[B, C, h, w]` of one step (in eval mode always the same one), whose squared distance is the diffusion's loss; training's
        `x_hat` is then its estimate. Without a painter `x_hat` is the embedding.
        """
        queries, size = self.query_features(x), (x.shape[-2], x.shape[-1])
        z = self.codes.encode_latents(queries)
        quantized = self.quantizer(z)
        queries_hat = self.codes.decode_latents(quantized.z_q)
        embedding = self.codes.embedding(queries_hat)
        features = {"queries": queries, "queries_hat": queries_hat, "embedding": embedding.unsqueeze(2)}
        if self.decoder is None:
            return Reconstruction(x_hat=features["embedding"], z=z, quantized=quantized, features=features)
        painter = self.decoder
        side = 2 ** (len(painter.vae.config.block_out_channels) - 1) * painter.latent_shape[1]
        with same_draws(x.device, active=not self.training):
            y, prediction, target = painter.denoise_once(embedding, _resized(x, (side, side)))
        features |= {"prediction": prediction, "prediction_target": target}
        y = y if self.training else painter(embedding)
        return Reconstruction(x_hat=_resized(y, size), z=z, quantized=quantized, features=features)


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """`[B, 3, H, W]` at `size`, as `decode` resizes."""
    if x.shape[-2:] == size:
        return x
    return torch.stack([resize_image(one, size, crop=False, value_range=None) for one in x])
