"""The request: everything that the bytes of a corpus depend on, as a mapping. It heads the plan and the manifest."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ... import __version__
from ...codecs.building import is_under
from ...codecs.config import ConfigError, to_mapping
from ...codecs.media import Prepared
from ...codecs.serialize import config_dict
from ...codecs.tokenizer import Tokenizer
from ..hub import load
from .formats import PACKED
from .options import Options
from .plain import packing_of
from .records import Layout
from .sources import Listing

#: Where a tokenizer that came as an object is kept for other processes.
SAVED = "tokenizer"


def load_tokenizer(name: str, revision: str | None, options: Options, device: str | None = None) -> Tokenizer:
    """Load a tokenizer's encoder as the options say."""
    return load(name, part="encoder", revision=revision, device=device or options.device, dtype=getattr(torch, options.dtype))


def checksum(tokenizer: Tokenizer) -> str:
    """sha256 over a tokenizer's family, config and all weights by name, in the type they have, but those of its decoder."""
    config = config_dict(tokenizer)
    head = {k: config[k] for k in ("family", "config")}
    out = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for name, value in sorted(tokenizer.state_dict().items()):
        if is_under(name, tokenizer.decoder_only):  # ids do not depend on it, and bulk jobs leave it out
            continue
        out.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        out.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return out.hexdigest()


def probe(tokenizer: Tokenizer, options: Options) -> Layout:
    """The layout of a tokenizer's tokens, by encoding a made-up item.

    Raises:
        ConfigError: it takes neither pictures nor sound, or cannot encode with these options; better now than 10 million
            items later.
    """
    spec = tokenizer.spec
    if spec.modality == "audio":
        x = torch.zeros(spec.channels, 4 * spec.hop_samples + 1)  # type: ignore[attr-defined]
    elif spec.modality == "image":
        size = spec.image_size or (2 * tokenizer.size_multiple,) * 2  # type: ignore[attr-defined]
        x = torch.full((3, *size), spec.value_range[0])  # type: ignore[attr-defined]
    else:
        raise ConfigError(f"{tokenizer.family} is a tokenizer of {spec.modality}s; corpora are made of pictures or sound.")
    try:
        tokens = tokenizer.encode([Prepared(x, tuple(x.shape[1:]))], **_codebooks(options))
    except Exception as error:
        raise ConfigError(f"{tokenizer.family} cannot encode with these options: {error}") from error
    return Layout.of(tokens.to("cpu"), spec.modality)


def _codebooks(options: Options) -> dict[str, int]:
    return {} if options.codebooks is None else {"num_codebooks": options.codebooks}


def head_of(tokenizer: Tokenizer, name: str, revision: str | None, options: Options) -> dict[str, Any]:
    """All of the request but the source."""
    layout = probe(tokenizer, options)
    if options.resize and getattr(tokenizer.spec, "image_size", None) is None:
        raise ConfigError(f"resize is {options.resize!r}, but {tokenizer.family} takes pictures of any size.")
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
    """What the request says of the source."""
    sizes = listing.items["size"].to_numpy()
    return {
        "names": listing.names,
        "items": listing.items.num_rows,
        "bytes": int(sizes[sizes > 0].sum()),
        "sha256": listing.digest(),
    }


def plain(value: Any) -> Any:
    """As JSON gives it back, so that requests compare equal to those on disk."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    return value


def absolute(name: str) -> str:
    """A tokenizer's name that other processes, in other folders, understand too."""
    return f"file:{Path(name[5:]).expanduser().resolve()}" if name.startswith("file:") else name
