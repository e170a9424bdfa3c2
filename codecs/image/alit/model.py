"""ALIT: recurrent tokenization; every roll-out adds tokens and refines the earlier ones, until the picture is good enough.

Duggal et al. 2024, "Adaptive Length Image Tokenization via Recurrent Allocation", arXiv 2411.02393.
Parity checked against ShivamDuggal4/adaptive-length-tokenizer @ 8c0b4ec29c (no licence stated), class
`AdaptiveLengthImageTokenizer` over the VQGAN. Own code from the published facts.

Tokens of r roll-outs are r n ids, the newest last. They are no prefix of those of r + 1 roll-outs.
Dynamic halting: a grid position whose VQGAN code is already predicted with probability p > threshold is masked with
probability p, so `encode` draws numbers: from `seed`, the same for every picture, or `uniform` itself. The authors mean
to skip this in the last roll-out, but compare Python's builtin `iter` with a number, so that it acts there too (with no
effect on tokens).

Letters: B batch, H W pixels, G grid positions, n tokens a roll-out, R roll-outs, D latent width, W width of the encoder.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...layers.vit import TransformerSize, ViTBlock, embedding, init_linear
from ...quantizers.base import Quantized, QuantizerConfig
from ...quantizers.vq import VQConfig
from ...spec import ImageSpec
from ...tokenizer import Reconstruction, group_by_shape
from ...tokens import Tokens
from ..base import ImageTokenizer, Resize
from ..distilled import MAGE_VQGAN, BaseTokenizer, GridDecoder, check_base
from ..vqgan.model import VQGANConfig


@dataclass(frozen=True, kw_only=True)
class ALITConfig:
    """Settings of `ALIT`; the defaults are the published small model's.

    Attributes:
        base: the VQGAN underneath (`embed_dim` 0).
        grid_size: positions on a side of its grid.
        patch_size: pixels on a side of the patches that stand beside its latents; its stride.
        encoder, decoder: sizes of the two transformers.
        latent_dim: D.
        quantizer: any kind of one codebook; its `dim` is filled in.
        tokens_per_rollout: n.
        rollouts: R.
        max_tokens: positions that the decoder knows.
        halting: whether grid positions halt.
        halting_threshold: probability below which they never do.
        train_base: whether the VQGAN learns too (the second of two training stages).
        random_rollout: training reconstructs from a roll-out drawn anew for each batch, not from the last one, so that losses on
            pixels and a discriminator see all of them (second stage).
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
    """What one roll-out gives."""

    z: Tensor  #: [B, D, r n]
    quantized: Quantized  #: of r n positions
    logits: Tensor  #: [B, G, V_b]


class ALIT(ImageTokenizer):
    """Pictures of one size to n, 2 n, ... R n tokens; see the module's docstring."""

    family: ClassVar[str] = "alit"
    config_class: ClassVar[type] = ALITConfig
    encoder_only = (
        "patch_embed", "norm_in", "norm_again", "norm_out", "encoder", "to_latent", "class_token", "mask_token",
        "positions", "latents", "latent_positions", "rollout_tokens",
    )
    decoder_only = ()  # each roll-out decodes: what is predicted well halts

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
        self.norm_in, self.norm_again, self.norm_out = (nn.LayerNorm(width) for _ in range(3))
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
        self.spec = ImageSpec(
            vocab_sizes=self.quantizer.codebook_sizes,
            stride=0,
            image_size=(side, side),
            num_positions=n * c.rollouts,
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
        quality: float | None = None,
        uniform: Tensor | None = None,
        seed: int = 0,
    ) -> Tokens:
        """Turn pictures into tokens, as `ImageTokenizer.encode`.

        Args:
            media, resize: as there.
            num_codebooks: there is only 1.
            token_budget: tokens at most, rounded down to whole roll-outs; None: all R of them.
            quality: stop at the first roll-out whose mean absolute error (pixels in 0..1) is below this; where none is,
                the best one is taken. The authors use 0.07. None: always the last.
            uniform: numbers in 0..1 that halting is drawn with, `[R, B, G]`; None: from `seed`.
            seed: see `uniform`.
        """
        if num_codebooks not in (None, 1):
            raise ValueError(f"num_codebooks is {num_codebooks}; {self.family} has 1.")
        rollouts = self._rollouts(token_budget)
        pictures, resize = self._pictures(media), resize or self.spec.resize
        xs = [self._fit_in(p, resize) for p in pictures]
        out: list[Tokens] = [None] * len(xs)  # type: ignore[list-item]
        for group in group_by_shape(xs):
            x = torch.stack([xs[i] for i in group]).to(self.device, self.dtype)
            draws = self._uniform(len(x), seed) if uniform is None else uniform[:, group].to(x)
            runs = self.roll(x, rollouts=rollouts, uniform=draws)
            best = self._choose(x, runs, quality)
            for row, i in enumerate(group):
                out[i] = Tokens(
                    ids=runs[best[row]].quantized.ids[row : row + 1].cpu(),
                    vocab_sizes=self.spec.vocab_sizes,
                    sizes=torch.tensor([self.kept_size(pictures[i], resize)]),
                )
        return Tokens.cat(out).to(self.device)

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
        draws = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
        return draws.expand(-1, batch, -1).to(self.device, self.dtype)

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, R n]` of the last roll-out of pictures `[B, 3, H, W]`."""
        return self.roll(x)[-1].z

    def roll(self, x: Tensor, *, rollouts: int | None = None, uniform: Tensor | None = None) -> list[Rollout]:
        """All roll-outs of pictures `[B, 3, H, W]`; `uniform` is `[R, B, G]`, None: those of seed 0, in training fresh ones."""
        c = self.config
        if uniform is None:
            fresh = self.training and torch.is_grad_enabled()
            shape = (c.rollouts, len(x), c.grid_size**2)
            uniform = torch.rand(shape, device=x.device) if fresh else self._uniform(len(x), 0)
        features = self.base.features(x)
        codes = self.base.ids(features)  # [B, G]
        grid = torch.cat([features, self.patch_embed(x)], dim=1).flatten(2).transpose(1, 2)  # [B, G, W]
        grid = torch.cat([self.class_token.expand(len(x), -1, -1), F.normalize(grid, dim=-1)], dim=1) + self.positions
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
        """Put mask tokens in the place of grid positions that are predicted well; `probability` and `uniform` are `[B, G]`."""
        halted = (uniform < probability) & (probability >= self.config.halting_threshold)
        grid = torch.where(halted[..., None], self.positions[1:] + self.mask_token, y[:, 1 : 1 + halted.shape[1]])
        return torch.cat([y[:, :1], grid, y[:, 1 + halted.shape[1] :]], dim=1)

    # --- decode -----------------------------------------------------------------------------------------------------

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Pictures `[B, 3, H, W]` of latents `[B, D, r n]`."""
        if z_q.shape[2] % self.config.tokens_per_rollout:
            raise ValueError(
                f"{self.family}: {z_q.shape[2]} tokens are no whole number of roll-outs of {self.config.tokens_per_rollout}."
            )
        return self.base.pixels(self.decode_logits(z_q))

    def decode_logits(self, z_q: Tensor) -> Tensor:
        """Logits over the VQGAN's codes, `[B, G, V_b]`, of latents `[B, D, r n]`."""
        grid = self.config.grid_size**2
        queries = torch.cat([self.decoder_class_token, self.decoder_mask_token.expand(grid, -1)]) + self.decoder_positions
        tokens = self.from_latent(z_q.transpose(1, 2)) + self.token_positions[: z_q.shape[2]]
        return self.decoder(queries.expand(len(z_q), -1, -1), tokens)[:, 1:]

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct `[B, 3, H, W]` from the last roll-out; in training with `random_rollout` from any.

        For the losses of latent distillation `features` hold, of every roll-out, the `logits.0` ... `[B, V_b, G]` and their
        `code.0` ... `[B, C, G]`, and the VQGAN's `ids` `[B, G]` and `code_target` `[B, C, G]`. The quantizer's loss is the sum
        over the roll-outs.
        """
        runs = self.roll(x)
        last, shown = runs[-1], runs[-1]
        if self.training and self.config.random_rollout:
            shown = runs[int(torch.randint(len(runs), ()))]
        ids = self.base.ids(self.base.features(x))
        features = {"ids": ids, "code_target": self.base.code(ids)}
        for i, run in enumerate(runs):
            features |= {f"logits.{i}": run.logits.transpose(1, 2), f"code.{i}": self.base.mean_code(run.logits)}
        loss = torch.stack([r.quantized.loss for r in runs]).sum()
        quantized = dataclasses.replace(last.quantized, loss=loss)
        return Reconstruction(x_hat=self.base.pixels(shown.logits), z=last.z, quantized=quantized, features=features)
