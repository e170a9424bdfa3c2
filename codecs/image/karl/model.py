"""KARL: an adaptive-length tokenizer that chooses in one pass how many tokens a target quality needs.

Duggal et al. 2025, "Single-pass Adaptive Image Tokenization for Minimum Program Search", arXiv 2507.07995.
Parity checked against ShivamDuggal4/karl @ 5c1a5693ed (no licence stated), class `KARLTokenizer` over the VQGAN, picture by
picture (the authors' attention mask is right for a batch of one). Own code from the published facts.

The encoder's sequence is a token of the target L1 error, the grid (patches of `[B, 3, H, W]` concatenated with the latents of a
frozen VQGAN) and N = `token_budget` latent queries. The states of the queries, mapped to D channels `[B, D, N]`, are quantized; a
halting probability above 3/4 marks a token that the picture does not need. Such tokens are masked in the attention of the decoder,
which predicts the VQGAN's code at each grid position; the VQGAN's decoder makes the picture.

ids `[B, 2, N]`: codebook "token", and codebook "active" (1: needed). `tokens.first(codebooks=1)` decodes with all tokens.

Letters: B batch, H W pixels, G grid positions, N token budget, D latent width, W width of the encoder.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...coding import Batch, Coded
from ...config import ConfigError
from ...layers.vit import TransformerSize, ViTBlock, embedding, init_linear
from ...options import ImageEncodeOptions, check_at_least
from ...quantizers.base import Quantized, QuantizerConfig
from ...quantizers.vq import VQConfig
from ...spec import ImageSpec
from ...start import start_positions
from ...tokenizer import Reconstruction
from ..base import ImageTokenizer
from ..distilled import MAGE_VQGAN, BaseTokenizer, GridDecoder, check_base
from ..vqgan.model import VQGANConfig

#: Target errors (mean absolute, of pixels in 0..1) that the encoder was conditioned on in training; others are rounded up to the next.
ERRORS = (
    0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.09, 0.1, 0.12, 0.14, 0.16, 0.18, 0.2, 0.24, 0.28, 0.32, 0.38
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class KARLConfig:
    """Settings of `KARL`; the defaults are the published small model's.

    Attributes:
        base: settings of the VQGAN underneath; its `embed_dim` must be 0.
        grid_size: positions on a side of its grid; the picture is `grid_size * patch_size` on a side.
        patch_size: pixels on a side of the patches that are concatenated with its latents; the VQGAN's stride.
        position_size: side of the learned position tables, which are resized to the grid.
        encoder, decoder: sizes of the two transformers.
        latent_dim: D, channels of the latents.
        quantizer: settings of any quantizer with one codebook; its `dim` is filled in.
        max_tokens: largest token budget.
        default_tokens: token budget if none is given.
        halt_above: a token whose halting probability is above this is not needed.
        train_budgets: token budgets that training's first pass draws from; its second pass has `default_tokens`.
        train_base: whether the VQGAN is trained too (the second of two training stages).
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
    train_budgets: tuple[int, ...] = tuple(range(16, 384, 16))
    train_base: bool = False

    def __post_init__(self) -> None:
        check_base(self.base, self.patch_size, self.grid_size)
        if not self.train_budgets or not all(1 <= n <= self.max_tokens for n in (*self.train_budgets, self.default_tokens)):
            raise ValueError(
                f"train_budgets {self.train_budgets} and default_tokens {self.default_tokens} must lie in 1..{self.max_tokens}."
            )


@dataclass(frozen=True, kw_only=True)
class KARLEncodeOptions(ImageEncodeOptions):
    """Options of `KARL.encode`; `num_codebooks=1` omits the codebook "active", so that every token counts as needed.

    Attributes:
        token_budget: tokens to choose from, 1 to `config.max_tokens`, trained with multiples of 16; None: `config.default_tokens`.
        quality: target mean absolute error of pixels in 0..1; smaller keeps more tokens.
        trim: cut the tokens after the last needed one, which have no effect on decoding; `lengths` gives the number kept.
    """

    token_budget: int | None = None
    quality: float = 0.05
    trim: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("token_budget", self.token_budget, 1)
        if not 0 <= self.quality <= 1:
            raise ConfigError(f"quality is {self.quality}; allowed: 0 to 1, the target mean absolute error.")


class KARL(ImageTokenizer):
    """Pictures of one size to at most `token_budget` tokens; see the module's docstring."""

    family: ClassVar[str] = "karl"
    config_class: ClassVar[type] = KARLConfig
    encode_options = KARLEncodeOptions
    varying_positions = True
    encoder_only = (
        "patch_embed", "encoder_norm_in", "encoder", "encoder_norm_out", "to_latent", "halting_norm", "halting",
        "encoder_positions", "latents", "error_tokens",
    )
    decoder_only = ("from_latent", "decoder", "decoder_positions", "mask_token", "token_positions")
    config: KARLConfig

    def __init__(self, config: KARLConfig) -> None:
        super().__init__()
        self.config = c = config
        self.base = BaseTokenizer(c.base, train=c.train_base)
        width, side = c.encoder.width, c.grid_size * c.patch_size
        self.patch_embed = nn.Conv2d(3, width - self.base.channels, c.patch_size, stride=c.patch_size)
        self.encoder_positions = _position_table(c.position_size, width)
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
        self.decoder_positions = _position_table(c.position_size, c.decoder.width)
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

    def latents_of(self, x: Tensor, batch: Batch) -> Tensor:
        """Latents `[B, D, N]` of pictures; the flags of needed tokens are kept for `ids_of`."""
        o: KARLEncodeOptions = batch.options
        z, halting = self.encode_with_halting(x, token_budget=o.token_budget, quality=o.quality)
        batch.notes["active"] = self.active(halting)  # [B, N]
        return z

    def ids_of(self, z: Tensor, batch: Batch) -> Coded:
        """Ids and flags `[B, 2, N]`, and the number of positions of each picture up to its last needed one."""
        o: KARLEncodeOptions = batch.options
        active = batch.notes["active"]
        ids = torch.stack([self.quantizer.encode(z)[:, 0], active.long()], dim=1)[:, : o.num_codebooks]
        return Coded(ids, lengths=_used(active).tolist() if o.trim else None)

    def encode_latents(self, x: Tensor, *, token_budget: int | None = None, quality: float = 0.05) -> Tensor:
        """Latents `[B, D, N]` of pictures `[B, 3, H, W]`."""
        return self.encode_with_halting(x, token_budget=token_budget, quality=quality)[0]

    def encode_with_halting(
        self, x: Tensor, *, token_budget: int | None = None, quality: float | Tensor = 0.05
    ) -> tuple[Tensor, Tensor]:
        """Latents `[B, D, N]` and halting logits `[B, N]` of pictures `[B, 3, H, W]`; `quality` is a number or `[B]`."""
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
        """Patches concatenated with VQGAN latents, `[B, G, W]`, of pictures `[B, 3, H, W]`."""
        return torch.cat([self.patch_embed(x), self.base.features(x)], dim=1).flatten(2).transpose(1, 2)

    def active(self, halting: Tensor) -> Tensor:
        """Bool: tokens that are needed, of halting logits of the same shape."""
        return torch.sigmoid(halting) <= self.config.halt_above

    def _error_token(self, quality: float | Tensor, batch: int) -> Tensor:
        target = torch.as_tensor(quality, dtype=torch.float32, device=self.error_tokens.device).expand(batch)
        errors = torch.tensor(ERRORS, dtype=torch.float32, device=target.device)
        index = (errors < target[:, None]).sum(1).clamp(max=len(ERRORS) - 1)
        return self.error_tokens[index][:, None]  # [B, 1, W]

    def _positions(self, table: Tensor) -> Tensor:
        """Table `[P, P, W]` resized (nearest) to the grid, `[1, G, W]`."""
        g = self.config.grid_size
        return F.interpolate(table.permute(2, 0, 1)[None], size=(g, g)).flatten(2).transpose(1, 2)

    # --- decode -----------------------------------------------------------------------------------------------------

    def decode_latents(
        self, z_q: Tensor, grid: tuple[int, ...] | None = None, *, active: Tensor | None = None
    ) -> Tensor:
        """Pictures `[B, 3, H, W]` of latents `[B, D, n]`; `active` is bool `[B, n]`; None: all tokens are needed."""
        return self.base.pixels(self.decode_logits(z_q, active=active))

    def decode_logits(self, z_q: Tensor, *, active: Tensor | None = None) -> Tensor:
        """Logits over the VQGAN's codes, `[B, G, V_b]`, of latents `[B, D, n]`."""
        n = z_q.shape[2]
        if n > self.config.max_tokens:
            raise ValueError(f"{self.family}: {n} tokens; at most {self.config.max_tokens} can be decoded.")
        queries = (self.mask_token + self._positions(self.decoder_positions)).expand(len(z_q), -1, -1)
        tokens = self.from_latent(z_q.transpose(1, 2)) + self.token_positions[:n]
        return self.decoder(queries, tokens, None if active is None else _isolate(active, queries.shape[1]))

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Pictures `[B, 3, H, W]` of ids `[B, 2, n]`, or of `[B, 1, n]` with every token needed."""
        active = ids[:, 1] == 1 if ids.shape[1] == 2 else None
        return self.decode_latents(self.vectors_of(ids[:, :1]), active=active)

    # --- training ---------------------------------------------------------------------------------------------------

    def forward(self, x: Tensor, *, token_budget: int | None = None, quality: float | Tensor = 0.05) -> Reconstruction:
        """In eval mode `encode` and `decode` of `[B, 3, H, W]`. In training two passes, which train the halting logits:

        1. A random token budget n and a small target error `[B]`. All n tokens are used: `unneeded.0` `[B, n]` is zero. The
           reconstruction's mean absolute error `[B]` is the quality that n tokens reach.
        2. The budget `default_tokens` and that error as the target. Tokens from n on are not needed: `unneeded.1`
           `[B, default_tokens]` is one there. Tokens whose halting probability is high are masked in the decoder.

        Returns:
            `features` of pass i: `logits.i` `[B, V_b, G]`, their mean code `code.i` `[B, C, G]`, `halting.i` `[B, tokens]`; the
            VQGAN's `ids` `[B, G]` and `code_target` `[B, C, G]`; in training the targets `unneeded.i`, and `group` `[B, 1]`, the
            number of the discriminator of the kind `by_group` that judges n tokens: n / 32 - 1. The quantizer's loss is
            the sum of both passes. `x_hat` has the first half of the items from pass 1, the others from pass 2.

        Differs: target errors of pass 1 are drawn evenly up to 0.04 (the authors draw an error less often once it is reached), and
        those of pass 2 are never shifted at random.
        """
        ids = self.base.ids(self.base.features(x))
        features = {"ids": ids, "code_target": self.base.code(ids)}
        if not self.training:
            run = self._pass(x, token_budget, quality, masked=True)
            features |= self._features(run, 0)
            kept = torch.arange(run.active.shape[1], device=x.device) < _used(run.active)[:, None]  # as `encode` cuts them
            both = torch.stack([run.quantized.ids[:, 0], run.active.long()], dim=1) * kept[:, None]
            quantized = dataclasses.replace(run.quantized, ids=both)
            return Reconstruction(x_hat=self.base.pixels(run.logits), z=run.z, quantized=quantized, features=features)
        budgets = self.config.train_budgets
        budget = budgets[int(torch.randint(len(budgets), ()))]
        small = torch.tensor([e for e in ERRORS if e <= 0.04])
        first = self._pass(x, budget, small[torch.randint(len(small), (len(x),))], masked=False)
        first_pixels = self.base.pixels(first.logits)
        reached = (first_pixels.detach() - x).abs().flatten(1).mean(1)
        second = self._pass(x, self.config.default_tokens, reached, masked=True)
        added = torch.arange(self.config.default_tokens, device=x.device) >= budget
        features |= self._features(first, 0) | self._features(second, 1)
        features |= {"unneeded.0": torch.zeros_like(first.halting), "unneeded.1": added.expand_as(second.halting).float()}
        features["group"] = ids.new_full((len(x), 1), max(0, min(8, budget // 32) - 1))
        loss = first.quantized.loss + second.quantized.loss
        both = torch.stack([second.quantized.ids[:, 0], second.active.long()], dim=1)
        quantized = dataclasses.replace(second.quantized, ids=both, loss=loss)
        half = (len(x) + 1) // 2
        x_hat = torch.cat([first_pixels[:half], self.base.pixels(second.logits[half:])]) if half < len(x) else first_pixels
        return Reconstruction(x_hat=x_hat, z=second.z, quantized=quantized, features=features)

    def _pass(self, x: Tensor, token_budget: int | None, quality: float | Tensor, *, masked: bool) -> "Pass":
        """Encode and decode `[B, 3, H, W]` once; with `masked`, tokens that are not needed are masked in the decoder's attention."""
        z, halting = self.encode_with_halting(x, token_budget=token_budget, quality=quality)
        quantized, active = self.quantizer(z), self.active(halting)
        return Pass(z, halting, active, quantized, self.decode_logits(quantized.z_q, active=active if masked else None))

    def _features(self, run: "Pass", number: int) -> dict[str, Tensor]:
        logits = run.logits
        return {
            f"logits.{number}": logits.transpose(1, 2),
            f"code.{number}": self.base.mean_code(logits),
            f"halting.{number}": run.halting,
        }


class Pass(NamedTuple):
    """Output of one pass."""

    z: Tensor  #: latents [B, D, N]
    halting: Tensor  #: halting logits [B, N]
    active: Tensor  #: bool [B, N], True: needed
    quantized: Quantized
    logits: Tensor  #: over the VQGAN's codes, [B, G, V_b]


def _position_table(side: int, width: int) -> nn.Parameter:
    """A learned table `[P, P, W]` of the positions of a grid of side P."""
    return nn.Parameter(torch.randn(side, side, width) * start_positions(width, width**-0.5))


def _used(active: Tensor) -> Tensor:
    """Positions `[B]` up to the last active one of `[B, n]`, at least 1."""
    return (active * torch.arange(1, active.shape[1] + 1, device=active.device)).amax(dim=1).clamp(min=1)


def _isolate(active: Tensor, queries: int) -> Tensor:
    """Bool `[B, 1, G + n, G + n]`: positions that are not `active` `[B, n]` attend only to themselves, and no others to them."""
    on = F.pad(active, (queries, 0), value=True)
    return (on[:, :, None] & on[:, None, :] | torch.eye(on.shape[1], dtype=torch.bool, device=on.device))[:, None]
