"""Every family in tiny form with lively weights, and media for it: what the tests over all families share."""

import pytest
import tokenzoo
import torch
from families import TINY
from quantizer_checks import FITTED
from tokenzoo.codecs.audio.base import AudioTokenizer
from tokenzoo.codecs.audio.kanade.model import Kanade
from tokenzoo.codecs.families import FAMILIES
from tokenzoo.codecs.tokenizer import NotDecodable, Tokenizer

AUDIO_LENGTHS = (1, 7, 19, 20, 21, 40, 163, 397, 1001)
IMAGE_SIZES = ((16, 16), (17, 16), (5, 31), (33, 20), (48, 47))
LABELS = sorted(TINY)
AUDIO = [n for n in LABELS if issubclass(FAMILIES.resolve(TINY[n][0]), AudioTokenizer)]
IMAGE = [n for n in LABELS if FAMILIES.resolve(TINY[n][0]).__module__.split(".")[2] == "image"]
#: Of each family one form; its other forms among the slow tests.
ONE_OF_EACH = [
    label if label == min(x for x in LABELS if TINY[x][0] == TINY[label][0]) else pytest.param(label, marks=pytest.mark.slow)
    for label in LABELS
]


def build(label: str) -> Tokenizer:
    """The tiny tokenizer with lively weights: codebooks spread over the latents, so that ids vary."""
    torch.manual_seed(0)
    family, config = TINY[label]
    tokenizer = tokenzoo.build_tokenizer(family, config)
    if getattr(tokenizer.quantizer.config, "kind", "") in FITTED:
        tokenizer.quantizer.fit(tokenizer.encode_latents(batch(tokenizer, 4)))
    tokenizer.train()
    with torch.no_grad():
        for seed in range(3):
            tokenizer(batch(tokenizer, 2, seed=seed))
    return tokenizer.eval()


def noise(*shape: int, seed: int) -> torch.Tensor:
    """Smooth noise, reproducible."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return (0.6 * x + 0.4 * x.roll(1, -1)).clamp(-3, 3) / 3


def is_map(spec) -> bool:
    """Maps `[C, H, W]` go in, and no sequences."""
    return hasattr(spec, "sequences") and not spec.sequences


def item(tokenizer: Tokenizer, size: int | tuple[int, int], seed: int = 0) -> torch.Tensor:
    """One clip `[C, T]` or picture `[3, H, W]` in the tokenizer's range."""
    spec = tokenizer.spec
    if spec.modality == "audio":
        return noise(spec.channels, size, seed=seed) * 0.5
    if is_map(spec):
        x = noise(spec.channels, *size, seed=seed)
        return ((x[0] + 1) / 2 * spec.classes).long() if spec.classes else x
    if spec.modality == "latent":
        return noise(spec.channels, size, seed=seed)
    low, high = spec.value_range
    frames = (2,) if spec.clips else ()
    return (noise(*frames, 3, *size, seed=seed) + 1) / 2 * (high - low) * 0.98 + low + 0.01 * (high - low)


def size_of(tokenizer: Tokenizer) -> int | tuple[int, int]:
    """A convenient size: the one of the family, or a few strides."""
    spec = tokenizer.spec
    if spec.modality == "audio":
        return 12 * spec.hop_samples + 3
    if is_map(spec):
        return 6 * spec.stride, 4 * spec.stride
    if spec.modality == "latent":
        return 12
    return spec.image_size or (6 * max(spec.stride, 1), 4 * max(spec.stride, 1))


def batch(tokenizer: Tokenizer, count: int, seed: int = 0) -> torch.Tensor:
    return torch.stack([item(tokenizer, size_of(tokenizer), seed=100 * seed + i) for i in range(count)])


def media(x: torch.Tensor, tokenizer: Tokenizer) -> object:
    return (x, tokenizer.spec.sample_rate_hz) if tokenizer.spec.modality == "audio" else x


def sizes(tokenizer: Tokenizer) -> list:
    spec = tokenizer.spec
    if spec.modality == "audio":
        return [n for n in AUDIO_LENGTHS if n <= 12 * spec.hop_samples or n == 163] + [7 * spec.hop_samples + 1]
    if is_map(spec):
        return [(5, 31), (16, 16), (9, 6)]
    if spec.modality == "latent":
        return [1, 7, 19]
    return [spec.image_size] if spec.image_size else [s for s in IMAGE_SIZES]


def decode(tokenizer: Tokenizer, tokens: tokenzoo.Tokens) -> torch.Tensor | list[torch.Tensor]:
    """What `decode` gives; of a tokenizer that only encodes its refusal, and the latents of the ids in place of media."""
    if tokenizer.spec.decodes:
        return tokenizer.decode(tokens)
    with pytest.raises(NotDecodable, match="only encodes"):
        tokenizer.decode(tokens)
    if isinstance(tokenizer, Kanade):
        return tokenizer.mel(tokens)
    if tokenizer.spec.side_vectors:
        return tokenizer.semantic(tokens)
    with torch.no_grad():
        z = [tokenizer.quantizer.decode(tokens[i].ids, grid=tokens[i].grid or None)[0] for i in range(len(tokens))]
    return torch.stack(z) if len({v.shape for v in z}) == 1 else z
