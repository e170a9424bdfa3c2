"""One case for each packing pattern: a config and ragged tokens that it takes. Used by tests/zoo/corpus."""

import math
import random

import torch
from tokenzoo.codecs.tokens import Tokens
from tokenzoo.zoo.corpus import packing as P
from tokenzoo.zoo.corpus.packing.bits import split_sizes
from tokenzoo.zoo.corpus.vocabulary import Books, Reserved, Vocabulary

SCALES = ((1, 1), (2, 2), (2, 3))


def vocabulary(sizes: tuple[int, ...], modality: str) -> Vocabulary:
    """The tokenizer `x` between two others, with text and reserved ranges on both sides."""
    return Vocabulary(
        text_size=11,
        text_specials={"pad": 3},
        media=(
            Books(name="before", modality="audio", vocab_sizes=(5, 7)),
            Books(name="x", modality=modality, vocab_sizes=sizes),
            Books(name="after", modality="image", vocab_sizes=(4,)),
        ),
        reserved=(Reserved(name="later", size=3, after="text"), Reserved(name="gap", size=5, after="x")),
        multiple_of=8,
    )


def config_of(kind: str, *, end: bool = True, learn_begin: bool = False) -> P.PackingConfig:
    """A config of this kind, with settings that are not the plain ones."""
    sizes: dict[str, tuple[int, ...]] = {
        "raster": (9,),
        "raster_fixed": (9,),
        "clips": (9,),
        "clips_fixed": (9,),
        "interleaved": (4, 6, 3),
        "delay": (4, 6, 3),
        "moshi": (4, 6, 3),
        "parallel": (4, 6, 3),
        "coarse_first": (4, 6, 3),
        "multi_rate": (4, 6, 3),
        "multi_rate_level": (4, 6, 3),
        "multi_scale": (5, 4),
        "prefix": (8, 5),
        "bits": (2**18, 2**5),
        "per_dimension": (4, 6, 3),
        "bpe": (4, 6, 3),
        "bpe_raster": (9,),
    }
    own = sizes[kind]
    image = kind.startswith(("raster", "clips", "multi_scale", "prefix", "bits", "per", "bpe_raster"))
    books = split_sizes(own, 7) if kind == "bits" else own
    common = {
        "tokenizer": "x",
        "vocabulary": vocabulary(books, "image" if image else "audio"),
        "end": end,
        "learn_begin": learn_begin,
    }
    make = {
        "raster": lambda: P.RasterConfig(row_ends=True, **common),
        "raster_fixed": lambda: P.RasterConfig(grid=(3, 2), **common),
        "clips": lambda: P.ClipsConfig(row_ends=True, **common),
        "clips_fixed": lambda: P.ClipsConfig(grid=(2, 3, 2), **common),
        "interleaved": lambda: P.InterleavedConfig(names=("semantic", "acoustic", "acoustic"), **common),
        "delay": lambda: P.DelayConfig(**common),
        "moshi": lambda: P.DelayConfig(delays=(0, 1, 1), **common),
        "parallel": lambda: P.ParallelConfig(**common),
        "coarse_first": lambda: P.CoarseFirstConfig(groups=(1, 2), **common),
        "multi_rate": lambda: P.MultiRateConfig(strides=(4, 2, 1), **common),
        "multi_rate_level": lambda: P.MultiRateConfig(strides=(4, 2, 1), order="level", **common),
        "multi_scale": lambda: P.MultiScaleConfig(scales=SCALES, **common),
        "prefix": lambda: P.PrefixConfig(allowed=(1, 2, 4, 8), **common),
        "bits": lambda: P.BitsConfig(vocab_sizes=own, bits=7, **common),
        "per_dimension": lambda: P.PerDimensionConfig(order=(2, 0, 1), **common),
        "bpe": lambda: P.BpeConfig(pattern="interleaved", merges=((0, 4), (13, 10), (1, 5), (14, 13)), merged="gap", **common),
        "bpe_raster": lambda: P.BpeConfig(
            pattern="raster", settings={"row_ends": True}, merges=((0, 1), (0, 0), (8, 9), (1, 1)), merged="gap", **common
        ),
    }
    return make[kind]()


CASES = (
    "raster",
    "raster_fixed",
    "clips",
    "clips_fixed",
    "interleaved",
    "delay",
    "moshi",
    "parallel",
    "coarse_first",
    "multi_rate",
    "multi_rate_level",
    "multi_scale",
    "prefix",
    "bits",
    "per_dimension",
    "bpe",
    "bpe_raster",
)


def one(kind: str, config: P.PackingConfig, rng: random.Random) -> Tokens:
    """One item of a random length that the pattern takes, with side information."""
    sizes = config.build().vocab_sizes
    grid: tuple[int, ...] = ()
    n = rng.randint(1, 6)
    if "raster" in kind:
        grid = (3, 2) if kind == "raster_fixed" else (rng.randint(1, 3), rng.randint(1, 4))
        n = grid[0] * grid[1]
    elif "clips" in kind:
        grid = (2, 3, 2) if kind == "clips_fixed" else (rng.randint(1, 3), rng.randint(1, 2), rng.randint(1, 3))
        n = math.prod(grid)
    elif kind.startswith("multi_rate"):
        n = 4 * rng.randint(1, 3)
    elif kind == "multi_scale":
        n = rng.choice((1, 5, 11))
        grid = SCALES[-1] if n == 11 else ()
    elif kind == "prefix":
        n = rng.choice((1, 2, 4, 8))
    ids = torch.tensor([[rng.randrange(v) for _ in range(n)] for v in sizes])
    strides = (4, 2, 1) if kind.startswith("multi_rate") else ()
    for k, s in enumerate(strides):
        ids[k] = ids[k, torch.arange(n) // s * s]
    audio = config.vocabulary.books("x").modality == "audio"
    return Tokens(
        ids=ids[None],
        vocab_sizes=sizes,
        grid=grid,
        sizes=torch.tensor([[rng.randint(1, 999)] * (1 if audio else max(2, len(grid)))]),
        sample_rate_hz=16000 if audio else None,
        scale=torch.tensor([[rng.random()]]) if audio else None,
        strides=strides,
        scales=SCALES if kind == "multi_scale" else (),
        names=config.names,
    )


def batch(kind: str, config: P.PackingConfig, seed: int, items: int) -> Tokens:
    """A ragged batch."""
    rng = random.Random(seed)
    return Tokens.cat([one(kind, config, rng) for _ in range(items)])
