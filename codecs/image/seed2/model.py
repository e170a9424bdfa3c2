"""SEED's second tokenizer: 32 tokens a picture in causal order, for its semantics rather than its pixels.

Ge et al. 2023, "Making LLaMA SEE and Draw with SEED Tokenizer", arXiv 2310.01218. Parity checked against AILab-CVC/SEED @
93b3cf4081 (Tencent's licence text with Apache-2.0 for the code), class `Blip2QformerQuantizer`.

The EVA-CLIP tower encodes pictures `[B, 3, H, W]`; a Q-Former with N causal queries reads its features and returns `[B, C, N]`. A small
network maps these to D channels, and the nearest code gives ids `[B, 1, N]`. Another maps the codes back to the Q-Former's features
`[B, C, N]`, and a head maps all of them to one CLIP image embedding `[B, E]`, which Stable unCLIP decodes to a picture.

The published weights end at the embedding (`semantic(tokens, pooled=True)`). Pictures need a diffusion decoder: pass a diffusers
pipeline once, and `decode` runs that model's parts in its own loop, so that pictures are a function of `seed`:

    pipe = diffusers.StableUnCLIPImg2ImgPipeline.from_pretrained("stabilityai/stable-diffusion-2-1-unclip")
    tok.set_decoder(pipe).decode(tokens, seed=1)

Letters: B batch, H W pixels, N queries = positions, C width of the Q-Former, D code width, E width of the embedding.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...coding import Batch
from ...config import ConfigError
from ...layers.draws import same_draws
from ...layers.qformer import QFormer, QFormerConfig
from ...layers.vision_tower import CLIP_MEAN, CLIP_STD, TowerConfig, VisionTower
from ...layers.vit import init_linear
from ...options import GuidedDecodeOptions
from ...quantizers.base import Quantizer
from ...spec import ImageSpec
from ...tokenizer import NotDecodable, Reconstruction
from ..base import ImageTokenizer, resize_image
from .codes import Seed2Codes, Seed2CodesConfig
from .unclip import UnclipConfig, UnclipDecoder


@dataclass(frozen=True, kw_only=True)
class Seed2Config:
    """Settings of `Seed2`; the defaults are the published ones (EVA-CLIP-g, BERT-base).

    Attributes:
        tower: settings of the image encoder; its class token is used too.
        qformer: settings of the Q-Former, with causal queries.
        train_encoder: whether tower and Q-Former are trained; the published ones are frozen.
        codes: settings of the maps to the codes and back, see `Seed2CodesConfig`.
        decoder: settings of the diffusion decoder; None: `decode` needs one from `set_decoder`.
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


@dataclass(frozen=True, kw_only=True)
class Seed2DecodeOptions(GuidedDecodeOptions):
    """Options of `Seed2.decode`; `noise` is the start of the diffusion; `seed` also determines the noise on the embedding.

    Attributes:
        steps: diffusion steps, 1 to 10,000; None: the decoder's default. The authors use 20.
        guidance: classifier-free guidance scale, 1: no guidance; None: the decoder's default. The authors use 10.
    """


class Seed2(ImageTokenizer):
    """Pictures in 0..1, resized to the tower's square, to ids `[B, 1, N]`, and back if there is a diffusion decoder."""

    family: ClassVar[str] = "seed2"
    config_class: ClassVar[type] = Seed2Config
    decode_options = Seed2DecodeOptions
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
            part.apply(init_linear).requires_grad_(c.train_encoder)
        self.codes = Seed2Codes(c.codes)
        self.decoder = UnclipDecoder(c.decoder, c.codes.embedding_dim) if c.decoder else None
        self.register_buffer("pixel_mean", torch.tensor(CLIP_MEAN)[:, None, None], persistent=False)
        self.register_buffer("pixel_std", torch.tensor(CLIP_STD)[:, None, None], persistent=False)
        self.spec = ImageSpec.of(
            self.codes.quantizer,
            stride=0,
            image_size=(c.tower.image_size, c.tower.image_size),
            num_positions=c.codes.num_queries,
            value_range=(0.0, 1.0),
            resize="squash",
            decodes=c.decoder is not None,
            semantic_dim=c.codes.width,
        )

    @property
    def quantizer(self) -> Quantizer:
        """The codebook, which belongs to `codes`."""
        return self.codes.quantizer

    def set_decoder(self, pipeline: Any) -> "Seed2":
        """Make the networks of a diffusers `StableUnCLIPImg2ImgPipeline` this tokenizer's diffusion decoder.

        Returns:
            The tokenizer itself. `save_pretrained` writes the decoder's weights too; they keep their own licence.

        Raises:
            ValueError: a pipeline of another kind or width.
        """
        decoder = UnclipDecoder.from_pipeline(pipeline, self.config.codes.embedding_dim)
        self.decoder = decoder.to(device=self.device, dtype=self.dtype).train(self.training)
        self.config = dataclasses.replace(self.config, decoder=decoder.config)
        self.spec = dataclasses.replace(self.spec, decodes=True)
        return self

    def check_decodes(self) -> None:
        """Raise `NotDecodable`, which explains `set_decoder`, if there is no diffusion decoder."""
        if self.decoder is None:
            raise NotDecodable(
                "this seed2 tokenizer ends at an image embedding: semantic(tokens, pooled=True). Pictures need a diffusion decoder: "
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
        return self._diffusion_decoder()(self.codes.embedding(self.codes.decode_latents(z_q)), **options)

    def _diffusion_decoder(self) -> UnclipDecoder:
        self.check_decodes()
        assert self.decoder is not None
        return self.decoder

    # --- tokens -----------------------------------------------------------------------------------------------------

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Decode ids `[B, 1, N]` to pictures `[B, 3, h, w]` by diffusion from noise."""
        o: Seed2DecodeOptions = batch.options
        noise, shape = batch.rows("noise"), self._diffusion_decoder().latent_shape
        if noise is not None and noise.shape[1:] != shape:
            raise ValueError(f"noise of a picture is {list(noise.shape[1:])}, expected {list(shape)}.")
        start = None if noise is None else noise.to(self.device)
        return self.decode_latents(self.vectors_of(ids), noise=start, seed=o.seed, steps=o.steps, guidance=o.guidance)

    def semantic_of(self, ids: Tensor, grid: tuple[int, ...] | None) -> Tensor:
        """Reconstructed Q-Former features `[B, C, N]` of ids `[B, 1, N]`."""
        return self.codes.semantic_of(ids, grid)

    def pooled_of(self, features: Tensor) -> Tensor:
        """Image embedding `[B, E]` of features `[B, C, N]`, as the authors' `get_codebook_entry`."""
        return self.codes.pooled_of(features)

    def forward(self, x: Tensor) -> Reconstruction:
        """In eval mode `encode` and `decode` of `[B, 3, H, W]`. In training one step of the diffusion at random times.

        `features` are those that the authors train on: `queries` `[B, C, N]` of the Q-Former, their reconstruction `queries_hat`, and
        `embedding` `[B, E, 1]`, whose target is CLIP's. With a diffusion decoder also `prediction` and `prediction_target`
        `[B, C, h, w]` of one step (in eval mode always the same one), whose squared distance is the diffusion's loss; training's
        `x_hat` is then the step's estimate. Without a diffusion decoder `x_hat` is the embedding.
        """
        queries, size = self.query_features(x), (x.shape[-2], x.shape[-1])
        z = self.codes.encode_latents(queries)
        quantized = self.quantizer(z)
        queries_hat = self.codes.decode_latents(quantized.z_q)
        embedding = self.codes.embedding(queries_hat)
        features = {"queries": queries, "queries_hat": queries_hat, "embedding": embedding.unsqueeze(2)}
        if self.decoder is None:
            return Reconstruction(x_hat=features["embedding"], z=z, quantized=quantized, features=features)
        diffusion = self.decoder
        side = 2 ** (len(diffusion.vae.config.block_out_channels) - 1) * diffusion.latent_shape[1]
        with same_draws(x.device, active=not self.training):
            y, prediction, target = diffusion.denoise_once(embedding, _resized(x, (side, side)))
        features |= {"prediction": prediction, "prediction_target": target}
        y = y if self.training else diffusion(embedding)
        return Reconstruction(x_hat=_resized(y, size), z=z, quantized=quantized, features=features)


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize `[B, 3, H, W]` to `size` (height, width), as `decode` does."""
    if x.shape[-2:] == size:
        return x
    return torch.stack([resize_image(one, size, crop=False, value_range=None) for one in x])
