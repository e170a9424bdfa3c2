"""XQ-GAN, ImageFolder and RobusTok: DINOv2-shaped ViTs with latent tokens around product, multi-scale or single quantizers.

XQ-GAN: "XQ-GAN: An Open-source Image Tokenization Framework for Autoregressive Generation", arXiv 2412.01762. ImageFolder:
"ImageFolder: Autoregressive Image Generation with Folded Tokens", arXiv 2410.01756. Latent perturbation (RobustTok): "Robust Latent
Matters: Boosting Image Generation with Sampling Error Synthesis", arXiv 2503.08354. RobusTok: "Image Tokenizer Needs Post-Training",
arXiv 2509.12474. Parity checked against lxa9867/ImageFolder @ 76ddfb9a65 (Adobe Research License, non-commercial) and
qiuk2/RobusTok @ c4c6760a70 (no licence stated), class `VQModel` with `enc_type` and `dec_type` "dinov2". Own code from the published
facts.

A ViT encodes one sequence of the patches of `[B, 3, H, W]` and of P g g latent tokens. The states of the latter become latents
`[B, P D, g g]`, and each of the P branches has a separate quantizer. A linear map joins the branches; a second ViT, over mask tokens
and these vectors, predicts patches of pixels.

Latent tokens form P branches (product quantization) of a g x g grid each. They share the patches' position table, resized to
g x g, and a learned vector marks the part of the sequence that a token belongs to.

ids: single table, `[B, P, g g]`; multi-scale, `[B, P, sum of h w]` over the scales from coarse to fine, row by row.

Letters: B batch, H W pixels, G patches, P branches, g side of the latent grid, D width of one branch's code, W width of a ViT.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...coding import Batch, Coded
from ...layers.vit import PatchesToPixels, TransformerSize, ViTBlock
from ...options import EncodeOptions, ImageEncodeOptions, OrderedEncodeOptions
from ...precision import widened
from ...quantizers.base import QuantizerConfig
from ...quantizers.branches import Branches
from ...quantizers.vq import VQ, VQConfig
from ...spec import ImageSpec
from ...start import start_layer_scale, start_positions
from ...tokenizer import Reconstruction
from ..base import ImageTokenizer


@dataclass(frozen=True, kw_only=True)
class PerturbationConfig:
    """Latent perturbation in training (arXiv 2503.08354): the decoder learns to tolerate wrong tokens.

    Attributes:
        rate: alpha, probability that a position's code is replaced.
        share: beta, share of the batch that is perturbed (its first items).
        neighbours: delta, number of nearest codes among which the replacement is drawn.
    """

    moving: ClassVar[tuple[str, ...]] = ("rate", "share", "neighbours")
    rate: float = 1.0
    share: float = 0.1
    neighbours: int = 100


@dataclass(frozen=True, kw_only=True)
class XQGANConfig:
    """Settings of `XQGAN`; the defaults are VQ-4096's.

    Attributes:
        image_size: side of the pictures in pixels, H = W.
        patch_size: pixels on a side of a patch.
        encoder, decoder: sizes of the two ViTs (DINOv2-B: width 768, 12 layers, 12 heads).
        grid_size: g, side of the latent grid.
        branches: P, number of branches.
        latent_dim: D, channels of each branch's latents.
        quantizer: settings of the quantizer of each branch, of any kind; its `dim` is filled in.
        shared_positions: latent tokens share the patches' positions, plus a part vector; otherwise they have a separate table.
        perturbation: latent perturbation in training, only for a single table; None: none.
    """

    image_size: int = 256
    patch_size: int = 16
    encoder: TransformerSize = TransformerSize(width=768, layers=12, heads=12)
    decoder: TransformerSize = TransformerSize(width=768, layers=12, heads=12)
    grid_size: int = 16
    branches: int = 1
    latent_dim: int = 64
    quantizer: QuantizerConfig = VQConfig(
        codebook_size=4096, normalize=True, returns="normalized", update="gradient", kmeans_init=False
    )
    shared_positions: bool = True
    perturbation: PerturbationConfig | None = None

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is no multiple of patch_size {self.patch_size}.")


class LatentViT(nn.Module):
    """Base of encoder and decoder: class token, positions, part vectors, DINOv2 blocks (LayerScale, eps 1e-6), final norm.

    Args:
        size: size of the transformer.
        patches: side of the patch grid.
        latents: side of the latent grid.
        parts: number of parts of the sequence: patches and each branch.
        own_positions: number of latent tokens with a separate position table; 0: they share the patches'.
    """

    def __init__(self, size: TransformerSize, *, patches: int, latents: int, parts: int, own_positions: int = 0) -> None:
        super().__init__()
        self.patches, self.latents = patches, latents
        self.class_token = nn.Parameter(torch.zeros(1, size.width))
        self.positions = nn.Parameter(torch.randn(1 + patches**2, size.width) * start_positions(size.width, 0.02))
        self.latent_positions = self.parts = None
        if own_positions:
            self.latent_positions = nn.Parameter(torch.randn(own_positions, size.width) * start_positions(size.width, 0.02))
        else:
            self.parts = nn.Parameter(torch.randn(parts, size.width) * (1 / size.width / 3) ** 0.5)
        self.blocks = nn.ModuleList(
            ViTBlock(size.width, size.heads, layer_scale=start_layer_scale(size.width, 1e-5), eps=1e-6) for _ in range(size.layers)
        )
        self.norm = nn.LayerNorm(size.width, eps=1e-6)

    def grid_positions(self) -> Tensor:
        """Positions of the class token and a latent grid, `[1 + g g, W]`: the patches' table, resized if g differs."""
        if self.latents == self.patches:
            return self.positions
        grid = self.positions[1:].t().unflatten(1, (self.patches, self.patches))[None].float()
        grid = F.interpolate(grid, size=(self.latents,) * 2, mode="bicubic", antialias=True, align_corners=False)
        return torch.cat([self.positions[:1], grid[0].flatten(1).t().to(self.positions.dtype)])

    def with_class(self, x: Tensor) -> Tensor:
        """Prepend the class token to `[B, L, W]`; returns `[B, 1 + L, W]`."""
        return torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1)

    def run(self, x: Tensor) -> Tensor:
        """Apply all blocks and the final norm to `[B, L, W]`."""
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class XQEncoder(LatentViT):
    """Pictures to latent tokens `[B, P g g, W]`."""

    def __init__(self, config: XQGANConfig) -> None:
        c = config
        count = c.branches * c.grid_size**2
        super().__init__(
            c.encoder,
            patches=c.image_size // c.patch_size,
            latents=c.grid_size,
            parts=1 + c.branches,
            own_positions=0 if c.shared_positions else count,
        )
        self.patch_embed = nn.Conv2d(3, c.encoder.width, c.patch_size, stride=c.patch_size)
        self.tokens = nn.Parameter(torch.randn(count, c.encoder.width) * 1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Latent tokens `[B, P g g, W]` of pictures `[B, 3, H, W]`."""
        y = self.with_class(self.patch_embed(x).flatten(2).transpose(1, 2)) + self.positions
        if self.parts is None:
            assert self.latent_positions is not None
            z = self.tokens + self.latent_positions
        else:
            branches = self.tokens.unflatten(0, (-1, self.latents**2))  # [P, g g, W]
            z = (branches + self.grid_positions()[1:] + self.parts[1:, None]).flatten(0, 1)
            y = y + self.parts[0]
        return self.run(torch.cat([y, z.expand(len(x), -1, -1)], dim=1))[:, -len(self.tokens) :]


class XQDecoder(LatentViT):
    """Latents `[B, g g, W]` to pictures `[B, 3, H, W]`; with shared positions a second class token precedes the latents."""

    def __init__(self, config: XQGANConfig) -> None:
        c = config
        super().__init__(
            c.decoder,
            patches=c.image_size // c.patch_size,
            latents=c.grid_size,
            parts=2,
            own_positions=0 if c.shared_positions else c.grid_size**2,
        )
        self.mask_token = nn.Parameter(torch.randn(c.decoder.width) * 1e-6)
        self.to_pixels = PatchesToPixels(c.decoder.width, c.patch_size)

    def forward(self, z: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]` of latents `[B, g g, W]`."""
        y = self.with_class(self.mask_token.expand(len(z), self.patches**2, -1)) + self.positions
        if self.parts is None:
            assert self.latent_positions is not None
            z = z + self.latent_positions
        else:
            z = self.with_class(z) + self.grid_positions() + self.parts[1]
            y = y + self.parts[0]
        y = self.run(torch.cat([y, z], dim=1))[:, 1 : 1 + self.patches**2]
        return self.to_pixels(y.transpose(1, 2).unflatten(2, (self.patches, self.patches)))


class XQGAN(ImageTokenizer):
    """Pictures of one size to P branches of ids and back; see the module's docstring."""

    family: ClassVar[str] = "xqgan"
    config_class: ClassVar[type] = XQGANConfig
    encode_options: type[EncodeOptions] = OrderedEncodeOptions
    encoder_only = ("encoder", "to_latent")
    decoder_only = ("from_latent", "decoder")

    def __init__(self, config: XQGANConfig) -> None:
        super().__init__()
        self.config = c = config
        self.encoder = XQEncoder(c)
        self.to_latent = nn.Linear(c.encoder.width, c.latent_dim)
        self.quantizer = c.quantizer.build(dim=c.latent_dim)
        if c.branches > 1:
            self.quantizer = Branches(dataclasses.replace(c.quantizer, dim=c.latent_dim), c.branches)
        if c.perturbation is not None and not isinstance(self.quantizer, VQ):
            raise ValueError("perturbation needs a quantizer of kind 'vq': neighbours are looked up in one table.")
        self.from_latent = nn.Linear(c.branches * c.latent_dim, c.decoder.width)
        self.decoder = XQDecoder(c)
        scales = self.quantizer.scale_grids
        self.encode_options = OrderedEncodeOptions if scales else ImageEncodeOptions
        self.spec = ImageSpec.of(
            self.quantizer,
            prefix=("positions",) if scales else (),
            stride=0,
            image_size=(c.image_size, c.image_size),
            num_positions=sum(h * w for h, w in scales) or c.grid_size**2,
            scales=scales,
            resize="crop",
        )

    @property
    def grid(self) -> tuple[int, int]:
        """(g, g), the grid of the latents."""
        return self.config.grid_size, self.config.grid_size

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, P D, g g]` of pictures `[B, 3, H, W]`."""
        z = self.to_latent(self.encoder(x))  # [B, P g g, D]
        return z.unflatten(1, (self.config.branches, -1)).transpose(2, 3).flatten(1, 2)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Pictures `[B, 3, H, W]` of latents `[B, P D, g g]`."""
        return self.decoder(self.from_latent(z_q.transpose(1, 2)))

    def grid_of(self, x: Tensor) -> tuple[int, int] | None:
        """The latent grid (g, g) if there is one id a position; None for the multi-scale layout."""
        return None if self.spec.scales else self.grid

    def ids_of(self, z: Tensor, batch: Batch) -> Coded:
        """Ids `[B, P, L]` of latents `[B, P D, g g]`, quantized on the latent grid for multi-scale layouts too."""
        return super().ids_of(z, dataclasses.replace(batch, grid=self.grid))

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Pictures `[B, 3, H, W]` of ids `[B, P, L]`, in a multi-scale layout also of a first part; an incomplete scale is ignored."""
        if self.spec.scales:
            ids = ids[:, :, : self.spec.whole_scales(ids.shape[2])]
        return self.decode_latents(self.vectors_of(ids, self.grid))

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct `[B, 3, H, W]`; in training with `perturbation`, from perturbed codes.

        `features` are the codes of each branch, `branch.0` ... `[B, D, g g]`; ImageFolder compares the last with DINOv2.
        """
        z = self.encode_latents(x)
        quantized = self.quantizer(z, grid=self.grid)
        z_q = quantized.z_q
        if self.training and self.config.perturbation is not None:
            z_q = self.perturb(z, z_q, self.config.perturbation)
        features = {f"branch.{i}": part for i, part in enumerate(quantized.z_q.chunk(self.config.branches, dim=1))}
        return Reconstruction(x_hat=self.decode_latents(z_q), z=z, quantized=quantized, features=features)

    def perturb(
        self,
        z: Tensor,
        z_q: Tensor,
        config: PerturbationConfig,
        *,
        uniform: Tensor | None = None,
        choice: Tensor | None = None,
    ) -> Tensor:
        """Replace some codes by codes near the latents.

        Args:
            z, z_q: latents before and after the quantizer, `[B, D, g g]`.
            config: settings of the perturbation.
            uniform: random numbers in 0..1, `[B, g g]`; positions up to `rate` are replaced. None: fresh draws.
            choice: index of the neighbour, 0 to `neighbours` - 1, `[B, g g]`; None: fresh draws.

        Returns:
            `[B, D, g g]`, with the quantizer's straight-through gradient to `z`.
        """
        assert isinstance(self.quantizer, VQ)
        book, rows = self.quantizer.codebook, widened(z).transpose(1, 2)  # [B, g g, D]
        table = book.embed
        if book.config.normalize:
            rows, table = F.normalize(rows, dim=-1), F.normalize(table, dim=-1)
        distance = table.square().sum(1) - 2 * rows.detach() @ table.detach().t()
        near = distance.topk(config.neighbours, dim=-1, largest=False).indices  # [B, g g, neighbours]
        shape = near.shape[:2]
        uniform = torch.rand(shape, device=z.device) if uniform is None else uniform
        choice = torch.randint(config.neighbours, shape, device=z.device) if choice is None else choice
        ids = near.gather(2, torch.where(uniform > config.rate, 0, choice)[..., None])[..., 0]
        moved = (rows + (table[ids] - rows).detach()).transpose(1, 2)
        first = torch.arange(len(z), device=z.device) < int(len(z) * config.share)
        return torch.where(first[:, None, None], moved.to(z_q.dtype), z_q)
