"""Makes a tokenizer of what is trained already, by fitting a quantizer to media: no gradient, no loss.

    tokenzoo quantize stabilityai/sd-vae-ft-mse photos/ --out my-tokenizer --levels 64
    tokenzoo quantize stabilityai/sd-vae-ft-mse photos/ --out my-tokenizer --quantizer kmeans --codebook 1024
    tokenzoo.load("file:my-tokenizer")

Continuous autoencoders: by default each channel of their latents is rounded to levels (TokenBridge, Wang et al. 2025, arXiv
2503.16430): bins of equal probability under a Gaussian, whose range in each channel is fitted. Every other quantizer with a `fit`
(k-means, anchors, additive quantization) is fitted to a sample of all positions. `units.py` makes tokenizers of speech models.
Letters: B batch, D latent width, L positions, N rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..codecs.quantizers.base import Fittable, Quantizer, QuantizerConfig
from ..codecs.quantizers.dimension_wise import DimensionWise, DimensionWiseConfig
from ..codecs.tokenizer import Tokenizer
from ..codecs.wrapping import unwrap
from .evaluate.run import media_files
from .progress import Bar


@dataclass(frozen=True)
class Fit:
    """How well the codes represent the latents.

    Attributes:
        items: number of media that were read.
        positions: number of latent positions, over all media, or those of them that were drawn.
        latent_snr_db: signal-to-noise ratio in dB: power of the latents around their means over the power of the error.
        outside: share (0..1) of latent values outside the range of the levels, which are clipped to it; 0 without levels.
        error: squared distance to the code, mean over positions and channels.
    """

    items: int
    positions: int
    latent_snr_db: float
    outside: float = 0.0
    error: float = 0.0


@torch.no_grad()
def quantize(
    tokenizer: Tokenizer,
    media: str | Path | Sequence[Any],
    *,
    quantizer: QuantizerConfig | None = None,
    levels: int = 64,
    sigmas: float = 3.0,
    limit: int = 256,
    positions: int = 500_000,
    progress: bool = False,
) -> tuple[Tokenizer, Fit]:
    """Fit the quantizer of a tokenizer to media.

    Args:
        tokenizer: one whose quantizer is fitted, not trained: `tokenzoo.load` makes one of any diffusers `AutoencoderKL`.
        media: a folder, a glob, a `.txt` list, or a sequence of what `encode` takes.
        quantizer: settings of a quantizer that has `fit`, which takes the place of the tokenizer's own; None: the tokenizer's.
        levels: "dimension_wise": V, number of levels of each channel.
        sigmas: "dimension_wise": range of the levels to either side of a channel's mean, in standard deviations.
        limit: take at most this many media items (0: all).
        positions: other kinds: fit to at most this many positions, drawn at random from all.
        progress: show a bar on a terminal.

    Returns:
        A new tokenizer with the same network, in eval mode, and how well its codes represent the latents.

    Raises:
        ValueError: a quantizer that is trained instead of fitted, no media, or fewer positions than codes.
    """
    tokenizer = unwrap(tokenizer)
    own = tokenizer.config.quantizer if quantizer is None else quantizer
    if quantizer is None and isinstance(own, DimensionWiseConfig):
        own = replace(own, levels=levels, sigmas=sigmas)
    if not callable(getattr(own.quantizer_class(), "fit", None)):
        raise ValueError(
            f"a quantizer {own.kind!r} is trained, not fitted; 'dimension_wise', 'kmeans', 'anchors' and 'additive_vq' are fitted."
        )
    items: list[Any] = list(media_files(media, tokenizer.spec.modality)) if isinstance(media, str | Path) else list(media)
    items = items[:limit] if limit else items
    if not items:
        raise ValueError(f"no {tokenizer.spec.modality} media in {media!r}.")
    config = replace(tokenizer.config, quantizer=own)
    fresh = type(tokenizer)(config).to(tokenizer.device, tokenizer.dtype).eval()
    state = {k: v for k, v in tokenizer.state_dict().items() if not k.startswith("quantizer.")}
    fresh.load_state_dict(state, strict=False)
    if isinstance(fresh.quantizer, DimensionWise):
        with Bar(2 * len(items), "fitting", show=progress) as bar:  # each item is encoded twice: to fit, and to measure
            fresh.quantizer.fit(_latents(fresh, items, bar))
            return fresh, _measure(fresh, fresh.quantizer, items, bar)
    with Bar(len(items), "fitting", show=progress) as bar:
        rows = _drawn(_latents(fresh, items, bar), positions)
    return fresh, _fit(fresh.quantizer, rows, len(items))


def _fit(quantizer: Quantizer, rows: Tensor, items: int) -> Fit:
    """Fit to rows `[N, D]`."""
    assert isinstance(quantizer, Fittable)
    error = float(quantizer.fit(rows))
    power = float((rows - rows.mean(0)).double().square().mean())
    snr = 10 * torch.tensor(power / max(error, 1e-30)).log10()
    return Fit(items, len(rows), float(snr), error=error)


def _drawn(latents: Iterator[Tensor], most: int) -> Tensor:
    """Rows `[N, D]` of latents `[1, D, L]`: all, or `most` of them drawn at random, with twice as many in memory at most."""
    generator = torch.Generator().manual_seed(0)
    rows: list[Tensor] = []
    keys: list[Tensor] = []

    def thin() -> None:
        joined, key = torch.cat(rows), torch.cat(keys)
        kept = key.topk(min(most, len(key))).indices.sort().values
        rows[:], keys[:] = [joined[kept.to(joined.device)]], [key[kept]]

    for z in latents:
        rows.append(z[0].t().float())
        keys.append(torch.rand(z.shape[2], generator=generator))
        if sum(map(len, keys)) > 2 * most:
            thin()
    thin()
    return rows[0]


def _latents(tokenizer: Tokenizer, items: Sequence[Any], bar: Bar) -> Iterator[Tensor]:
    """Latents `[1, D, L]` of each item, yielded in order."""
    for item in items:
        bar.step()
        x = tokenizer.prepare(item)[0].x[None].to(tokenizer.device, tokenizer.dtype)
        yield tokenizer.encode_latents(x)


def _measure(tokenizer: Tokenizer, quantizer: DimensionWise, items: Sequence[Any], bar: Bar) -> Fit:
    error = power = outside = 0.0
    positions = 0
    middle = (quantizer.low + quantizer.high) / 2
    for z in _latents(tokenizer, items, bar):
        error += float((quantizer.decode(quantizer.encode(z)) - z).double().square().sum())
        power += float((z - middle).double().square().sum())
        outside += float(((z < quantizer.low) | (z > quantizer.high)).sum())
        positions += z.shape[0] * z.shape[2]
    snr = 10 * torch.tensor(power / error).log10()
    values = positions * quantizer.dim
    return Fit(len(items), positions, float(snr), outside / values, error / values)
