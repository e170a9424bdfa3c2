"""Makes a tokenizer of a trained continuous autoencoder: each channel of its latents is rounded to levels.

    tokenzoo quantize stabilityai/sd-vae-ft-mse photos/ --out my-tokenizer --levels 64
    tokenzoo.load("file:my-tokenizer")

Method of TokenBridge (Wang et al. 2025, arXiv 2503.16430): bins of equal probability under a Gaussian; their range in each
channel is fitted to media. Nothing is trained. Letters: B batch, D latent width, L positions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..codecs.quantizers.dimension_wise import DimensionWise
from ..codecs.tokenizer import Tokenizer
from ..codecs.wrapping import unwrap
from .evaluate.run import media_files
from .progress import Bar


@dataclass(frozen=True)
class Fit:
    """How well the levels represent the latents.

    Attributes:
        items: number of media that were read.
        positions: number of latent positions, over all media.
        latent_snr_db: signal-to-noise ratio in dB: power of the latents around their means over the power of the rounding error.
        outside: share (0..1) of latent values outside the range of the levels, which are clipped to it.
    """

    items: int
    positions: int
    latent_snr_db: float
    outside: float


@torch.no_grad()
def quantize(
    tokenizer: Tokenizer,
    media: str | Path | Sequence[Any],
    *,
    levels: int = 64,
    sigmas: float = 3.0,
    limit: int = 256,
    progress: bool = False,
) -> tuple[Tokenizer, Fit]:
    """Fit the levels of a tokenizer to media.

    Args:
        tokenizer: one whose quantizer is "dimension_wise": `tokenzoo.load` makes one of any diffusers `AutoencoderKL`.
        media: a folder, a glob, a `.txt` list, or a sequence of what `encode` takes.
        levels: V, number of levels of each channel.
        sigmas: range of the levels to either side of a channel's mean, in standard deviations.
        limit: take at most this many media items (0: all).
        progress: show a bar on a terminal.

    Returns:
        A new tokenizer with the same autoencoder, in eval mode, and how well its levels represent the latents.

    Raises:
        ValueError: a tokenizer with another quantizer, or no media.
    """
    tokenizer = unwrap(tokenizer)
    if not isinstance(tokenizer.quantizer, DimensionWise):
        kind = tokenizer.quantizer.config.kind
        raise ValueError(f"{tokenizer.family} has a quantizer {kind!r}; only 'dimension_wise' is fitted after training.")
    items: list[Any] = list(media_files(media, tokenizer.spec.modality)) if isinstance(media, str | Path) else list(media)
    items = items[:limit] if limit else items
    if not items:
        raise ValueError(f"no {tokenizer.spec.modality} media in {media!r}.")
    own = replace(tokenizer.config.quantizer, levels=levels, sigmas=sigmas)  # type: ignore[attr-defined]
    config = replace(tokenizer.config, quantizer=own)  # type: ignore[attr-defined, type-var]
    fresh = type(tokenizer)(config).to(tokenizer.device, tokenizer.dtype).eval()
    state = {k: v for k, v in tokenizer.state_dict().items() if not k.startswith("quantizer.")}
    fresh.load_state_dict(state, strict=False)
    quantizer: DimensionWise = fresh.quantizer  # type: ignore[assignment]
    with Bar(2 * len(items), "fitting", show=progress) as bar:  # each item is encoded twice: to fit, and to measure
        quantizer.fit(_latents(fresh, items, bar))
        return fresh, _measure(fresh, quantizer, items, bar)


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
    return Fit(len(items), positions, float(snr), outside / (positions * quantizer.dim))
