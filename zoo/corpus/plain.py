"""The default packing of a tokenizer, used if none is chosen."""

import os
from collections.abc import Mapping
from typing import Any

from ...codecs.config import ConfigError, from_mapping
from .packing.base import Packing, PackingConfig, load_packing
from .records import Layout
from .vocabulary import Books, Vocabulary


def book_name(tokenizer: str) -> str:
    """What a tokenizer is called in a vocabulary: the last part of its name, without what token strings cannot hold."""
    word = tokenizer.rstrip("/").replace("\\", "/").rsplit("/", 1)[-1].split("@")[0].split(":")[-1]
    return "-".join(word.split()) or "media"


def plain_packing(layout: Layout, tokenizer: str, kind: str | None = None, *, own: bool = False, **settings: Any) -> PackingConfig:
    """A packing over a vocabulary of the special tokens and one tokenizer.

    Args:
        layout: of the tokens.
        tokenizer: its name.
        kind: a pattern; None: scales in turn for multi-scale tokens, whole frames for multi-rate ones, rows that say where
            they end for grids of one codebook (of clips frame after frame), a prefix for pictures as 1-D sequences, and all
            codebooks of a position in turn for all others.
        own: `kind` is the user's own word and may name a pattern of the user's (see `codecs/kinds.py`).
        settings: of the pattern.

    Raises:
        ConfigError: a pattern that needs settings of its own, or does not fit the layout.
    """
    name = book_name(tokenizer)
    kind = kind or ("multi_scale" if layout.scales else "multi_rate" if layout.strides else None)
    if kind is None and (layout.planar or layout.clips):
        kind = "interleaved" if len(layout.vocab_sizes) > 1 else "raster" if layout.planar else "clips"
    kind = kind or ("prefix" if layout.modality == "image" else "interleaved")
    of_layout: dict[str, Any] = {}
    if kind == "multi_scale":
        of_layout["scales"] = layout.scales
    elif kind == "multi_rate":
        of_layout["strides"] = layout.strides
    elif kind in ("raster", "clips"):
        of_layout["row_ends"] = True
    modality: Any = layout.modality  # checked by `Vocabulary`
    vocabulary = Vocabulary(media=(Books(name=name, modality=modality, vocab_sizes=layout.vocab_sizes),))
    values = {"kind": kind, "tokenizer": name, "vocabulary": vocabulary, "names": list(layout.names), **of_layout, **settings}
    try:
        config = from_mapping(PackingConfig, values, own=own)
        config.build()
    except ConfigError as error:
        raise ConfigError(f"the plain packing of {tokenizer!r}: {error}") from error
    return config


#: Accepted ways to name a packing in arguments.
Choice = str | os.PathLike[str] | Mapping[str, Any] | PackingConfig | Packing | None


def packing_of(choice: Choice, layout: Layout, tokenizer: str) -> PackingConfig:
    """The packing that an option or an argument names.

    A kind may name a pattern of the user's own; a whole config may come with somebody's corpus, so it may not.

    Args:
        choice: a kind, "delay"; a mapping of a kind and its settings, {"kind": "delay", "delays": [0, 1, 1]}; a whole config, or
            the document of `packing.json`, or that file; a packing or its config; None: the plain one.
        layout: of the tokens.
        tokenizer: its name.

    Raises:
        ConfigError: nothing of these, an unknown kind or setting, or one that does not fit the layout.
    """
    if isinstance(choice, Packing):
        return choice.config
    if isinstance(choice, PackingConfig):
        return choice
    if isinstance(choice, os.PathLike) or (isinstance(choice, str) and choice.endswith(".json")):
        return load_packing(choice).config
    if not isinstance(choice, str | Mapping | None):
        kind = type(choice).__name__
        raise ConfigError(f"packing is a {kind}; allowed: a name ('delay'), a mapping with 'kind', a packing.json, or a Packing.")
    if not isinstance(choice, Mapping):
        return plain_packing(layout, tokenizer, choice, own=True)
    if "packing" in choice or "vocabulary" in choice:  # as somebody's packing.json holds it
        return from_mapping(PackingConfig, choice.get("packing", choice), "packing")
    settings = {str(k): v for k, v in choice.items()}
    return plain_packing(layout, tokenizer, settings.pop("kind", None), own=True, **settings)


def is_whole(choice: Choice) -> bool:
    """True if the choice of a packing specifies which codebooks it takes."""
    if isinstance(choice, Mapping):
        return "vocabulary" in choice or "packing" in choice
    return choice is not None and (not isinstance(choice, str) or choice.endswith(".json"))
