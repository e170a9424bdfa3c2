"""GigaTok and ReTok: a convolutional grid resampled into ordered 1-D tokens; ReTok adds redundant tokens.

GigaTok: Xiong et al. 2025, "GigaTok: Scaling Visual Tokenizers to 3 Billion Parameters for Autoregressive Image Generation", arXiv
2504.08736; parity checked against SilentView/GigaTok @ 182920c52b (MIT). ReTok: Fu et al. 2026, "Improving Flexible Image Tokenizers
for Autoregressive Image Generation", arXiv 2601.01535; parity checked against zfu006/ReTok @ ffaa8a7b4e (no licence stated; derived
from GigaTok). The class is called `VQVitModelPlus` in both repositories. Own code from the published facts.

A convolutional encoder maps pictures `[B, 3, H, W]` to a grid `[B, C, g, g]`. In a transformer, queries attend to the grid and become
tokens, which are mapped to D channels `[B, D, n]` and quantized: ids `[B, K, n]`. In a second transformer, g x g queries attend to the
quantized tokens and become a grid again, which a convolutional decoder maps to `[B, 3, H, W]`.

Queries are means of the grid over ever finer blocks (1, 1, 2, 4, ... N/2 blocks): early tokens describe the whole picture.
ReTok's redundant tokens start from queries `first`..N once more, with separate position vectors. Its decoder reads the first
N tokens, or any number that is requested; the grid queries all start from the first token.

Letters: B batch, H W pixels, g grid side, C channels of the grid, N main tokens, W width, D latent width.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...coding import Batch
from ...layers.qformer import QueryLayer
from ...layers.vit import TransformerSize, embedding, init_linear
from ...layers.vqgan import DecoderConfig, EncoderConfig, VQGANDecoder, VQGANEncoder
from ...options import DecodeOptions, EncodeOptions, ImageEncodeOptions, OrderedEncodeOptions, check_at_least
from ...quantizers.base import QuantizerConfig
from ...quantizers.vq import VQConfig
from ...spec import ImageSpec
from ...start import start_positions
from ...tokenizer import Reconstruction
from ..base import ImageTokenizer
from .start import start_narrow

_PLAIN = ("residual", "residual")


@dataclass(frozen=True, kw_only=True)
class ReTokConfig:
    """Settings of `ReTok`; the defaults are those of ReTok's VQ_SB256.

    Attributes:
        image_size: side of the pictures in pixels, H = W.
        encoder, decoder: settings of the convolutional encoder and decoder; see `layers/vqgan.py`.
        z_channels: C, channels of the grid.
        sampler: size of the transformer from the grid to tokens.
        unsampler: size of the transformer from tokens to a grid.
        qk_norm: LayerNorm of queries and keys in sampler and unsampler.
        num_tokens: N, number of main tokens, a power of two.
        first: number of first queries without a redundant token; there are N - first redundant tokens. N: none (GigaTok).
        queries: initial values of tokens: means over blocks of the grid, the mean of the whole grid, or learned vectors.
        learned_grid_queries: the decoder's grid queries are learned vectors, not the first token.
        latent_dim: D, channels of the latents.
        quantizer: settings of any quantizer with one codebook; its `dim` is filled in.
        feature_after: layers of the unsampler after which features are predicted, to be compared with a teacher's; 0: none.
        grid_features: predict these features from the encoder's grid instead.
        feature_dim: width of the predicted features (DINOv2-B: 768).
        prefix: any number of first tokens can be decoded. False in GigaTok, which was trained with all tokens only.
        random_length: in training the decoder reads a random number of first tokens, `least_length` to all of them, each number
            with equal probability; otherwise N, and redundant tokens are trained by the quantizer's loss alone. The redundant tokens
            are the first that a shorter sequence loses, so the last main tokens are read as often as they are.
        least_length: least of these numbers; N: the main tokens are always read.
    """

    image_size: int = 256
    encoder: EncoderConfig = EncoderConfig(middle=_PLAIN)
    decoder: DecoderConfig = DecoderConfig(middle=_PLAIN, resample="depth_to_space", condition="adaptive")
    z_channels: int = 256
    sampler: TransformerSize = TransformerSize(layers=6)
    unsampler: TransformerSize = TransformerSize(width=768, layers=12, heads=12)
    qk_norm: bool = False
    num_tokens: int = 256
    first: int = 32
    queries: Literal["blocks", "mean", "learned"] = "blocks"
    learned_grid_queries: bool = False
    latent_dim: int = 8
    quantizer: QuantizerConfig = VQConfig(
        codebook_size=16384, normalize=True, returns="normalized", update="gradient", kmeans_init=False, gradient="rotation"
    )
    feature_after: int = 3
    grid_features: bool = False
    feature_dim: int = 768
    prefix: bool = True
    random_length: bool = True
    least_length: int = 1

    @property
    def grid_size(self) -> int:
        """Side g of the convolutional grid."""
        return self.image_size // self.encoder.stride

    @property
    def all_tokens(self) -> int:
        """Number of main and redundant tokens together, 2 N - first."""
        return 2 * self.num_tokens - self.first

    def __post_init__(self) -> None:
        if not 0 < self.first <= self.num_tokens:
            raise ValueError(f"first is {self.first}; it lies in 1 to num_tokens, {self.num_tokens}.")
        if not 1 <= self.least_length <= self.num_tokens:
            raise ValueError(f"least_length is {self.least_length}; it lies in 1 to num_tokens, {self.num_tokens}.")
        if self.queries == "blocks" and self.num_tokens & (self.num_tokens - 1):
            raise ValueError(f"num_tokens is {self.num_tokens}; means over blocks need a power of two.")
        if self.image_size % self.encoder.stride or self.encoder.stride != self.decoder.stride:
            strides = (self.encoder.stride, self.decoder.stride)
            raise ValueError(f"image_size {self.image_size} does not fit the strides {strides}.")


class Sampler(nn.Module):
    """Grid `[B, C, g, g]` to tokens `[B, n, C]`, n main and redundant ones."""

    def __init__(self, config: ReTokConfig) -> None:
        super().__init__()
        self.config = c = config
        width = c.sampler.width
        self.norm_in = nn.LayerNorm(c.z_channels)
        self.embed = nn.Linear(c.z_channels, width)
        self.grid_positions = positions_of(c.grid_size**2, width)
        self.positions, self.redundant_positions = token_positions(c, width)
        self.queries = embedding(c.num_tokens, width) if c.queries == "learned" else None
        self.query = nn.Linear(width, width) if c.queries != "learned" else None
        self.layers = nn.ModuleList(QueryLayer(width, c.sampler.heads, qk_norm=c.qk_norm) for _ in range(c.sampler.layers))
        self.norm_out = nn.LayerNorm(width)
        self.head = nn.Linear(width, c.z_channels)

    def forward(self, grid: Tensor) -> Tensor:
        """Tokens `[B, n, C]` of a grid `[B, C, g, g]`."""
        memory = self.embed(self.norm_in(grid.flatten(2).transpose(1, 2)))  # [B, g g, W]
        queries = self.start(memory.transpose(1, 2).unflatten(2, grid.shape[2:]))
        x = torch.cat([queries, queries[:, self.config.first :]], dim=1)
        positions = joined(self.positions, self.redundant_positions)
        for layer in self.layers:
            x = layer(x, memory, positions, self.grid_positions)
        return self.head(self.norm_out(x))

    def start(self, grid: Tensor) -> Tensor:
        """Queries `[B, N, W]` over a grid `[B, W, g, g]`."""
        n = self.config.num_tokens
        if self.query is None:
            assert self.queries is not None
            return self.queries.expand(len(grid), -1, -1)
        if self.config.queries == "mean":
            return self.query(grid.mean(dim=(2, 3)))[:, None].expand(-1, n, -1)
        return self.query(block_means(grid, n))


def token_positions(config: ReTokConfig, width: int) -> tuple[nn.Parameter, nn.Parameter | None]:
    """Position vectors of the main tokens, and of the redundant tokens, if any."""
    more = config.all_tokens - config.num_tokens
    return positions_of(config.num_tokens, width), positions_of(more, width) if more else None


def positions_of(count: int, width: int) -> nn.Parameter:
    """A table of position vectors `[count, W]`."""
    return nn.Parameter(torch.randn(count, width) * start_positions(width, width**-0.5))


def joined(main: Tensor, redundant: Tensor | None) -> Tensor:
    """Position vectors of all tokens, main before redundant ones."""
    return main if redundant is None else torch.cat([main, redundant])


def block_means(x: Tensor, count: int) -> Tensor:
    """Means of `[B, W, g, g]` over the whole grid (twice), its halves, quarters, ... up to `count` means: `[B, count, W]`.

    Blocks are split across columns first, then across rows, and so on.
    """
    parts = []
    for group in range(count.bit_length()):
        level = max(group - 1, 0)
        block = (x.shape[2] // 2 ** (level // 2), x.shape[3] // 2 ** ((level + 1) // 2))
        if 0 in block:
            raise ValueError(f"a grid of {list(x.shape[2:])} cannot be split into {count} blocks.")
        parts.append(F.avg_pool2d(x, block).flatten(2).transpose(1, 2))
    return torch.cat(parts, dim=1)


class Unsampler(nn.Module):
    """Tokens `[B, n, C]` to a grid `[B, C, g, g]`."""

    def __init__(self, config: ReTokConfig) -> None:
        super().__init__()
        self.config = c = config
        width = c.unsampler.width
        self.norm_in = nn.LayerNorm(c.z_channels)
        self.embed = nn.Linear(c.z_channels, width)
        self.grid_positions = positions_of(c.grid_size**2, width)
        self.grid_queries = embedding(c.grid_size**2, width) if c.learned_grid_queries else None
        self.positions, self.redundant_positions = token_positions(c, width)
        self.layers = nn.ModuleList(
            QueryLayer(width, c.unsampler.heads, qk_norm=c.qk_norm) for _ in range(c.unsampler.layers)
        )
        self.norm_out = nn.LayerNorm(width)
        self.head = nn.Conv2d(width, c.z_channels, 3, padding=1)
        self.features = feature_head(width, c.feature_dim) if c.feature_after else None

    def forward(self, tokens: Tensor, *, want_features: bool = False) -> tuple[Tensor, Tensor | None]:
        """The grid `[B, C, g, g]`, and predicted features `[B, g g, feature_dim]` if requested, else None."""
        memory, features = self.embed(self.norm_in(tokens)), None  # [B, n, W]
        positions = joined(self.positions, self.redundant_positions)[: memory.shape[1]]
        if self.grid_queries is None:
            x = memory[:, :1].expand(-1, self.config.grid_size**2, -1)
        else:
            x = self.grid_queries.expand(len(tokens), -1, -1)
        for number, layer in enumerate(self.layers, 1):
            x = layer(x, memory, self.grid_positions, positions)
            if want_features and self.features is not None and number == self.config.feature_after:
                features = self.features(x)
        grid = self.norm_out(x).transpose(1, 2).unflatten(2, (self.config.grid_size,) * 2).contiguous()
        return self.head(grid), features


def feature_head(width: int, out: int) -> nn.Sequential:
    """Three linear maps with SiLU between (REPA, arXiv 2410.06940)."""
    hidden = 4 * width
    return nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, out))


@dataclass(frozen=True, kw_only=True)
class ReTokDecodeOptions(DecodeOptions):
    """Options of `ReTok.decode`.

    Attributes:
        num_tokens: number of tokens that are decoded; None: at most the N main ones, as in the authors' code.
    """

    num_tokens: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("num_tokens", self.num_tokens, 1)


class ReTok(ImageTokenizer):
    """Pictures of one size to N main tokens and, in ReTok, N - first redundant ones; see the module's docstring."""

    family: ClassVar[str] = "retok"
    config_class: ClassVar[type] = ReTokConfig
    encode_options: type[EncodeOptions] = OrderedEncodeOptions
    decode_options = ReTokDecodeOptions
    encoder_only = ("encoder", "sampler", "to_latent")
    decoder_only = ("from_latent", "unsampler", "decoder")

    def __init__(self, config: ReTokConfig) -> None:
        super().__init__()
        self.config = c = config
        self.encoder = VQGANEncoder(c.encoder, c.z_channels)
        self.sampler = Sampler(c)
        self.to_latent = nn.Linear(c.z_channels, c.latent_dim)
        self.quantizer = c.quantizer.build(dim=c.latent_dim)
        self.from_latent = nn.Linear(c.latent_dim, c.z_channels)
        self.unsampler = Unsampler(c)
        self.decoder = VQGANDecoder(c.decoder, c.z_channels)
        self.features = feature_head(c.z_channels, c.feature_dim) if c.grid_features else None
        for part in (self.sampler, self.unsampler):
            part.apply(init_linear)
        self.encode_options = OrderedEncodeOptions if c.prefix else ImageEncodeOptions
        self.spec = ImageSpec.of(
            self.quantizer,
            prefix=("positions",) if c.prefix else (),
            stride=0,
            image_size=(c.image_size, c.image_size),
            num_positions=c.all_tokens,
            resize="crop",
        )
        start_narrow(self)

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, 2 N - first]` of pictures `[B, 3, H, W]`."""
        return self._latents(self.encoder(x))

    def _latents(self, grid: Tensor) -> Tensor:
        return self.to_latent(self.sampler(grid)).transpose(1, 2)

    def decode_latents(
        self, z_q: Tensor, grid: tuple[int, ...] | None = None, *, num_tokens: int | None = None
    ) -> Tensor:
        """Pictures `[B, 3, H, W]` of latents `[B, D, n]`, from the first `num_tokens` of them; None: from the main tokens."""
        return self.decoder(self.decode_grid(z_q, num_tokens=num_tokens)[0])

    def decode_grid(
        self, z_q: Tensor, *, num_tokens: int | None = None, want_features: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """The grid `[B, C, g, g]` and, if requested, predicted features `[B, g g, feature_dim]` of latents `[B, D, n]`."""
        c = self.config
        count = min(z_q.shape[2], c.num_tokens if num_tokens is None else num_tokens)
        least = 1 if c.prefix else c.num_tokens
        if not least <= count <= c.all_tokens:
            allowed = f"{least} to {c.all_tokens}" if least < c.all_tokens else f"{least}"
            raise ValueError(f"{self.family}: {count} tokens; this tokenizer decodes {allowed}.")
        return self.unsampler(self.from_latent(z_q[:, :, :count].transpose(1, 2)), want_features=want_features)

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Pictures `[B, 3, H, W]` of ids `[B, K, n]`, or of any number of first positions."""
        return self.decode_latents(self.vectors_of(ids), num_tokens=batch.options.num_tokens)

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct `[B, 3, H, W]`.

        `features` are the encoder's `grid` and the decoder's `grid_hat` `[B, C, g, g]`, `predicted` `[B, feature_dim, g g]`, to be
        compared with a teacher's patches, and `left_out` `[1]`, the share of all tokens that the decoder did not read.
        """
        c, grid = self.config, self.encoder(x)
        z = self._latents(grid)
        quantized = self.quantizer(z)
        count = c.num_tokens
        if self.training and c.random_length:
            least = c.least_length if c.prefix else c.num_tokens
            count = int(torch.randint(least, c.all_tokens + 1, ()))
        grid_hat, predicted = self.decode_grid(quantized.z_q, num_tokens=count, want_features=True)
        features = {"grid": grid, "grid_hat": grid_hat, "left_out": grid.new_tensor([1 - count / c.all_tokens])}
        if self.features is not None:
            predicted = self.features(grid.flatten(2).transpose(1, 2))
        if predicted is not None:
            features["predicted"] = predicted.transpose(1, 2)
        return Reconstruction(x_hat=self.decoder(grid_hat), z=z, quantized=quantized, features=features)
