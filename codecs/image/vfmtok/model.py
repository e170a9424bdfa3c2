"""VFMTok: tokens that sample features of a frozen DINOv2 at places of their own, by deformable attention.

Zheng et al. 2025, "Vision Foundation Models as Effective Visual Tokenizers for Autoregressive Image Generation", arXiv 2507.08441. Read
from and compared with CVMI-Lab/VFMTok @ 828c780898 (Apache-2.0), class `VQModel`. Deformable attention: Zhu et al. 2020, arXiv
2010.04159, by bilinear samples of torch in place of the authors' CUDA kernel.

The tower's states after four of its blocks are mapped to one width. N learned queries, each with a point of a grid as its reference,
take weighted samples around that point from all four maps, then attend to the queries before them; their states are quantized. The
decoder's causal transformer reads the N codes, a class token and mask tokens of a grid; the grid's states become pixels in a
convolutional decoder. (The authors' sequence ends in registers, which nothing before them sees.)

With `predicts_features`, as in the authors' training, the same transformer reads the codes a second time, before mask tokens of another
kind on the tower's grid, and predicts the tower's last states, so that the codes keep what these mean. Decoding does without.

Differs: training has no dropout.

Letters: B batch, H W pixels, N queries, S maps, P samples a map and head, C width, D latent width, g side of the decoder's grid.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError
from ...layers.vision_tower import TowerConfig, VisionTower
from ...layers.vit import SelfAttention, embedding, init_linear
from ...layers.vqgan import DecoderConfig, VQGANDecoder
from ...quantizers.base import QuantizerConfig
from ...quantizers.vq import VQConfig
from ...recomputable import Recomputable
from ...spec import ImageSpec
from ...start import first_norm
from ...tokenizer import Reconstruction
from ..base import ImageTokenizer

#: Mean and deviation of ImageNet's colours in 0..1, with which DINOv2 normalises pictures.
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True, kw_only=True)
class VFMTokConfig:
    """Settings of `VFMTok`; the defaults are the published model's.

    Attributes:
        image_size: side of the pictures in pixels; whole patches of the tower and of the decoder.
        tower: settings of the frozen tower.
        levels: S blocks of the tower, counted from 0, after which its states are taken; the last one's are normalised.
        width, layers: C, and number of layers of encoder and decoder.
        encoder_heads, decoder_heads: number of attention heads.
        encoder_hidden, decoder_hidden: hidden widths of the MLPs.
        points: P.
        num_tokens: N, a square.
        table: side of the decoder's stored grid of positions, interpolated to g.
        latent_dim: D.
        quantizer: settings of any quantizer; its `dim` is filled in.
        decoder: settings of the convolutional decoder.
        predicts_features: a second pass of the decoder's transformer predicts the tower's last states, for a loss. The table is then
            that of the tower's grid.
    """

    image_size: int = 336
    tower: TowerConfig = TowerConfig(width=1024, layers=24, heads=16, hidden=4096, norm_out="affine", fit="offset")
    levels: tuple[int, ...] = (5, 11, 17, 23)
    width: int = 512
    layers: int = 6
    encoder_heads: int = 8
    decoder_heads: int = 8
    encoder_hidden: int = 1024
    decoder_hidden: int = 1368
    points: int = 4
    num_tokens: int = 256
    table: int = 24
    latent_dim: int = 12
    quantizer: QuantizerConfig = VQConfig(
        codebook_size=16384, normalize=True, returns="normalized", update="gradient", commitment_weight=0.25, codebook_weight=1.0,
        kmeans_init=False, replace_below=0.0,
    )  # fmt: skip
    decoder: DecoderConfig = field(default_factory=lambda: DecoderConfig(blocks=2))
    predicts_features: bool = False

    @property
    def patch_size(self) -> int:
        """Pixels on a side of a cell of the decoder's grid."""
        return 2 ** (len(self.decoder.widths) - 1)

    @property
    def side(self) -> int:
        """g."""
        return self.image_size // self.patch_size

    def __post_init__(self) -> None:
        for name, patch in (("the tower", self.tower.patch_size), ("the decoder", self.patch_size)):
            if self.image_size % patch:
                raise ConfigError(f"image_size {self.image_size} is no multiple of {patch}, the patch of {name}.")
        if self.predicts_features and self.table != self.image_size // self.tower.patch_size:
            raise ConfigError(
                f"table is {self.table}; with predicts_features it must be the side of the tower's grid, "
                f"{self.image_size // self.tower.patch_size}."
            )
        if round(self.num_tokens**0.5) ** 2 != self.num_tokens:
            raise ConfigError(f"num_tokens is {self.num_tokens}; a square is needed.")
        if (
            sorted(set(self.levels)) != list(self.levels)
            or not 0 <= min(self.levels, default=-1) <= self.levels[-1] < self.tower.layers
        ):
            raise ConfigError(f"levels is {self.levels}; rising numbers of blocks from 0 to {self.tower.layers - 1} are needed.")
        for name in ("encoder_heads", "decoder_heads"):
            if self.width % getattr(self, name):
                raise ConfigError(f"width {self.width} does not divide into {name} {getattr(self, name)}.")


class DeformableAttention(nn.Module):
    """Weighted bilinear samples of S maps around a reference point for each query.

    Args:
        width: C.
        maps, heads, points: S, number of heads, P.
    """

    def __init__(self, width: int, *, maps: int, heads: int, points: int) -> None:
        super().__init__()
        self.shape = (heads, maps, points)
        self.offsets = nn.Linear(width, heads * maps * points * 2)
        self.weights = nn.Linear(width, heads * maps * points)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        init_linear(self.value)
        init_linear(self.out)
        nn.init.zeros_(self.offsets.weight)  # at the start, each head looks in a direction of its own, in steps of a cell
        angle = torch.arange(heads) * (2 * torch.pi / heads)
        ways = torch.stack([angle.cos(), angle.sin()], dim=-1)
        ways = ways / ways.abs().amax(1, keepdim=True)  # [heads, 2]
        steps = torch.arange(1, points + 1)[:, None]
        with torch.no_grad():
            self.offsets.bias.copy_((ways[:, None, None] * steps).expand(heads, maps, points, 2).flatten())

    def forward(self, x: Tensor, references: Tensor, maps: list[Tensor]) -> Tensor:
        """Attend.

        Args:
            x: queries `[B, N, C]`.
            references: points `[N, 2]` (x, y), each in 0..1 of the picture.
            maps: S maps `[B, C, h, w]`.
        """
        heads, count, points = self.shape
        offsets = self.offsets(x).unflatten(-1, (heads, count, points, 2))  # [B, N, heads, S, P, 2] in cells of a map
        weights = self.weights(x).unflatten(-1, (heads, count * points)).softmax(-1).unflatten(-1, (count, points))
        out = x.new_zeros(())
        for i, m in enumerate(maps):
            h, w = m.shape[2:]
            value = self.value(m.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(len(x) * heads, -1, h, w)
            places = references[:, None, None] + offsets[:, :, :, i] / offsets.new_tensor([w, h])  # [B, N, heads, P, 2]
            places = (2 * places - 1).transpose(1, 2).flatten(0, 1)
            value = value.to(places.dtype)  # float32 also in half precision, as a place needs its digits
            samples = F.grid_sample(
                value, places, mode="bilinear", padding_mode="zeros", align_corners=False
            )  # [B heads, C / heads, N, P]
            out = out + (samples * weights[:, :, :, i].transpose(1, 2).flatten(0, 1)[:, None]).sum(-1)
        return self.out(out.to(x.dtype).unflatten(0, (len(x), heads)).flatten(1, 2).transpose(1, 2))


class SamplingLayer(nn.Module, Recomputable):
    """Deformable attention, causal self-attention and an MLP, each added and then normalised; `[B, N, C]`."""

    def __init__(self, config: VFMTokConfig) -> None:
        super().__init__()
        c = config
        self.sampling = DeformableAttention(c.width, maps=len(c.levels), heads=c.encoder_heads, points=c.points)
        self.sampling_norm = nn.LayerNorm(c.width)
        self.attention = SelfAttention(c.width, c.encoder_heads)
        self.attention_norm = nn.LayerNorm(c.width)
        self.mlp = nn.Sequential(nn.Linear(c.width, c.encoder_hidden), nn.ReLU(), nn.Linear(c.encoder_hidden, c.width))
        self.mlp_norm = nn.LayerNorm(c.width)

    def forward(self, x: Tensor, positions: Tensor, references: Tensor, maps: list[Tensor], mask: Tensor) -> Tensor:
        """Apply the layer; `positions` `[N, C]`, the others as in `DeformableAttention` and `SelfAttention`."""
        x = self.sampling_norm(x + self.sampling(x + positions, references, maps))
        x = self.attention_norm(x + self.attention(x + positions, mask))
        return self.mlp_norm(x + self.mlp(x))


class CausalLayer(nn.Module, Recomputable):
    """x + attention(norm(x)), then x + SwiGLU(norm(x)); `[B, L, C]`."""

    def __init__(self, config: VFMTokConfig) -> None:
        super().__init__()
        c = config
        self.attention_norm = nn.LayerNorm(c.width)
        self.attention = SelfAttention(c.width, c.decoder_heads)
        self.mlp_norm = nn.LayerNorm(c.width)
        self.gate_up = nn.Linear(c.width, 2 * c.decoder_hidden)  # the gate's channels first
        self.down = nn.Linear(c.decoder_hidden, c.width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Apply the layer; `mask` as in `SelfAttention`."""
        x = x + self.attention(self.attention_norm(x), mask)
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


def causal(length: int, device: torch.device) -> Tensor:
    """Mask `[L, L]`, True where a row sees a column: itself and those before it."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


def _projection(inputs: int, width: int) -> nn.Sequential:
    first, last = nn.Linear(inputs, width, bias=False), nn.Linear(width, width, bias=False)
    return nn.Sequential(first, nn.LayerNorm(width), nn.ReLU(), last, nn.LayerNorm(width), nn.LayerNorm(width))


class SamplingEncoder(nn.Module):
    """The tower's states `[B, L, E]` of S blocks to states of the queries `[B, N, C]`."""

    def __init__(self, config: VFMTokConfig) -> None:
        super().__init__()
        c = config
        self.projections = nn.ModuleList(_projection(c.tower.width, c.width) for _ in c.levels)
        self.queries = embedding(c.num_tokens, c.width)
        self.positions = embedding(c.num_tokens, c.width)
        self.norm_in = first_norm(c.width)
        self.layers = nn.ModuleList(SamplingLayer(c) for _ in range(c.layers))
        self.grid = c.image_size // c.tower.patch_size

    def forward(self, states: list[Tensor]) -> Tensor:
        """Sample the states; see the class."""
        maps = [p(s).transpose(1, 2).unflatten(2, (self.grid, self.grid)) for p, s in zip(self.projections, states, strict=True)]
        count = round(len(self.queries) ** 0.5)
        centres = (torch.arange(count, device=maps[0].device) + 0.5) / count
        references = torch.cartesian_prod(centres, centres).flip(-1)  # rows of the grid one after another, as (x, y)
        x = self.norm_in(self.queries).expand(len(maps[0]), -1, -1)
        mask = causal(len(self.queries), x.device)
        for layer in self.layers:
            x = layer(x, self.positions, references, maps, mask)
        return x


class CausalReader(nn.Module):
    """States of the codes `[B, N, C]` to a grid `[B, C, g, g]`, and with `predicts_features` to the tower's states `[B, E, L]`."""

    def __init__(self, config: VFMTokConfig) -> None:
        super().__init__()
        c = config
        self.table, self.side = c.table, c.side
        self.positions = embedding(1 + c.table**2, c.width)
        self.token_positions = embedding(c.num_tokens, c.width)
        self.mask_token, self.class_token = embedding(1, c.width), embedding(1, c.width)
        self.norm_in = first_norm(c.width)
        self.layers = nn.ModuleList(CausalLayer(c) for _ in range(c.layers))
        self.feature_mask = embedding(1, c.width) if c.predicts_features else None
        self.feature_norm = first_norm(c.width) if c.predicts_features else None
        self.to_features = nn.Linear(c.width, c.tower.width) if c.predicts_features else None
        self.apply(init_linear)

    def grid_positions(self) -> Tensor:
        """Positions `[g g, C]`, interpolated from the table by DINO's factor, as if the grid were 0.1 cells larger."""
        if self.side == self.table:
            return self.positions[1:]
        square = self.positions[1:].t().unflatten(1, (self.table, self.table))[None].float()
        fitted = F.interpolate(square, scale_factor=(self.side + 0.1) / self.table, mode="bicubic")
        return fitted[0].flatten(1).t().to(self.positions.dtype)

    def forward(self, codes: Tensor) -> Tensor:
        """Decode `[B, N, C]`."""
        grid = self._read(codes, self.mask_token + self.grid_positions(), self.norm_in)
        return grid.transpose(1, 2).unflatten(2, (self.side, self.side))

    def features(self, codes: Tensor) -> Tensor:
        """The tower's last states `[B, E, L]`, as they are predicted from states of the codes `[B, N, C]`."""
        if self.feature_mask is None or self.feature_norm is None or self.to_features is None:
            raise ConfigError("this VFMTok predicts no features; predicts_features is false.")
        states = self._read(codes, self.feature_mask + self.positions[1:], self.feature_norm)
        return self.to_features(states).transpose(1, 2)

    def _read(self, codes: Tensor, cells: Tensor, norm: nn.Module) -> Tensor:
        """States `[B, n, C]` of cells `[n, C]` behind the codes `[B, N, C]` and the class token; `norm` is that of the cells."""
        tokens = self.norm_in(codes + self.token_positions)
        cells = norm(torch.cat([self.class_token + self.positions[:1], cells]))
        x = torch.cat([tokens, cells.expand(len(codes), -1, -1)], dim=1)
        mask = causal(x.shape[1], x.device)
        for layer in self.layers:
            x = layer(x, mask)
        return x[:, codes.shape[1] + 1 :]


class VFMTok(ImageTokenizer):
    """Pictures of one size to ids `[B, K, N]` and back; see the module's docstring."""

    family: ClassVar[str] = "vfmtok"
    config_class: ClassVar[type] = VFMTokConfig
    encoder_only = ("tower", "encoder", "to_code")
    decoder_only = ("from_code", "reader", "decoder")
    config: VFMTokConfig
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: VFMTokConfig) -> None:
        super().__init__()
        self.config = c = config
        self.tower = VisionTower(c.tower).apply(init_linear).requires_grad_(False)
        self.encoder = SamplingEncoder(c)
        self.encoder.projections.apply(init_linear)
        self.to_code = nn.Linear(c.width, c.latent_dim)
        self.quantizer = c.quantizer.build(dim=c.latent_dim)
        self.from_code = nn.Linear(c.latent_dim, c.width)
        self.reader = CausalReader(c)
        self.decoder = VQGANDecoder(c.decoder, in_channels=c.width)
        for name, values in zip(("pixel_mean", "pixel_std"), _IMAGENET, strict=True):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        self.spec = ImageSpec.of(
            self.quantizer,
            stride=0,
            image_size=(c.image_size, c.image_size),
            num_positions=c.num_tokens,
            resize="crop",
        )

    def states(self, x: Tensor) -> list[Tensor]:
        """The tower's states `[B, L, E]` after S blocks, of pictures `[B, 3, H, W]`."""
        tower, out = self.tower, []
        y = tower.embed(((x.clamp(-1, 1) + 1) / 2 - self.pixel_mean) / self.pixel_std)
        y = y if tower.norm_in is None else tower.norm_in(y)
        last, before = self.config.levels[-1], int(tower.config.class_token) + tower.config.registers
        for i, block in enumerate(tower.blocks):
            y = block(y)
            if i in self.config.levels[:-1]:
                out.append(y[:, before:])
            if i == last:
                break
        return [*out, (y if tower.norm_out is None else tower.norm_out(y))[:, before:]]

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, N]` of pictures `[B, 3, H, W]`."""
        return self.to_code(self.encoder(self.states(x))).transpose(1, 2)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Pictures `[B, 3, H, W]` of latents `[B, D, N]`, not clipped."""
        return self.decoder(self.reader(self.from_code(z_q.transpose(1, 2))))

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct `[B, 3, H, W]`.

        With `predicts_features`, in a training step, the features `semantic` and `semantic_target` `[B, E, L]` are the tower's last
        states as predicted and as they are.
        """
        states = self.states(x)
        z = self.to_code(self.encoder(states)).transpose(1, 2)
        quantized = self.quantizer(z)
        features: dict[str, Tensor] = {}
        if self.config.predicts_features and self.training and torch.is_grad_enabled():
            predicted = self.reader.features(self.from_code(quantized.z_q.transpose(1, 2)))
            features = {"semantic": predicted, "semantic_target": states[-1].transpose(1, 2)}
        return Reconstruction(x_hat=self.decode_latents(quantized.z_q), z=z, quantized=quantized, features=features)
