"""The plain packing of a tokenizer: what is taken where nobody chose one."""

from typing import Any

from ...codecs.config import ConfigError, from_mapping
from .packing.base import PackingConfig
from .records import Layout
from .vocabulary import Books, Vocabulary


def book_name(tokenizer: str) -> str:
    """What a tokenizer is called in a vocabulary: the last part of its name, without what token strings cannot hold."""
    word = tokenizer.rstrip("/").replace("\\", "/").rsplit("/", 1)[-1].split("@")[0].split(":")[-1]
    return "-".join(word.split()) or "media"


def plain_packing(layout: Layout, tokenizer: str, kind: str | None = None, **settings: Any) -> PackingConfig:
    """A packing over a vocabulary of the special tokens and one tokenizer.

    Args:
        layout: of the tokens.
        tokenizer: its name.
        kind: a pattern; None: scales in turn for multi-scale tokens, whole frames for multi-rate ones, rows that say where
            they end for grids of one codebook, a prefix for pictures as 1-D sequences, and all codebooks of a position in
            turn for all others.
        settings: of the pattern.

    Raises:
        ConfigError: a pattern that needs settings of its own, or does not fit the layout.
    """
    name = book_name(tokenizer)
    kind = kind or ("multi_scale" if layout.scales else "multi_rate" if layout.strides else None)
    if kind is None and layout.planar:
        kind = "raster" if len(layout.vocab_sizes) == 1 else "interleaved"
    kind = kind or ("prefix" if layout.modality == "image" else "interleaved")
    own: dict[str, Any] = {}
    if kind == "multi_scale":
        own["scales"] = layout.scales
    elif kind == "multi_rate":
        own["strides"] = layout.strides
    elif kind == "raster":
        own["row_ends"] = True
    vocabulary = Vocabulary(media=(Books(name=name, modality=layout.modality, vocab_sizes=layout.vocab_sizes),))  # type: ignore[arg-type]
    values = {"kind": kind, "tokenizer": name, "vocabulary": vocabulary, "names": list(layout.names), **own, **settings}
    try:
        config = from_mapping(PackingConfig, values)
        config.build()
    except ConfigError as error:
        raise ConfigError(f"the plain packing of {tokenizer!r}: {error}") from error
    return config


def packing_of(choice: str | dict[str, Any] | None, layout: Layout, tokenizer: str) -> PackingConfig:
    """The packing that an option names: a kind, a whole config (or the document of `packing.json`), or None."""
    if isinstance(choice, dict):
        return from_mapping(PackingConfig, choice.get("packing", choice))
    return plain_packing(layout, tokenizer, choice)
