"""The request: everything that the bytes of a corpus depend on, as a mapping. It heads the plan and the manifest."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ...codecs.config import ConfigError, to_mapping
from ...codecs.identity import checksum
from ...codecs.media import Prepared
from ...codecs.modalities import is_pictures, is_sound
from ...codecs.tokenizer import Tokenizer
from ...codecs.version import __version__
from ..choices import chosen
from ..hub import load
from .formats import PACKED
from .options import Options
from .plain import packing_of
from .records import Layout
from .sources import Listing

#: Where a tokenizer that came as an object is kept for other processes.
SAVED = "tokenizer"


def load_tokenizer(name: str, revision: str | None, options: Options, device: str | None = None) -> Tokenizer:
    """Load a tokenizer's encoder with the dtype and device of the options."""
    return load(name, part="encoder", revision=revision, device=device or options.device, dtype=getattr(torch, options.dtype))


def probe(tokenizer: Tokenizer, options: Options) -> Layout:
    """The layout of a tokenizer's tokens, by encoding a synthetic item.

    Raises:
        ConfigError: it takes neither pictures nor sound, or it cannot encode with these options; checked before the job starts.
    """
    spec = tokenizer.spec
    if is_sound(tokenizer):
        x = torch.zeros(spec.channels, 4 * tokenizer.spec.hop_samples + 1)
    elif is_pictures(tokenizer):
        size = tokenizer.spec.image_size or (2 * tokenizer.size_multiple,) * 2
        frames = (1,) if tokenizer.spec.clips else ()
        x = torch.full((*frames, 3, *size), tokenizer.spec.value_range[0])
    else:
        raise ConfigError(f"{tokenizer.family} is a tokenizer of {spec.modality}s; corpora are made of pictures or sound.")
    try:
        axes = tuple(x.shape[:-3] + x.shape[-2:]) if spec.modality == "image" else (x.shape[1],)
        tokens = tokenizer.encode_prepared([Prepared(x, axes)], encode_options(tokenizer, options))
    except Exception as error:
        raise ConfigError(f"{tokenizer.family} cannot encode with these options: {error}") from error
    return Layout.of(tokens.to("cpu"), spec.modality)


def encode_options(tokenizer: Tokenizer, options: Options) -> Any:
    """Options that the job passes to `encode`.

    Raises:
        ConfigError: an option that the tokenizer does not take.
    """
    asked = chosen(tokenizer, options.encode, codebooks=options.codebooks, positions=options.positions, verbs=("encode",))
    return asked.of_encode


def head_of(tokenizer: Tokenizer, name: str, revision: str | None, options: Options) -> dict[str, Any]:
    """The request without its description of the source."""
    layout = probe(tokenizer, options)
    head: dict[str, Any] = {
        "library_version": __version__,
        "tokenizer": {
            "name": name,
            "revision": revision,
            "sha256": checksum(tokenizer),
            "family": tokenizer.family,
            "dtype": str(tokenizer.dtype).removeprefix("torch."),
            "spec": plain({"modality": tokenizer.spec.modality, **dataclasses.asdict(tokenizer.spec)}),
        },
        "layout": plain(to_mapping(layout)),
        "options": plain(to_mapping(options)),
    }
    if options.format in PACKED:
        head["packing"] = plain(to_mapping(packing_of(options.packing, layout, name)))
    return head


def source_facts(listing: Listing) -> dict[str, Any]:
    """Description of the source in the request."""
    sizes = listing.items["size"].to_numpy()
    return {
        "names": listing.names,
        "items": listing.items.num_rows,
        "bytes": int(sizes[sizes > 0].sum()),
        "sha256": listing.digest(),
    }


def plain(value: Any) -> Any:
    """Values as read back from JSON, so that requests compare equal to those on disk."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    return value


def absolute(name: str) -> str:
    """A tokenizer's name with the path of `file:PATH` made absolute, so that it is valid in other working folders."""
    return f"file:{Path(name[5:]).expanduser().resolve()}" if name.startswith("file:") else name
