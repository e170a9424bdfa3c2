"""Tokenizers over given latents: no encoder and no decoder of media, only what stands between features and ids.

For quantizers that are published without their network, or whose network runs elsewhere (a language model's vision tower).
`Latent` is the plain form: latents in, ids, latents out.

    tok = tokenzoo.build_tokenizer("latent", {"dim": 6, "quantizer": {"kind": "fsq", "levels": [8, 5, 5, 5, 3, 3]}})
    tokens = tok.encode(z)          # z [D, N], [B, D, N], [B, D, h, w], or a list of these
    z_q = tok.decode(tokens)        # the same shape
    tok.alternatives["2x15625"]     # a second quantizer for the same latents, itself such a tokenizer

A family with learned maps around its quantizer (a projection of features, a head that gives them back) derives from
`LatentTokenizer`: it sets `config`, `spec` and `quantizer` and writes `encode_latents` and `decode_latents`. All else is here.

Letters: B batch, C width of the features, D latent width, N positions of an item, h w grid, K codebooks, L = N or h w.
"""

import itertools
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .config import ConfigError
from .quantizers.base import QuantizerConfig
from .quantizers.fsq import FSQConfig
from .spec import TokenizerSpec
from .tokenizer import Reconstruction, Tokenizer, group_by_shape
from .tokens import Tokens


@dataclass(frozen=True, kw_only=True)
class LatentSpec(TokenizerSpec):
    """Facts of a tokenizer over latents; `channels` is C, the width of what goes in, and there is no rate of its own."""

    modality: ClassVar[str] = "latent"


class LatentTokenizer(Tokenizer):
    """Base of the families over features: intake, ragged batches, grids.

    Here `encode_latents` and `decode_latents` are the identity, up to unrolling a grid.
    """

    spec: LatentSpec

    @torch.no_grad()
    def encode(self, media: Any, *, num_codebooks: int | None = None) -> Tokens:
        """Turn features into tokens.

        Args:
            media: float `[C, N]`, a batch `[B, C, N]` or of grids `[B, C, h, w]`, or a list of `[C, N]` or `[C, h, w]`
                of any sizes.
            num_codebooks: stop after this many codebooks, where `spec.prefix` holds "codebooks".

        Raises:
            ValueError: wrong rank or width, NaN, integers, nothing at all; the message says what to do.
        """
        xs = self._items(media)
        parts: list[Tokens | None] = [None] * len(xs)
        for group in group_by_shape(xs):
            x = torch.stack([xs[i] for i in group]).to(self.device, self.dtype)  # [B, C, N] or [B, C, h, w]
            grid = self.grid_of(x)
            ids = self.quantizer.encode(self.encode_latents(x), grid=grid, num_codebooks=num_codebooks)
            for row, i in enumerate(group):
                parts[i] = Tokens(
                    ids=ids[row : row + 1].cpu(),
                    vocab_sizes=self.spec.vocab_sizes[: ids.shape[1]],
                    grid=grid or (),
                    names=self.spec.names[: ids.shape[1]],
                )
        return Tokens.cat(parts).to(self.device)  # type: ignore[arg-type]

    def _items(self, media: Any) -> list[Tensor]:
        many = isinstance(media, (list, tuple))
        if isinstance(media, Tensor) and media.ndim == 2:
            media = media[None]
        if len(media) == 0:
            raise ValueError(f"{self.family}: encode got nothing; pass at least one item.")
        xs, width = [torch.as_tensor(x) for x in media], self.spec.channels
        for i, x in enumerate(xs):
            if x.ndim not in (2, 3) or x.shape[0] != width or x.numel() == 0 or not x.is_floating_point():
                name = f"item {i}" if many else "the batch"
                got = f"{x.dtype} {list(x.shape if many else media.shape)}"
                raise ValueError(
                    f"{self.family} takes float features [C={width}, N] or grids [C={width}, h, w], or batches of them; "
                    f"{name} is {got}. Move the channel axis to the front."
                )
            if not torch.isfinite(x).all():
                raise ValueError(f"{self.family}: item {i} holds NaN or infinite values.")
        return xs

    @torch.no_grad()
    def decode(self, tokens: Tokens) -> Tensor | list[Tensor]:
        """Turn tokens back into what `decode_latents` gives: `[B, C, N]`, `[B, C, h, w]`, or a list where sizes differ."""
        self.check_tokens(tokens)
        items = [tokens[i] for i in range(len(tokens))]
        outs: list[Tensor | None] = [None] * len(items)
        groups: dict[tuple[Any, ...], list[int]] = {}
        for i, t in enumerate(items):
            groups.setdefault((t.grid, t.ids.shape), []).append(i)
        for (grid, _), group in groups.items():
            ids = torch.cat([items[i].ids for i in group]).to(self.device)
            grid = grid if len(grid) == 2 else None
            x = self.decode_latents(self.quantizer.decode(ids, grid=grid).to(self.dtype), grid)
            for row, i in enumerate(group):
                outs[i] = x[row].float()
        shapes = {o.shape for o in outs}  # type: ignore[union-attr]
        return torch.stack(outs) if len(shapes) == 1 else outs  # type: ignore[arg-type, return-value]

    def grid_of(self, x: Tensor) -> tuple[int, int] | None:
        """`(h, w)` of a batch of grids, None for sequences."""
        return (x.shape[2], x.shape[3]) if x.ndim == 4 else None

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, L]` of features `[B, C, N]` or `[B, C, h, w]`: here the features themselves."""
        return x.flatten(2)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """What is made of quantized latents `[B, D, L]`: here they themselves, on their grid."""
        return z_q if grid is None or len(grid) != 2 else z_q.unflatten(-1, grid)

    def forward(self, x: Tensor) -> Reconstruction:
        """Quantize a batch `[B, C, N]` or `[B, C, h, w]` with gradients."""
        grid = self.grid_of(x)
        z = self.encode_latents(x)
        quantized = self.quantizer(z, grid=grid)
        return Reconstruction(x_hat=self.decode_latents(quantized.z_q, grid), z=z, quantized=quantized)

    @property
    def device(self) -> torch.device:
        """Device of the weights, or of the quantizer's constants where there are no weights."""
        return next(itertools.chain(self.parameters(), self.buffers()), torch.empty(0)).device

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the maps around the quantizer; float32 where there are none."""
        own = (p for n, p in self.named_parameters() if not n.startswith(("quantizer.", "alternatives.")))
        return next(own, torch.empty(0)).dtype


@dataclass(frozen=True, kw_only=True)
class LatentConfig:
    """Settings of `Latent`.

    Attributes:
        dim: D, width of the latents.
        quantizer: any kind.
        alternatives: further quantizers by name, for systems that publish several for one network; each has the width it
            says, or `dim`.
    """

    dim: int = 4
    quantizer: QuantizerConfig = FSQConfig()
    alternatives: dict[str, QuantizerConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ConfigError(f"dim is {self.dim}; give the width of the latents.")


class Latent(LatentTokenizer):
    """A quantizer as a tokenizer of its own latents."""

    family: ClassVar[str] = "latent"
    config_class: ClassVar[type] = LatentConfig
    config: LatentConfig

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        self.config = config
        self.quantizer = config.quantizer.build(dim=config.dim)
        self.spec = LatentSpec(
            vocab_sizes=self.quantizer.codebook_sizes,
            channels=config.dim,
            prefix=("codebooks",) if self.quantizer.prefix_decodable else (),
        )
        #: Each a `Latent` of its own.
        self.alternatives = nn.ModuleDict(
            {name: Latent(LatentConfig(dim=q.dim or config.dim, quantizer=q)) for name, q in config.alternatives.items()}
        )
