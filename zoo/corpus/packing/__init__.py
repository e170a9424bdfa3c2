"""Tokens to the sequences of a language model, and back exactly. One file a pattern.

    from tokenzoo.zoo.corpus.packing import DelayConfig, load_packing
    packing = DelayConfig(tokenizer="speech", vocabulary=vocabulary).build()
    packed = packing.pack(tokens)            # input_ids, labels, loss_mask
    packing.unpack(packed).tokens            # equal to `tokens`, every field
    packing.unpack(generated_ids).problems   # what a model got wrong, by position
    packing.save("packing.json"); load_packing("packing.json")

    kind            one step holds                        made for
    raster          one id, rows from the top             one codebook on a grid (VQGAN, FSQ, IBQ)
    clips           one id, rows of frame after frame     one codebook on clips (VidTok, Cosmos DV)
    interleaved     all codebooks of a frame in turn      residual codecs, flat
    delay           K ids, codebook k later by d_k        MusicGen, Moshi
    parallel        K ids of one frame                    residual codecs with a depth model
    coarse_first    codebook groups one after another     semantic first, then acoustic (AudioLM)
    multi_rate      slow and fast codebooks of a frame    SNAC
    multi_scale     the scales, coarse to fine            VAR, Infinity
    prefix          one position of a 1-D sequence        TiTok, FlexTok, One-D-Piece
    bits            some bits of an id                    binary codes too big for one integer (LFQ, BSQ)
    per_dimension   the dimensions of a position          TokenBridge, FSQ by dimension
    bpe             frequent pairs of steps as one id     any pattern of one id a step, to shorten it

Sequences with many repeats (speech units) may go in as runs: `codecs/run_lengths.py: collapse` gives tokens with a codebook of
durations, which the patterns for several codebooks take, and `expand` leads back from what `unpack` returns.

The rules that hold for all of them:

- A medium is `begin_<modality>`, its ids, `end_<modality>`; shorter items of a batch are filled with `pad` at the end.
- End rule: the end token has a label and its `loss_mask` is True, in every stream: a model must learn to stop. With
  `end=False` (media of one fixed length) there is none. Padding and the empty corners of a delay pattern never count;
  the begin token counts only with `learn_begin=True` (models that choose by themselves to start a medium).
- `labels` has the shape of `input_ids` and is *not* shifted: `labels[.., s]` is the id at step s, or -100. Models of
  transformers shift by themselves; for other loops `packed.shifted()` gives inputs, targets and mask.
- `unpack` never raises on ids that a model made. It reads from after the first begin token (or from the start where
  there is none) to the first end token, and gives the longest prefix of positions whose codebooks are all in place, cut
  to what decodes (whole frames of a multi-rate codec, whole scales). All ids out of place are listed by position.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .patterns import PATTERNS

if TYPE_CHECKING:
    from .base import Packed as Packed
    from .base import Packing as Packing
    from .base import PackingConfig as PackingConfig
    from .base import Problem as Problem
    from .base import Side as Side
    from .base import Unpacked as Unpacked
    from .base import load_packing as load_packing
    from .bits import BitsConfig as BitsConfig
    from .bpe import BpeConfig as BpeConfig
    from .clips import ClipsConfig as ClipsConfig
    from .coarse_first import CoarseFirstConfig as CoarseFirstConfig
    from .delay import DelayConfig as DelayConfig
    from .interleaved import InterleavedConfig as InterleavedConfig
    from .multi_rate import MultiRateConfig as MultiRateConfig
    from .multi_scale import MultiScaleConfig as MultiScaleConfig
    from .parallel import ParallelConfig as ParallelConfig
    from .per_dimension import PerDimensionConfig as PerDimensionConfig
    from .prefix import PrefixConfig as PrefixConfig
    from .raster import RasterConfig as RasterConfig

_BASE = ("Packed", "Packing", "PackingConfig", "Problem", "Side", "Unpacked", "load_packing")

# public name -> module
_LAZY = {name: "base" for name in _BASE} | {p.split(":")[1]: p.split(":")[0] for p in PATTERNS.targets().values()}

__all__ = ["PATTERNS", *_LAZY]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
