"""ALIT: recurrent tokenization; every roll-out adds tokens and refines the earlier ones, until the picture is good enough.

Duggal et al. 2024, "Adaptive Length Image Tokenization via Recurrent Allocation", arXiv 2411.02393.
Parity checked against ShivamDuggal4/adaptive-length-tokenizer @ 8c0b4ec29c (no licence stated), class
`AdaptiveLengthImageTokenizer` over the VQGAN. Own code from the published facts.

The sequence of the encoder, a transformer, starts with the grid: patches of `[B, 3, H, W]` concatenated with the latents of a frozen
VQGAN. Each roll-out appends n latent queries and runs the encoder again; after r roll-outs the states of all r n queries, mapped to D
channels `[B, D, r n]`, are quantized: ids `[B, 1, r n]`. A second transformer predicts from them the VQGAN's code at each grid
position, and the VQGAN's decoder makes the picture.

Tokens of r roll-outs are r n ids, the newest last. They are no prefix of those of r + 1 roll-outs.
Dynamic halting: a grid position whose VQGAN code is already predicted with probability p > threshold is masked with
probability p, so `encode` needs random numbers: from `seed`, the same for every picture, or `uniform` itself. The authors' code
intends to skip halting in the last roll-out, but compares Python's builtin `iter` with a number, so that halting acts there too. It
does so here as well; it has no effect on tokens.

Letters: B batch, H W pixels, G grid positions, n tokens a roll-out, R roll-outs, D latent width, W width of the encoder.
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
from ...precision import unit_norm
from ...quantizers.base import Quantized, QuantizerConfig
from ...quantizers.vq import VQConfig
from ...spec import ImageSpec
from ...start import first_norm
from ...tokenizer import Reconstruction
from ..base import ImageTokenizer
from ..distilled import MAGE_VQGAN, BaseTokenizer, GridDecoder, check_base
from ..vqgan.model import VQGANConfig


@dataclass(frozen=True, kw_only=True)
class ALITConfig:
    """Settings of `ALIT`; the defaults are the published small model's.

    Attributes:
        base: settings of the VQGAN underneath; its `embed_dim` must be 0.
        grid_size: positions on a side of its grid.
        patch_size: pixels on a side of the patches that are concatenated with its latents; the VQGAN's stride.
        encoder, decoder: sizes of the two transformers.
        latent_dim: D, channels of the latents.
        quantizer: settings of any quantizer with one codebook; its `dim` is filled in.
        tokens_per_rollout: n, number of tokens that each roll-out adds.
        rollouts: R, number of roll-outs.
        max_tokens: number of the decoder's token positions.
        halting: whether grid positions halt, that is, are masked once their code is predicted well.
        halting_threshold: probability of the right code below which a grid position never halts.
        train_base: whether the VQGAN is trained too (the second of two training stages).
        random_rollout: training reconstructs from a roll-out drawn anew for each batch, not from the last one, so that pixel losses
            and the discriminator are computed on every roll-out in turn (second stage).
    """

    base: VQGANConfig = MAGE_VQGAN
    grid_size: int = 16
    patch_size: int = 16
    encoder: TransformerSize = TransformerSize(width=1024)
    decoder: TransformerSize = TransformerSize(width=1024)
    latent_dim: int = 12
    quantizer: QuantizerConfig = VQConfig(
        codebook_size=4096, normalize=True, returns="normalized", update="gradient", kmeans_init=False
    )
    tokens_per_rollout: int = 32
    rollouts: int = 8
    max_tokens: int = 256
    halting: bool = True
    halting_threshold: float = 0.55
    train_base: bool = False
    random_rollout: bool = False

    def __post_init__(self) -> None:
        check_base(self.base, self.patch_size, self.grid_size)
        if self.tokens_per_rollout * self.rollouts > self.max_tokens:
            have = self.tokens_per_rollout * self.rollouts
            raise ValueError(f"{self.rollouts} roll-outs make {have} tokens, more than max_tokens {self.max_tokens}.")


class Rollout(NamedTuple):
    """Output of one roll-out."""

    z: Tensor  #: latents [B, D, r n]
    quantized: Quantized  #: of r n positions
    logits: Tensor  #: over the VQGAN's codes, [B, G, V_b]


@dataclass(frozen=True, kw_only=True)
class ALITEncodeOptions(ImageEncodeOptions):
    """Options of `ALIT.encode`.

    Attributes:
        token_budget: largest number of tokens, at least n, rounded down to whole roll-outs; None: all R roll-outs.
        quality: stop at the first roll-out whose mean absolute error (pixels in 0..1) is below this; if no error is, the roll-out of
            the smallest error is taken. The authors use 0.07. None: always the last roll-out.
        uniform: random numbers in 0..1 that decide which positions halt, `[R, B, G]`; None: from `seed`, the same for every picture.
        seed: seed of `uniform`, 0 or more.
    """

    token_budget: int | None = None
    quality: float | None = None
    uniform: Tensor | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("token_budget", self.token_budget, 1)
        check_at_least("seed", self.seed, 0)
        if self.quality is not None and not 0 <= self.quality <= 1:
            raise ConfigError(f"quality is {self.quality}; allowed: 0 to 1, a mean absolute error.")


class ALIT(ImageTokenizer):
    """Pictures of one size to n, 2 n, ... R n tokens; see the module's docstring."""

    family: ClassVar[str] = "alit"
    config_class: ClassVar[type] = ALITConfig
    encode_options = ALITEncodeOptions
    varying_positions = True
    encoder_only = (
        "patch_embed", "norm_in", "norm_again", "norm_out", "encoder", "to_latent", "class_token", "mask_token",
        "positions", "latents", "latent_positions", "rollout_tokens",
    )
    decoder_only = ()  # `encode` also needs the decoder: its predictions decide which grid positions halt

    def __init__(self, config: ALITConfig) -> None:
        super().__init__()
        self.config = c = config
        self.base = BaseTokenizer(c.base, train=c.train_base)
        width, wide, grid, n = c.encoder.width, c.decoder.width, c.grid_size**2, c.tokens_per_rollout
        self.patch_embed = nn.Conv2d(3, width - self.base.channels, c.patch_size, stride=c.patch_size)
        self.class_token, self.mask_token = embedding(1, width), embedding(width)
        self.positions = embedding(1 + grid, width)
        self.latents, self.latent_positions = embedding(n, width), embedding(n, width)
        self.rollout_tokens = embedding(c.rollouts, n, width)
        self.norm_in, self.norm_again, self.norm_out = first_norm(width), first_norm(width), nn.LayerNorm(width)
        self.encoder = nn.ModuleList(ViTBlock(width, c.encoder.heads) for _ in range(c.encoder.layers))
        self.to_latent = nn.Linear(width, c.latent_dim)
        self.quantizer = c.quantizer.build(dim=c.latent_dim)
        self.from_latent = nn.Linear(c.latent_dim, wide)
        self.decoder_class_token, self.decoder_mask_token = embedding(1, wide), embedding(1, wide)
        self.decoder_positions, self.token_positions = embedding(1 + grid, wide), embedding(c.max_tokens, wide)
        self.decoder = GridDecoder(c.decoder, self.base.codes)
        for part in (self.patch_embed, self.encoder, self.to_latent, self.from_latent, self.decoder):
            part.apply(init_linear)
        side = c.grid_size * c.patch_size
        self.spec = ImageSpec.of(
            self.quantizer,
            stride=0,
            image_size=(side, side),
            num_positions=n * c.rollouts,
            value_range=(0.0, 1.0),
            resize="crop",
        )

    # --- encode -----------------------------------------------------------------------------------------------------

    def latents_of(self, x: Tensor, batch: Batch) -> Tensor:
        """Latents `[B, D, L]` of the longest roll-out that a picture keeps; all roll-outs are left for `ids_of`."""
        o: ALITEncodeOptions = batch.options
        if o.uniform is not None and o.uniform.shape[1] != batch.total:
            raise ValueError(f"uniform is {list(o.uniform.shape)}; give [R, B, G] for {batch.total} pictures.")
        draws = self._uniform(len(x), o.seed) if o.uniform is None else o.uniform[:, batch.items].to(x)
        runs = self.roll(x, rollouts=self._rollouts(o.token_budget), uniform=draws)
        best = self._choose(x, runs, o.quality)
        batch.notes["ids"] = [runs[run].quantized.ids[row] for row, run in enumerate(best)]  # [1, r n] each
        return runs[max(best)].z

    def ids_of(self, z: Tensor, batch: Batch) -> Coded:
        """Ids `[B, 1, L]` of the roll-out that each picture keeps."""
        rows: list[Tensor] = batch.notes["ids"]
        ids = torch.stack([F.pad(row, (0, z.shape[2] - row.shape[1])) for row in rows])
        return Coded(ids, lengths=[row.shape[1] for row in rows])

    def _rollouts(self, token_budget: int | None) -> int:
        c = self.config
        if token_budget is None:
            return c.rollouts
        if token_budget < c.tokens_per_rollout:
            raise ValueError(f"token_budget is {token_budget}; the smallest is one roll-out, {c.tokens_per_rollout} tokens.")
        return min(c.rollouts, token_budget // c.tokens_per_rollout)

    def _choose(self, x: Tensor, runs: list[Rollout], quality: float | None) -> list[int]:
        """Index of the roll-out that each item keeps."""
        if quality is None:
            return [len(runs) - 1] * len(x)
        errors = torch.stack([(self.base.pixels(r.logits) - x).abs().flatten(1).mean(1) for r in runs])  # [R, B]
        enough = errors < quality
        first = enough.int().argmax(dim=0)
        return torch.where(enough.any(dim=0), first, errors.argmin(dim=0)).tolist()

    def _uniform(self, batch: int, seed: int) -> Tensor:
        shape = (self.config.rollouts, 1, self.config.grid_size**2)
        draws = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
        return draws.expand(-1, batch, -1).to(self.device, self.dtype, non_blocking=True)

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, R n]` of the last roll-out of pictures `[B, 3, H, W]`."""
        return self.roll(x)[-1].z

    def roll(self, x: Tensor, *, rollouts: int | None = None, uniform: Tensor | None = None) -> list[Rollout]:
        """All roll-outs of pictures `[B, 3, H, W]`; `uniform` is `[R, B, G]`; None: drawn from seed 0, in training fresh draws."""
        c = self.config
        if uniform is None:
            fresh = self.training and torch.is_grad_enabled()
            shape = (c.rollouts, len(x), c.grid_size**2)
            uniform = torch.rand(shape, device=x.device) if fresh else self._uniform(len(x), 0)
        features = self.base.features(x)
        codes = self.base.ids(features)  # [B, G]
        grid = torch.cat([features, self.patch_embed(x)], dim=1).flatten(2).transpose(1, 2)  # [B, G, W]
        grid = torch.cat([self.class_token.expand(len(x), -1, -1), unit_norm(grid)], dim=1) + self.positions
        y, runs = self.norm_in(torch.cat([grid, self._new(0, len(x))], dim=1)), []
        for r in range(rollouts or c.rollouts):
            if r:
                y = self.norm_again(torch.cat([y, self._new(r, len(x))], dim=1))
            for block in self.encoder:
                y = block(y)
            z = self.to_latent(self.norm_out(y[:, grid.shape[1] :])).transpose(1, 2)  # [B, D, (r + 1) n]
            quantized = self._quantize(z)
            logits = self.decode_logits(quantized.z_q)
            runs.append(Rollout(z, quantized, logits))
            if c.halting:
                y = self._halt(y, logits.softmax(-1).gather(2, codes[..., None])[..., 0], uniform[r])
        return runs

    def _quantize(self, z: Tensor) -> Quantized:
        if self.training and not torch.is_grad_enabled():  # `encode` in train mode: the table must not move
            ids = self.quantizer.encode(z)
            return Quantized(self.quantizer.decode(ids).to(z.dtype), ids, z.new_zeros(()))
        return self.quantizer(z)

    def _new(self, rollout: int, batch: int) -> Tensor:
        """The latent queries `[B, n, W]` that a roll-out adds."""
        return (self.latents + self.latent_positions + self.rollout_tokens[rollout]).expand(batch, -1, -1)

    def _halt(self, y: Tensor, probability: Tensor, uniform: Tensor) -> Tensor:
        """Replace grid positions that are predicted well by mask tokens; `probability` and `uniform` are `[B, G]`."""
        halted = (uniform < probability) & (probability >= self.config.halting_threshold)
        grid = torch.where(halted[..., None], self.positions[1:] + self.mask_token, y[:, 1 : 1 + halted.shape[1]])
        return torch.cat([y[:, :1], grid, y[:, 1 + halted.shape[1] :]], dim=1)

    # --- decode -----------------------------------------------------------------------------------------------------

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Pictures `[B, 3, H, W]` of latents `[B, D, r n]`."""
        n, most = self.config.tokens_per_rollout, self.config.max_tokens
        if z_q.shape[2] % n or z_q.shape[2] > most:
            raise ValueError(f"{self.family}: {z_q.shape[2]} tokens are no whole number of roll-outs of {n}, {most} tokens at most.")
        return self.base.pixels(self.decode_logits(z_q))

    def decode_logits(self, z_q: Tensor) -> Tensor:
        """Logits over the VQGAN's codes, `[B, G, V_b]`, of latents `[B, D, r n]`."""
        grid = self.config.grid_size**2
        queries = torch.cat([self.decoder_class_token, self.decoder_mask_token.expand(grid, -1)]) + self.decoder_positions
        tokens = self.from_latent(z_q.transpose(1, 2)) + self.token_positions[: z_q.shape[2]]
        return self.decoder(queries.expand(len(z_q), -1, -1), tokens)[:, 1:]

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct `[B, 3, H, W]` from the last roll-out; in training with `random_rollout` from a random one.

        For the losses of latent distillation, `features` contains for every roll-out r `logits.r` `[B, V_b, G]` and their mean
        code `code.r` `[B, C, G]`, and once the VQGAN's `ids` `[B, G]` and `code_target` `[B, C, G]`; `group` `[B, 1]` is the number
        of the roll-out that is shown, for discriminators of the kind `by_group`. The quantizer's loss is the sum over the roll-outs.
        """
        runs = self.roll(x)
        last, number = runs[-1], len(runs) - 1
        if self.training and self.config.random_rollout:
            number = int(torch.randint(len(runs), ()))
        shown = runs[number]
        ids = self.base.ids(self.base.features(x))
        features = {"ids": ids, "code_target": self.base.code(ids), "group": ids.new_full((len(x), 1), number)}
        for i, run in enumerate(runs):
            features |= {f"logits.{i}": run.logits.transpose(1, 2), f"code.{i}": self.base.mean_code(run.logits)}
        loss = torch.stack([r.quantized.loss for r in runs]).sum()
        quantized = dataclasses.replace(last.quantized, loss=loss)
        return Reconstruction(x_hat=self.base.pixels(shown.logits), z=last.z, quantized=quantized, features=features)
