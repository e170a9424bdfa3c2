"""From media to tokens, and from tokens to the training set of an autoregressive model.

    bulk.py         `tokenize`: a source of media to shards of tokens, resumable; README.md has the whole picture
    check.py        `verify` and `stats` of a folder of shards
    language/       statistics of ids as a language: entropies given contexts, compressors, n-grams, drift
    dataset.py      `TokenDataset`: shards as a PyTorch data set, without the model; parts for training and testing
    blend.py        `Blend`: several of them, each as often as its weight says
    samples.py      batches of either, from a loader that can be stopped and continued
    attention.py    which steps of a batch may attend to each other
    vocabulary.py   one id space for text, special tokens and the codebooks of several tokenizers
    packing/        tokens to sequences and back exactly, one file a pattern
    hf.py           the media tokens in a text tokenizer of transformers
    bpe.py          learns merges of ids for the packing `bpe`
    generation.py   a logits processor: only ids that a packing can go on with
    prior.py        fits a prior of ids, for entropy-coded token files
    lm.py           a small language model on shards, as an example of use

Nothing is imported until it is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .blend import Blend as Blend
    from .bulk import Result as Result
    from .bulk import tokenize as tokenize
    from .check import stats as stats
    from .check import verify as verify
    from .dataset import TokenDataset as TokenDataset
    from .ledger import RequestError as RequestError
    from .options import Options as Options
    from .options import Pace as Pace

# public name -> module
_LAZY = {
    "tokenize": "bulk",
    "Result": "bulk",
    "Options": "options",
    "Pace": "options",
    "RequestError": "ledger",
    "TokenDataset": "dataset",
    "Blend": "blend",
    "verify": "check",
    "stats": "check",
}

__all__ = list(_LAZY)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
