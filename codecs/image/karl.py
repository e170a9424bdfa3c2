"""KARL: as many tokens as the wanted quality needs, chosen in one pass.

Duggal et al. 2025, "Single-pass Adaptive Image Tokenization for Minimum Program Search", arXiv 2507.07995.
Parity checked against ShivamDuggal4/karl @ 5c1a5693ed (no licence stated), class `KARLTokenizer` over the VQGAN, picture by
picture (the authors' attention mask is right for a batch of one). Own code from the published facts.

The encoder reads a token of the wanted L1 error, the grid (patches beside VQGAN latents) and `token_budget` latent queries. A
halting probability above 3/4 marks a token that the picture does not need; such tokens are cut out of the decoder's attention.

ids `[B, 2, N]`: codebook "token", and codebook "active" (1: needed). `tokens.first(codebooks=1)` decodes all of them.

Letters: B batch, H W pixels, G grid positions, N token budget, D latent width, W width of the encoder.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.vit import TransformerSize, ViTBlock, embedding, init_linear
from ..quantizers.base import QuantizerConfig
from ..quantizers.vq import VQConfig
from ..spec import ImageSpec
from ..tokenizer import Reconstruction, group_by_shape
from ..tokens import Tokens
from .base import ImageTokenizer, Resize
from .distilled import MAGE_VQGAN, BaseTokenizer, GridDecoder, check_base
from .vqgan import VQGANConfig

#: Errors (mean absolute, of pixels in 0..1) that the encoder was told of in training; a wanted one is rounded up to the next.
ERRORS = (
    0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.09, 0.1, 0.12, 0.14, 0.16, 0.18, 0.2, 0.24, 0.28, 0.32, 0.38
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class KARLConfig:
    """Settings of `KARL`; the defaults are the published small model's.

    Attributes:
        base: the VQGAN underneath (`embed_dim` 0).
        grid_size: positions on a side of its grid; the picture is `grid_size * patch_size` on a side.
        patch_size: pixels on a side of the patches that stand beside its latents; its stride.
        position_size: side of the learned position tables, which are resized to the grid.
        encoder, decoder: sizes of the two transformers.
        latent_dim: D.
        quantizer: any kind of one codebook; its `dim` is filled in.
        max_tokens: largest token budget.
        default_tokens: token budget where none is named.
        halt_above: probability from which a token is not needed.
    """

    base: VQGANConfig = MAGE_VQGAN
    grid_size: int = 16
    patch_size: int = 16
    position_size: int = 64
    encoder: TransformerSize = TransformerSize(width=1024)
    decoder: TransformerSize = TransformerSize(width=1024)
    latent_dim: int = 12
    quantizer: QuantizerConfig = VQConfig(
        codebook_size=4096, normalize=True, returns="normalized", update="gradient", kmeans_init=False
    )
    max_tokens: int = 512
    default_tokens: int = 256
    halt_above: float = 0.75

    def __post_init__(self) -> None:
        check_base(self.base, self.patch_size, self.grid_size)


class KARL(ImageTokenizer):
    """Pictures of one size to at most `token_budget` tokens; see the module's docstring."""

    family: ClassVar[str] = "karl"
    config_class: ClassVar[type] = KARLConfig
    config: KARLConfig

    def __init__(self, config: KARLConfig) -> None:
        super().__init__()
        self.config = c = config
        self.base = BaseTokenizer(c.base)
        width, side = c.encoder.width, c.grid_size * c.patch_size
        self.patch_embed = nn.Conv2d(3, width - self.base.channels, c.patch_size, stride=c.patch_size)
        self.encoder_positions = embedding(c.position_size, c.position_size, width)
        self.latents = embedding(c.max_tokens, width)
        self.error_tokens = nn.Parameter(torch.tensor(ERRORS)[:, None].repeat(1, width))
        self.encoder_norm_in = nn.LayerNorm(width)
        self.encoder = nn.ModuleList(ViTBlock(width, c.encoder.heads) for _ in range(c.encoder.layers))
        self.encoder_norm_out = nn.LayerNorm(width)
        self.to_latent = nn.Linear(width, c.latent_dim)
        self.halting_norm = nn.LayerNorm(width)
        self.halting = nn.Sequential(nn.Linear(width, 512), nn.Tanh(), nn.Linear(512, 1))
        self.quantizer = c.quantizer.build(dim=c.latent_dim)
        self.from_latent = nn.Linear(c.latent_dim, c.decoder.width)
        self.decoder_positions = embedding(c.position_size, c.position_size, c.decoder.width)
        self.mask_token = embedding(c.decoder.width)
        self.token_positions = embedding(c.max_tokens, c.decoder.width)
        self.decoder = GridDecoder(c.decoder, self.base.codes)
        for part in (self.patch_embed, self.encoder, self.to_latent, self.halting, self.from_latent, self.decoder):
            part.apply(init_linear)
        self.spec = ImageSpec(
            vocab_sizes=(*self.quantizer.codebook_sizes, 2),
            names=("token", "active"),
            prefix=("codebooks",),
            stride=0,
            image_size=(side, side),
            num_positions=c.default_tokens,
            value_range=(0.0, 1.0),
            resize="crop",
        )

    # --- encode -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(  # type: ignore[override]
        self,
        media: Any,
        *,
        resize: Resize | None = None,
        num_codebooks: int | None = None,
        token_budget: int | None = None,
        quality: float = 0.05,
        trim: bool = True,
    ) -> Tokens:
        """Turn pictures into tokens, as `ImageTokenizer.encode`.

        Args:
            media, resize: as there.
            num_codebooks: 1: leave the flags out, so that every token counts as needed.
            token_budget: tokens to choose from, 1 to `config.max_tokens`, trained with multiples of 16; None: `default_tokens`.
            quality: wanted mean absolute error of pixels in 0..1; smaller keeps more tokens.
            trim: cut the tokens behind the last needed one, which play no part in decoding; `lengths` says where.
        """
        pictures, resize = self._pictures(media), resize or self.spec.resize
        xs = [self._fit_in(p, resize) for p in pictures]
        out: list[Tokens] = [None] * len(xs)  # type: ignore[list-item]
        for group in group_by_shape(xs):
            x = torch.stack([xs[i] for i in group]).to(self.device, self.dtype)
            z, halting = self.encode_with_halting(x, token_budget=token_budget, quality=quality)
            active = self.active(halting)  # [B, N]
            ids = torch.stack([self.quantizer.encode(z)[:, 0], active.long()], dim=1)[:, :num_codebooks].cpu()
            lengths = _used(active).tolist() if trim else [ids.shape[2]] * len(ids)
            for row, i in enumerate(group):
                k, length = ids.shape[1], lengths[row]
                out[i] = Tokens(
                    ids=ids[row : row + 1, :, :length],
                    vocab_sizes=self.spec.vocab_sizes[:k],
                    names=self.spec.names[:k],
                    sizes=torch.tensor([self.kept_size(pictures[i], resize)]),
                )
        return Tokens.cat(out).to(self.device)

    def encode_latents(self, x: Tensor, *, token_budget: int | None = None, quality: float = 0.05) -> Tensor:
        """Latents `[B, D, N]` of pictures `[B, 3, H, W]`."""
        return self.encode_with_halting(x, token_budget=token_budget, quality=quality)[0]

    def encode_with_halting(
        self, x: Tensor, *, token_budget: int | None = None, quality: float | Tensor = 0.05
    ) -> tuple[Tensor, Tensor]:
        """Latents `[B, D, N]` and halting logits `[B, N]` of pictures `[B, 3, H, W]`; `quality` may be one for each, `[B]`."""
        token_budget = self.config.default_tokens if token_budget is None else token_budget
        if not 1 <= token_budget <= self.config.max_tokens:
            raise ValueError(f"token_budget is {token_budget}; allowed: 1 to {self.config.max_tokens}.")
        grid = self.grid_tokens(x) + self._positions(self.encoder_positions)  # [B, G, W]
        latents = self.latents[:token_budget].expand(len(x), -1, -1)
        y = self.encoder_norm_in(torch.cat([self._error_token(quality, len(x)), grid, latents], dim=1))
        for block in self.encoder:
            y = block(y)
        y = y[:, -token_budget:]
        return self.to_latent(self.encoder_norm_out(y)).transpose(1, 2), self.halting(self.halting_norm(y))[..., 0]

    def grid_tokens(self, x: Tensor) -> Tensor:
        """Patches beside VQGAN latents, `[B, G, W]`, of pictures `[B, 3, H, W]`."""
        return torch.cat([self.patch_embed(x), self.base.features(x)], dim=1).flatten(2).transpose(1, 2)

    def active(self, halting: Tensor) -> Tensor:
        """Bool: tokens that are needed, of halting logits of the same shape."""
        return torch.sigmoid(halting) <= self.config.halt_above

    def _error_token(self, quality: float | Tensor, batch: int) -> Tensor:
        wanted = torch.as_tensor(quality, dtype=torch.float32).cpu().expand(batch)
        index = (torch.tensor(ERRORS) < wanted[:, None]).sum(1).clamp(max=len(ERRORS) - 1)
        return self.error_tokens[index.to(self.error_tokens.device)][:, None]  # [B, 1, W]

    def _positions(self, table: Tensor) -> Tensor:
        """Table `[P, P, W]` resized (nearest) to the grid, `[1, G, W]`."""
        g = self.config.grid_size
        return F.interpolate(table.permute(2, 0, 1)[None], size=(g, g)).flatten(2).transpose(1, 2)

    # --- decode -----------------------------------------------------------------------------------------------------

    def decode_latents(
        self, z_q: Tensor, grid: tuple[int, ...] | None = None, *, active: Tensor | None = None
    ) -> Tensor:
        """Pictures `[B, 3, H, W]` of latents `[B, D, n]`; `active` is bool `[B, n]`, None: all."""
        return self.base.pixels(self.decode_logits(z_q, active=active))

    def decode_logits(self, z_q: Tensor, *, active: Tensor | None = None) -> Tensor:
        """Logits over the VQGAN's codes, `[B, G, V_b]`, of latents `[B, D, n]`."""
        n = z_q.shape[2]
        if n > self.config.max_tokens:
            raise ValueError(f"{self.family}: {n} tokens; at most {self.config.max_tokens} can be decoded.")
        queries = (self.mask_token + self._positions(self.decoder_positions)).expand(len(z_q), -1, -1)
        tokens = self.from_latent(z_q.transpose(1, 2)) + self.token_positions[:n]
        return self.decoder(queries, tokens, None if active is None else _isolate(active, queries.shape[1]))

    def decode_batch(self, ids: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Pictures `[B, 3, H, W]` of ids `[B, 2, n]`, or of `[B, 1, n]` with every token needed."""
        active = ids[:, 1] == 1 if ids.shape[1] == 2 else None
        return self.decode_latents(self.quantizer.decode(ids[:, :1]).to(self.dtype), active=active)

    def forward(
        self, x: Tensor, *, token_budget: int | None = None, quality: float | Tensor = 0.05
    ) -> Reconstruction:
        """Reconstruct `[B, 3, H, W]`.

        `features` hold `logits` `[B, G, V_b]`, the VQGAN's `ids` `[B, G]` and the `halting` logits `[B, N]`.
        In training no token is cut out: the published recipe calls this twice, first with a small error wanted, then with more
        tokens and the error that came out, where the added tokens are to halt.
        """
        z, halting = self.encode_with_halting(x, token_budget=token_budget, quality=quality)
        quantized, active = self.quantizer(z), self.active(halting)
        logits = self.decode_logits(quantized.z_q, active=None if self.training else active)
        ids = torch.stack([quantized.ids[:, 0], active.long()], dim=1)
        if not self.training:  # as `encode` cuts them
            ids = ids * (torch.arange(ids.shape[2], device=ids.device) < _used(active)[:, None])[:, None]
        quantized = dataclasses.replace(quantized, ids=ids)
        features = {"logits": logits, "ids": self.base.ids(self.base.features(x)), "halting": halting}
        return Reconstruction(x_hat=self.base.pixels(logits), z=z, quantized=quantized, features=features)


def _used(active: Tensor) -> Tensor:
    """Positions `[B]` up to the last active one of `[B, n]`, at least 1."""
    return (active * torch.arange(1, active.shape[1] + 1, device=active.device)).amax(dim=1).clamp(min=1)


def _isolate(active: Tensor, queries: int) -> Tensor:
    """Bool `[B, 1, G + n, G + n]`: positions that are not `active [B, n]` see and are seen by nobody but themselves."""
    on = F.pad(active, (queries, 0), value=True)
    return (on[:, :, None] & on[:, None, :] | torch.eye(on.shape[1], dtype=torch.bool, device=on.device))[:, None]
