"""SFTok: TiTok's latents by optimal transport, decoded in several steps that reveal the codes of a MaskGIT-VQGAN.

Rao et al. 2025, "SFTok: Bridging the Performance Gap in Discrete Tokenizers", arXiv 2512.16910; checked against Neur-IO/SFTok @
0e98df00dc (no licence in the repository), class `SFTok`.

Encoder, latents and pixel decoder are TiTok's (first generation). The decoder reads the class token, one vector for each of the P codes
of the MaskGIT-VQGAN (a mask at first) and the latents. `decode` repeats: predict all codes, draw each hidden one from its logits, keep
the surest, hide the others again, fewer at each step; pixels come from the logits of the last step. The noise of the draws is the same
for every picture of a call and follows from `seed`.

The authors train in three stages: with all codes hidden (`revealed` "none"); with a random share of the network's own codes, of a first
pass with all hidden, so that training meets the errors of decoding ("own"); then the decoders on pixels, the same way.

Differs: ids are those of each picture alone (`quantizers/optvq.py`); the authors' ids depend on the other pictures of the batch.

Letters: B batch, H W pixels, g grid side, P = g g codes, N latents, D latent width, V codes of the MaskGIT-VQGAN.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ...coding import Batch
from ...layers.vit import ViTBlock, embedding, first_norm
from ...options import MAX_STEPS, DecodeOptions, ImageEncodeOptions, check_at_least
from ...quantizers.base import QuantizerConfig
from ...quantizers.optvq import OptVQConfig
from ...tokenizer import Reconstruction
from ..titok.model import CodesHead, TiTok, TiTokConfig


@dataclass(frozen=True, kw_only=True)
class SFTokConfig(TiTokConfig):
    """Settings of `SFTok`; those of TiTok's first generation, and:

    Attributes:
        steps: of `decode`, where it is called without.
        temperature: of the noise in the first step; it falls to 0 evenly.
        soften: divide the logits by a number that falls from 1.3 towards 0.5 with the steps.
        revealed: codes that a training step reveals: "none", or a random share of the network's "own".
    """

    num_latents: int = 64
    latent_dim: int = 32
    quantizer: QuantizerConfig = OptVQConfig(codebook_size=8192)
    latent_layout: Literal["transposed", "reshaped"] = "reshaped"
    output: Literal["pixels", "codes"] = "codes"
    steps: int = 8
    temperature: float = 1.0
    soften: bool = False
    revealed: Literal["none", "own"] = "own"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, only in (("output", "codes"), ("text", None), ("prefix", False)):
            if (value := getattr(self, name)) != only:
                raise ValueError(f"{name} is {value!r}; sftok predicts codes from whole sequences of tokens. Leave {name} {only!r}.")
        check_at_least("steps", self.steps, 1, MAX_STEPS)


@dataclass(frozen=True, kw_only=True)
class SFTokDecodeOptions(DecodeOptions):
    """Options of `SFTok.decode`.

    Attributes:
        steps: passes of the decoder, 1 or more; None: that of the config.
        temperature: of the draws' noise in the first step, 0 for none; None: that of the config.
        seed: seed of the noise, 0 or more.
    """

    steps: int | None = None
    temperature: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("steps", self.steps, 1, MAX_STEPS)
        check_at_least("temperature", self.temperature, 0)
        check_at_least("seed", self.seed, 0)


class MultiStepDecoder(nn.Module):
    """ViT blocks over one sequence (class token, codes of the grid or masks, latents); output: the grid's features, normalised.

    Args:
        grid_size: g.
        codes: V; the row after the last one is the mask.
        num_latents: N.
        width, layers, heads: of the transformer.
    """

    def __init__(self, *, grid_size: int, codes: int, num_latents: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.grid_size, self.mask_id = grid_size, codes
        self.class_token = embedding(1, width)
        self.codes = embedding(codes + 1, width)
        self.positions = embedding(1 + grid_size**2, width)
        self.latent_positions = embedding(num_latents, width)
        self.norm_in = first_norm(width)
        self.blocks = nn.ModuleList(ViTBlock(width, heads) for _ in range(layers))
        self.norm_out = nn.LayerNorm(width)

    def forward(self, latents: Tensor, ids: Tensor | None = None) -> Tensor:
        """Grid features `[B, width, g, g]` of latents `[B, N, width]` and ids `[B, P]`, V where a code is hidden; None: all hidden."""
        if ids is None:
            ids = latents.new_full((len(latents), self.grid_size**2), self.mask_id, dtype=torch.int64)
        codes = nn.functional.embedding(ids, self.codes)
        grid = torch.cat([self.class_token.expand(len(ids), -1, -1), codes], dim=1) + self.positions
        y = self.norm_in(torch.cat([grid, latents + self.latent_positions], dim=1))
        for block in self.blocks[:-1]:
            y = block(y)
        y = self.norm_out(self.blocks[-1](y, keep=slice(1, 1 + self.grid_size**2)))
        return y.transpose(1, 2).unflatten(2, (self.grid_size, self.grid_size))


class SFTok(TiTok):
    """Pictures of one size to N tokens and back; see the module's docstring."""

    family: ClassVar[str] = "sftok"
    config_class: ClassVar[type] = SFTokConfig
    config: SFTokConfig
    decoder: MultiStepDecoder
    head: CodesHead

    def __init__(self, config: SFTokConfig) -> None:
        super().__init__(config)
        self.encode_options, self.decode_options = ImageEncodeOptions, SFTokDecodeOptions
        self.spec = self.spec  # with the names of these options

    def build_decoder(self) -> nn.Module:
        """The transformer that reads the codes revealed so far."""
        c = self.config
        return MultiStepDecoder(
            grid_size=c.image_size // c.decoder_patch_size,
            codes=c.teacher_codes,
            num_latents=c.num_latents,
            width=c.decoder.width,
            layers=c.decoder.layers,
            heads=c.decoder.heads,
        )

    def logits_of(self, z_q: Tensor, ids: Tensor | None = None) -> Tensor:
        """Logits `[B, V, g, g]` of latents `[B, D, N]` and the codes revealed so far, `[B, P]`; None: none."""
        return self.head.logits(self.decoder(self.from_latent(z_q.transpose(1, 2)), ids))

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None, **options: Any) -> Tensor:
        """Pictures `[B, 3, H, W]` of latents `[B, D, N]`, in several steps; `options` as in `reveal`."""
        return self.head.pixels(self.reveal(z_q, **options)[1])

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Pictures `[B, 3, H, W]` of ids `[B, 1, N]`."""
        o = batch.options
        assert isinstance(o, SFTokDecodeOptions)
        return self.decode_latents(self.vectors_of(ids), steps=o.steps, temperature=o.temperature, seed=o.seed)

    @torch.no_grad()
    def reveal(
        self,
        z_q: Tensor,
        *,
        steps: int | None = None,
        temperature: float | None = None,
        seed: int = 0,
        noise: list[tuple[Tensor, Tensor]] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Predict the codes step by step.

        Args:
            z_q: latents `[B, D, N]`.
            steps, temperature, seed: as in `SFTokDecodeOptions`.
            noise: for each step Gumbel noise for the logits `[B, V, P]` and for the confidences `[B, P]`; None: drawn from `seed`.

        Returns:
            Codes `[B, P]`, and the logits `[B, V, g, g]` of the last step.
        """
        c = self.config
        steps, heat = steps or c.steps, c.temperature if temperature is None else temperature
        places, hidden = self.decoder.grid_size**2, self.decoder.mask_id
        ids = torch.full((len(z_q), places), hidden, dtype=torch.int64, device=z_q.device)
        generator = torch.Generator().manual_seed(seed)
        logits = z_q
        for step in range(steps):
            done = (step + 1) / steps
            logits = self.logits_of(z_q, ids)
            if c.soften:
                logits = logits / (0.5 + 0.8 * (1 - done))
            scores = logits.flatten(2).float()  # [B, V, P]
            own = _gumbel(scores[0], generator) if noise is None else noise[step]
            masked = ids == hidden
            drawn = (scores + heat * (1 - done) * own[0]).argmax(1)
            found = torch.where(masked, drawn, ids)
            if step + 1 == steps:
                return found, logits
            sure = torch.where(masked, scores.gather(1, drawn[:, None])[:, 0], torch.inf) + heat * (1 - done) * own[1]
            still = min(max(math.floor(places * math.acos(done) / (math.pi / 2)), 1), int(masked[0].sum()) - 1)
            least = sure.sort(1).values[:, max(still, 1) - 1, None]
            ids = torch.where(sure <= least, hidden, found)
        raise AssertionError("unreachable")

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct `[B, 3, H, W]`; `features["logits"]` is `[B, V, g, g]`.

        In a training step: one pass with the codes that the config's `revealed` allows; `features["hidden"]` is `[B, P]`, 1 for a code
        that was hidden and 0 for the others. Otherwise `x_hat` is what `decode` gives.
        """
        z = self.encode_latents(x)
        quantized = self.quantizer(z, grid=None)
        if not (self.training and torch.is_grad_enabled()):
            logits = self.reveal(quantized.z_q)[1]
            return Reconstruction(x_hat=self.head.pixels(logits), z=z, quantized=quantized, features={"logits": logits})
        ids = self._revealed(quantized.z_q)
        logits = self.logits_of(quantized.z_q, ids)
        features = {"logits": logits, "hidden": (ids == self.decoder.mask_id).to(logits.dtype)}
        return Reconstruction(x_hat=self.head.pixels(logits), z=z, quantized=quantized, features=features)

    @torch.no_grad()
    def _revealed(self, z_q: Tensor) -> Tensor:
        """Codes `[B, P]` that a training step starts from, V where one is hidden, of latents `[B, D, N]`."""
        hidden = torch.full((len(z_q), self.decoder.grid_size**2), self.decoder.mask_id, device=z_q.device)
        if self.config.revealed == "none":
            return hidden
        first = self.logits_of(z_q).flatten(2).argmax(1)
        share = torch.acos(torch.rand(len(z_q), 1, device=z_q.device)) / (math.pi / 2)  # of the codes that are hidden
        order = torch.rand(first.shape, device=z_q.device).argsort(1)
        return torch.where(order < (share * first.shape[1]).round(), hidden, first)


def _gumbel(like: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Gumbel noise `[V, P]` for logits and `[P]` for confidences, the same on every device."""
    logits, sure = (
        -torch.empty(shape, dtype=torch.float32).exponential_(generator=generator).log().to(like.device, non_blocking=True)
        for shape in (like.shape, like.shape[1:])
    )
    return logits, sure
