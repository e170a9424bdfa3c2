"""DetailFlow: ordered groups of tokens, of which the first few decode to a smaller picture and more of them to finer detail.

Liu et al. 2025, "DetailFlow: 1D Coarse-to-Fine Autoregressive Image Generation via Next-Detail Prediction", arXiv 2505.21473; read
from and compared with ByteFlow-AI/DetailFlow @ c5f06cdc99 (Apache-2.0), class `VQModel` with SigLIP 2's layers.

A transformer reads patches and T learned queries in one sequence. Patches see patches alone; a query sees all patches and the queries
of its own group and of those before (of the first group only those before it), so a token does not depend on later ones. Its states
become ids. The decoder reads mask tokens of a grid and the first t codes; the grid's side follows from t by a power law, from one
patch to the whole picture.

Self-correction in training (`correction`), for generators that draw the tokens of a group at once: one group gets codes near its own;
the encoder reads them, and the codes before them, in place of its queries, and gives the tokens behind them anew, so that these make up
for the error. Such pictures are decoded from the noisy codes and the new ones.

Differs: the authors decode each picture of a step twice, from its own codes and from corrected ones; here a share of the pictures is
decoded from corrected codes and the others from their own. Noisy codes are drawn among those near the code, theirs near the latent. In
a training step that leaves tokens out, the decoded smaller picture is compared with the reduced one as the features `picture` and
`picture_target`, and `x_hat` is it, enlarged; the authors give the whole step the reduced picture as its target.

Letters: B batch, H W pixels, T tokens, t tokens that are decoded, G tokens of a group, D latent width, C width of a transformer, p
patch.
"""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...coding import Batch
from ...config import ConfigError
from ...layers.vit import PatchesToPixels, ViTBlock, embedding
from ...options import OrderedEncodeOptions, check_at_least
from ...quantizers.base import Quantized, QuantizerConfig
from ...quantizers.vq import VQConfig
from ...spec import ImageSpec
from ...start import start_positions
from ...tokenizer import Reconstruction
from ..base import ImageTokenizer


@dataclass(frozen=True, kw_only=True)
class QueryTransformerConfig:
    """Settings of one of the two transformers.

    Attributes:
        width, layers, heads: C, number of blocks and of attention heads.
        hidden: hidden width of the MLPs.
        table: side of the stored grid of positions, interpolated to the grid that is needed.
        causal: whether tokens are hidden from earlier groups.
    """

    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    table: int = 16
    causal: bool = False


@dataclass(frozen=True, kw_only=True)
class CorrectionConfig:
    """Self-correction in training; see the module's docstring.

    Attributes:
        share: of the pictures of a step that are decoded from corrected codes, its first ones.
        neighbours: number of nearest codes among which a noisy one is drawn.
    """

    moving: ClassVar[tuple[str, ...]] = ("share", "neighbours")
    share: float = 0.5
    neighbours: int = 50

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ConfigError(f"correction.share is {self.share}; it is a share of the pictures, 0 to 1.")
        check_at_least("correction.neighbours", self.neighbours, 1)


@dataclass(frozen=True, kw_only=True)
class DetailFlowConfig:
    """Settings of `DetailFlow`; the defaults are those of DetailFlow-16.

    Attributes:
        image_size: side of the pictures in pixels.
        patch_size: p, of encoder and decoder.
        encoder, decoder: settings of both transformers.
        num_tokens: T, a multiple of `group_size`.
        group_size: G.
        first_tokens: tokens at the front that see only those before them; a multiple of G.
        power: how fast the side of the decoded picture grows with t; 1: evenly.
        latent_dim: D.
        quantizer: settings of any quantizer; its `dim` is filled in.
        cut_probability: share of training steps that leave tokens out.
        correction: self-correction in training, for quantizers with one id a token; None: none.
    """

    image_size: int = 256
    patch_size: int = 16
    encoder: QueryTransformerConfig = field(
        default_factory=lambda: QueryTransformerConfig(width=1152, heads=16, hidden=4304, causal=True)
    )
    decoder: QueryTransformerConfig = QueryTransformerConfig()
    num_tokens: int = 128
    group_size: int = 8
    first_tokens: int = 8
    power: float = 1.5
    latent_dim: int = 8
    quantizer: QuantizerConfig = VQConfig(
        codebook_size=8192, normalize=True, returns="normalized", update="gradient", commitment_weight=0.25, codebook_weight=1.0,
        kmeans_init=False, replace_below=0.0,
    )  # fmt: skip
    cut_probability: float = 0.2
    correction: CorrectionConfig | None = None

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            raise ConfigError(f"image_size {self.image_size} is no multiple of patch_size {self.patch_size}.")
        for name in ("num_tokens", "first_tokens"):
            if getattr(self, name) % self.group_size or not 0 < getattr(self, name) <= self.num_tokens:
                raise ConfigError(f"{name} is {getattr(self, name)}; a multiple of group_size {self.group_size} is needed.")
        if not 0 <= self.cut_probability <= 1:
            raise ConfigError(f"cut_probability is {self.cut_probability}; it is a probability, 0 to 1.")

    def whole(self, count: int) -> int:
        """The largest number of tokens up to `count` that the decoder was made for: any of the first ones, then whole groups."""
        return count if count <= self.first_tokens else count // self.group_size * self.group_size

    def exact_side(self, count: int) -> int:
        """Side in pixels of the picture that `count` tokens stand for."""
        most, left = self.num_tokens, self.num_tokens - count
        if most == 1:
            return self.image_size
        side = int(self.image_size - (self.image_size - 1) / (most - 1) ** self.power * left**self.power)
        return min(max(side, 1), self.image_size)

    def side(self, count: int) -> int:
        """`exact_side` in whole patches, the side of the decoded picture."""
        return -(-self.exact_side(count) // self.patch_size) * self.patch_size


class QueryTransformer(nn.Module):
    """Blocks over one sequence of cells of a grid and tokens; base of encoder and decoder.

    Args:
        config: settings.
        tokens: T.
    """

    def __init__(self, config: QueryTransformerConfig, tokens: int) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.positions = nn.Parameter(torch.randn(config.table**2, width) * start_positions(width, width**-0.5))
        self.token_positions = embedding(tokens, width)
        ratio = (config.hidden + 0.5) / width  # the blocks multiply it by the width and round down to `hidden`
        self.blocks = nn.ModuleList(ViTBlock(width, config.heads, mlp_ratio=ratio, eps=1e-6, gelu="tanh") for _ in range(config.layers))
        self.norm_out = nn.LayerNorm(width, eps=1e-6)

    def grid_positions(self, side: int) -> Tensor:
        """Positions `[side side, C]`, interpolated from the table."""
        n = self.config.table
        square = self.positions.t().unflatten(1, (n, n))[None].float()
        fitted = F.interpolate(square, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
        return fitted[0].flatten(1).t().to(self.positions.dtype)

    def run(self, cells: Tensor, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """States of cells `[B, N, C]` and tokens `[B, t, C]`; `mask` `[N + t, N + t]`, True where a row sees a column."""
        x = torch.cat([cells, tokens + self.token_positions[: tokens.shape[1]]], dim=1)
        for block in self.blocks:
            x = block(x, mask)
        x = self.norm_out(x)
        return x[:, : cells.shape[1]], x[:, cells.shape[1] :]


def group_mask(cells: int, tokens: int, *, group: int, first: int, cells_see: bool, tokens_see: bool, device: Any = None) -> Tensor:
    """Mask `[N + t, N + t]`, True where a row sees a column: tokens see their own group and earlier ones.

    Args:
        cells, tokens: N and t.
        group, first: size of a group, and number of first tokens that see only those before them.
        cells_see: whether cells see tokens.
        tokens_see: whether tokens see cells.
    """
    number = torch.arange(tokens, device=device)
    last = torch.where(number < first, number, number // group * group + group - 1)
    mask = torch.ones(cells + tokens, cells + tokens, dtype=torch.bool, device=device)
    mask[:cells, cells:] = cells_see
    mask[cells:, :cells] = tokens_see
    mask[cells:, cells:] = number <= last[:, None]
    return mask


class DetailEncoder(QueryTransformer):
    """Pictures `[B, 3, H, W]` to states of T queries `[B, T, C]`."""

    def __init__(self, config: DetailFlowConfig) -> None:
        super().__init__(config.encoder, config.num_tokens)
        self.sizes = config
        self.patch_embed = nn.Conv2d(3, config.encoder.width, config.patch_size, stride=config.patch_size)
        self.queries = embedding(config.num_tokens, config.encoder.width)
        corrects = config.correction is not None
        self.refined_queries = embedding(config.num_tokens, config.encoder.width) if corrects else None
        self.from_code = nn.Linear(config.latent_dim, config.encoder.width) if corrects else None

    def forward(self, x: Tensor, codes: Tensor | None = None) -> Tensor:
        """Encode `[B, 3, H, W]`, H = W; codes `[B, n, D]` take the place of the first n queries, and others that of the rest."""
        y, c = self.patch_embed(x), self.sizes
        cells = y.flatten(2).transpose(1, 2) + self.grid_positions(y.shape[2])
        mask = None
        if self.config.causal:
            more = {"group": c.group_size, "first": c.first_tokens, "device": x.device}
            mask = group_mask(cells.shape[1], c.num_tokens, cells_see=False, tokens_see=True, **more)
        queries = self.queries.expand(len(x), -1, -1)
        if codes is not None:
            assert self.from_code is not None and self.refined_queries is not None
            rest = self.refined_queries[codes.shape[1] :].expand(len(x), -1, -1)
            queries = torch.cat([self.from_code(codes), rest], dim=1)
        return self.run(cells, queries, mask)[1]


class DetailDecoder(QueryTransformer):
    """Codes of t tokens `[B, t, C]` to pictures `[B, 3, s, s]`."""

    def __init__(self, config: DetailFlowConfig) -> None:
        super().__init__(config.decoder, config.num_tokens)
        self.sizes = config
        self.mask_token = embedding(1, config.decoder.width)
        self.to_pixels = PatchesToPixels(config.decoder.width, config.patch_size)

    def forward(self, codes: Tensor) -> Tensor:
        """Decode `[B, t, C]`; the side s follows from t."""
        c, side = self.sizes, self.sizes.side(codes.shape[1]) // self.sizes.patch_size
        cells = (self.mask_token + self.grid_positions(side)).expand(len(codes), -1, -1)
        mask = None
        if self.config.causal:
            more = {"group": c.group_size, "first": c.first_tokens, "device": codes.device}
            mask = group_mask(cells.shape[1], codes.shape[1], cells_see=True, tokens_see=False, **more)
        y = self.run(cells, codes, mask)[0]
        return self.to_pixels(y.transpose(1, 2).unflatten(2, (side, side)))


class DetailFlow(ImageTokenizer):
    """Pictures of one size to ids `[B, K, T]` and back; any number of first tokens decodes; see the module's docstring."""

    family: ClassVar[str] = "detailflow"
    config_class: ClassVar[type] = DetailFlowConfig
    encode_options = OrderedEncodeOptions
    encoder_only = ("encoder", "to_code")
    decoder_only = ("from_code", "decoder")
    config: DetailFlowConfig

    def __init__(self, config: DetailFlowConfig) -> None:
        super().__init__()
        self.config = c = config
        self.encoder, self.decoder = DetailEncoder(c), DetailDecoder(c)
        self.to_code = nn.Linear(c.encoder.width, c.latent_dim)
        self.quantizer = c.quantizer.build(dim=c.latent_dim)
        if c.correction is not None and self.quantizer.num_codebooks != 1:
            raise ConfigError(f"correction draws noisy codes of one codebook; the quantizer has {self.quantizer.num_codebooks}.")
        self.from_code = nn.Linear(c.latent_dim, c.decoder.width)
        self.spec = ImageSpec.of(
            self.quantizer,
            prefix=("positions",),
            stride=0,
            image_size=(c.image_size, c.image_size),
            num_positions=c.num_tokens,
            resize="crop",
        )

    @property
    def requantizes(self) -> str:
        """See `Tokenizer`: self-correction encodes and quantizes some of the pictures anew."""
        return "correction.share" if self.config.correction is not None and self.config.correction.share > 0 else ""

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, T]` of pictures `[B, 3, H, W]`."""
        return self.to_code(self.encoder(x)).transpose(1, 2)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Pictures `[B, 3, s, s]` of the first tokens' latents `[B, D, t]`; tokens of a group that is not whole are left out."""
        count = self.config.whole(z_q.shape[2])
        return self.decoder(self.from_code(z_q[:, :, :count].transpose(1, 2)))

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Pictures `[B, 3, s, s]` of ids `[B, K, t]`."""
        return self.decode_latents(self.vectors_of(ids))

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct `[B, 3, H, W]`; features `picture` and `picture_target` `[B, 3, s, s]`, see the module's docstring.

        `first_token` is the quantized latent of the first token, `[B, D, 1]`.
        """
        c, z = self.config, self.encode_latents(x)
        quantized = self.quantizer(z)
        count, trains = c.num_tokens, self.training and torch.is_grad_enabled()
        if trains and float(torch.rand(())) < c.cut_probability:
            count = c.whole(int(torch.randint(1, c.num_tokens + 1, ())))
        z_q, first = quantized.z_q, quantized.z_q[:, :, :1]
        if trains and c.correction is not None:
            quantized = self.corrected(x, quantized, count)
            z_q = quantized.z_q
        picture = self.decode_latents(z_q[:, :, :count])
        target = x if picture.shape == x.shape else reduced(x, c.exact_side(count), picture.shape[2])
        x_hat = picture if picture.shape == x.shape else F.interpolate(picture, size=x.shape[2:], mode="bicubic", align_corners=False)
        features = {"picture": picture, "picture_target": target, "first_token": first}
        return Reconstruction(x_hat=x_hat, z=z, quantized=quantized, features=features)

    def corrected(self, x: Tensor, quantized: Quantized, count: int) -> Quantized:
        """`quantized` of a training step of pictures `[B, 3, H, W]`, with corrected codes for the first of them.

        Args:
            x: the pictures.
            quantized: of their own latents; its ids stay.
            count: t, tokens that will be decoded. The noisy ones lie before the last group of them.
        """
        c, correction = self.config, self.config.correction
        assert correction is not None
        some, last = math.ceil(correction.share * len(x)), count if count <= c.first_tokens else count - c.group_size
        start = int(torch.randint(last, ()))
        end = start + 1
        if start >= c.first_tokens:
            start = start // c.group_size * c.group_size
            end = start + c.group_size
        if not some or end == c.num_tokens or count == 1:
            return quantized
        ids = quantized.ids[:some, 0, :end].clone()
        near = self.quantizer.neighbours(0, ids[:, start:].flatten(), correction.neighbours)
        draw = torch.randint(near.shape[1], (len(near), 1), device=near.device)
        ids[:, start:] = near.gather(1, draw).unflatten(0, (some, -1))[..., 0]
        noisy = self.quantizer.decode(ids[:, None]).to(quantized.z_q.dtype).detach()  # [some, D, end]
        states = self.encoder(x[:some], noisy.transpose(1, 2))[:, end:]
        anew = self.quantizer(self.to_code(states).transpose(1, 2))
        z_q = torch.cat([torch.cat([noisy, anew.z_q], dim=2), quantized.z_q[some:]])
        rows, more = quantized.ids.numel(), anew.ids.numel()
        loss = (quantized.loss * rows + anew.loss * more) / (rows + more)
        return dataclasses.replace(quantized, z_q=z_q, loss=loss)


def reduced(x: Tensor, exact: int, side: int) -> Tensor:
    """Pictures `[B, 3, H, W]` as t tokens stand for them: averaged down to `exact` pixels, then enlarged to whole patches, `side`."""
    y = F.interpolate(x, size=(exact, exact), mode="area")
    return y if exact == side else F.interpolate(y, size=(side, side), mode="bicubic", align_corners=False)
