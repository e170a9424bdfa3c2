"""Builds a tokenizer from its files, wherever they are: in a hub repository or a folder, with a card or without.

The contents of the files decide how they are read, never the folder's name: this library's `family`, transformers' `model_type`,
diffusers' `_class_name`, the names of a card's files, the authors' own settings and keys.
"""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from ..codecs.building import Part, build_around, plan_of
from ..codecs.layouts.nested import nested_of
from ..codecs.serialize import CONFIG_NAME, DISCRIMINATOR_FILES, WEIGHTS_NAME, CheckpointError, check_shapes, from_parts
from ..codecs.tokenizer import Tokenizer
from . import registry
from .registry import Card
from .weight_files import (
    WEIGHT_ENDINGS,
    WEIGHT_NAMES,
    Wanted,
    count_numbers,
    count_tensors,
    is_config,
    only_tensors,
    read_nemo,
    read_settings,
    read_weights,
)

#: Sub-folders in which diffusers pipelines and larger models keep their tokenizer.
SUB_FOLDERS = ("vqvae", "movq", "vqgan", "vae", "tokenizer", "vision_tokenizer", "audio_tokenizer", "speech_tokenizer")


class Files(Protocol):
    """Where the files of a checkpoint are: a folder, or a repository of the hub."""

    @property
    def label(self) -> str:
        """Name of the source in messages."""
        ...

    def file(self, name: str) -> Path:
        """Local path of the file `name`. Raises FileMissing where it is not there."""
        ...

    def has(self, name: str) -> bool:
        """True where the file `name` is there."""
        ...

    def names(self) -> list[str]:
        """All files, by their paths with `/`; empty where that cannot be known."""
        ...


class FileMissing(CheckpointError):
    """A file that is not in the folder, the repository or, offline, the cache."""


class Folder:
    """The `Files` of a local folder; `flat`: files of sub-folders may also be directly in it."""

    def __init__(self, root: Path, *, flat: bool = False) -> None:
        if not os.path.isdir(root):  # False also for what can be no path, such as a name of 5,000 letters
            raise CheckpointError(f"{str(root)!r:.300} is not a folder.")
        self.root, self.label, self.flat = root, str(root), flat

    def file(self, name: str) -> Path:
        parts = PurePosixPath(name).parts
        if not parts or PurePosixPath(name).is_absolute() or ".." in parts:
            raise CheckpointError(f"{name!r} is no file inside {self.root}.")
        for path in (self.root.joinpath(*parts), *([self.root / parts[-1]] if self.flat else [])):
            if os.path.isfile(path):  # False also for a name longer than files may have
                return path
        raise FileMissing(f"{self.root} holds no file {name!r:.300}. It holds: {', '.join(self.names()[:8]) or 'nothing'}.")

    def has(self, name: str) -> bool:
        try:
            return bool(self.file(name))
        except FileMissing:
            return False

    def names(self) -> list[str]:
        found = [p for p in self.root.glob("*") if p.is_file()] + [p for p in self.root.glob("*/*") if p.is_file()]
        return sorted(p.relative_to(self.root).as_posix() for p in found)


# --- cards ----------------------------------------------------------------------------------------------------------


def load_card(card: Card, files: Files, part: Part | None = None) -> Tokenizer:
    """Return the tokenizer of a card, in eval mode, from exactly the files that the card names.

    Args:
        card: of the registry.
        files: where its files are.
        part: "encoder" or "decoder" loads that half alone; None: both.

    Raises:
        CheckpointError, ValueError: as `build`. FileMissing: one of the files is not there.
    """
    tokenizer = _of_card(card, files, part)
    tokenizer.licence = card.licence_weights + (f" ({card.restricted.rstrip('.')})" if card.restricted else "")
    return tokenizer


def _of_card(card: Card, files: Files, part: Part | None) -> Tokenizer:
    names = card.files or (CONFIG_NAME, WEIGHTS_NAME)
    if not card.system:
        return _load_own(files, names[0], names[-1], part)
    config: dict[str, Any] = {}
    for name in (n for n in names if is_config(n)):
        config |= read_settings(files.file(name))
    nested, state = nested_of(config), dict[str, Any]()
    for name in (n for n in names if not is_config(n)):
        prefix = card.prefixes.get(name, "")
        wanted = _behind(card.key_prefix, prefix) if card.key_prefix else nested.names if nested else None
        settings, weights = _read(name, files, wanted)
        if not weights and wanted and nested:  # other releases of the library use another prefix
            settings, weights = _read(name, files, nested.names)
        config |= settings
        _merge(state, weights, "" if card.key_prefix else prefix, name)
    for key in card.sub_config.split(".") if card.sub_config else ():
        config = dict(config.get(key) or {})
    return build(card.system, config | card.config_overrides, state, f"{files.label} ({card.name})", part)


def _read(name: str, files: Files, wanted: Wanted | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings (of an archive that holds some, else empty) and weights of one file of a card."""
    if name.endswith(".nemo"):
        return read_nemo(files.file(name))
    if not files.has(name) and files.has(f"{name}.index.json"):
        name = f"{name}.index.json"  # a large model's weights, cut into several files
    return {}, read_weights(name, files.file, wanted=wanted)


def _behind(key_prefix: str, file_prefix: str) -> Wanted:
    """A filter of keys: put `file_prefix` before each, keep those that begin with `key_prefix`, and remove it."""
    return lambda keys: {k: (file_prefix + k).removeprefix(key_prefix) for k in keys if (file_prefix + k).startswith(key_prefix)}


def _merge(state: dict[str, Any], weights: Mapping[str, Any], prefix: str, name: str) -> None:
    for key, value in weights.items():
        if prefix + key in state:
            raise CheckpointError(f"{name} holds the weight {prefix + key!r}, which another file of the same checkpoint holds too.")
        state[prefix + key] = value


def build(
    system: str, config: Mapping[str, Any], state: Mapping[str, Any], name: str = "checkpoint", part: Part | None = None
) -> Tokenizer:
    """Build a tokenizer, in eval mode, from the authors' config and state dict.

    Args:
        system: name of the layout.
        config: the authors' settings.
        state: their state dict; may be nested, and hold other values than tensors.
        name: of the checkpoint, for messages.
        part: "encoder" or "decoder" builds that half alone; None: both.

    Raises:
        ValueError: a config that is not supported. CheckpointError: weights are missing, left over or of another shape.
    """
    from ..codecs.layouts.layout import start_codebooks

    family, own, ours = _read_as(system, config, state)
    tokenizer = build_around(
        family, own, lambda plan: start_codebooks(plan, ours), name, count=count_tensors(state), numbers=count_numbers(state), part=part
    )
    tokenizer.layout = system
    return tokenizer


def fits(system: str, config: Mapping[str, Any], state: Mapping[str, Any], name: str) -> Any:
    """Return our config if the layout `system` reads config and weights with nothing missing or left over; no network is allocated.

    Raises:
        ValueError, CheckpointError: as `build` would.
    """
    from ..codecs.layouts.layout import start_codebooks

    family, own, ours = _read_as(system, config, state)
    plan = plan_of(family, own, name, count=count_tensors(state))
    check_shapes(plan, start_codebooks(plan, ours), name)
    return own


def _read_as(system: str, config: Mapping[str, Any], state: Mapping[str, Any]) -> tuple[str, Any, dict[str, Any]]:
    """Family, our config and our state dict of a checkpoint in the layout `system`; no network is built."""
    from ..codecs.layouts.systems import converter

    layout = converter(system)
    own = layout.own_config(config if layout.settings is None else {**config, **layout.settings(state)})
    return layout.family_for(own), own, layout.read(only_tensors(state), own)


def _load_own(files: Files, config: str, weights: str, part: Part | None) -> Tokenizer:
    from ..codecs.serialize import read_config

    return from_parts(read_config(files.file(config)), files.file(weights), part=part)


# --- files without a card -----------------------------------------------------------------------------------------


def load_files(files: Files, part: Part | None = None) -> Tokenizer:
    """Return the tokenizer that a folder or repository holds, in eval mode; how to read it follows from the files' contents.

    Args:
        files: of the folder or repository.
        part: "encoder" or "decoder" loads that half alone; None: both.

    Raises:
        CheckpointError: no known tokenizer, or several; the message names what was found and what to do.
    """
    config, missing = None, None
    try:
        config = read_settings(files.file(CONFIG_NAME))
    except FileMissing as error:
        missing = error
    if config is not None and "family" in config:
        return _load_own(files, CONFIG_NAME, WEIGHTS_NAME, part)
    if config is not None and (tokenizer := _by_class(config, files, "", part)):
        return tokenizer
    for folder in SUB_FOLDERS:  # a pipeline, or a model with its tokenizer beside it
        inner = _settings(files, f"{folder}/{CONFIG_NAME}")
        if inner is not None and (tokenizer := _by_class(inner, files, f"{folder}/", part)):
            return tokenizer
    if tokenizer := _by_names(files, part):
        return tokenizer
    if (weights := find_weights(files)) and (tokenizer := _by_settings(config or _only_settings(files), weights, files, part)):
        return tokenizer
    if missing is not None and not files.names():
        raise missing
    raise CheckpointError(_unknown(files, config))


def find_weights(files: Files, folder: str = "") -> str | None:
    """Name of the file of weights in `folder` ("" or with a slash at its end): a usual name, else the only file that ends like one."""
    for name in WEIGHT_NAMES:
        if files.has(folder + name):
            return folder + name
    there = [n for n in files.names() if n.startswith(folder) and "/" not in n[len(folder) :] and n not in DISCRIMINATOR_FILES]
    inside = [n for n in there if n.endswith(WEIGHT_ENDINGS)]
    return inside[0] if len(inside) == 1 else None


def _settings(files: Files, name: str) -> dict[str, Any] | None:
    try:
        return read_settings(files.file(name))
    except FileMissing:
        return None


def _by_class(config: Mapping[str, Any], files: Files, folder: str, part: Part | None) -> Tokenizer | None:
    """The tokenizer by the class that transformers or diffusers wrote into `config.json`, its own or that of a larger model."""
    from ..codecs.layouts.systems import system_of_config

    system, nested, wanted = system_of_config(config), nested_of(config), None
    if nested is not None and system is None:
        system, config, wanted = nested.system, nested.config(config), nested.names
    if system is None or (weights := find_weights(files, folder)) is None:
        return None
    state = read_weights(weights, files.file, wanted=wanted)
    if nested is not None and not state:
        raise CheckpointError(f"{files.label} holds no weights under {' or '.join(nested.prefixes)!s}, where its tokenizer should be.")
    return build(system, config, state, files.label, part)


def _by_names(files: Files, part: Part | None) -> Tokenizer | None:
    """The tokenizer by file names: the card whose files are all there, of cards with a file name that only their authors use."""
    there = files.names()
    leaves = {PurePosixPath(n).name for n in there}
    fits = []
    for card in registry.cards().values():
        marks = [n for n in card.files if PurePosixPath(n).name not in (CONFIG_NAME, *WEIGHT_NAMES)]
        if marks and all(n in there or PurePosixPath(n).name in leaves for n in card.files):
            fits.append(card)
    most = max((len(c.files) for c in fits), default=0)
    fits = [c for c in fits if len(c.files) == most]
    if len(fits) > 1:
        names = ", ".join(c.name for c in fits)
        raise CheckpointError(f'{files.label} holds the files of several tokenizers: {names}. Write load("NAME", folder="FOLDER").')
    if not fits:
        return None
    flat = Folder(files.root, flat=True) if isinstance(files, Folder) else files
    return load_card(fits[0], flat, part)


def _only_settings(files: Files) -> dict[str, Any] | None:
    """Settings of the only config file, whatever its name; None if there are none or several."""
    found = [n for n in files.names() if is_config(n) and "/" not in n and n not in DISCRIMINATOR_FILES]
    return read_settings(files.file(found[0])) if len(found) == 1 else None


def _by_settings(config: Mapping[str, Any] | None, weights: str, files: Files, part: Part | None) -> Tokenizer | None:
    """The tokenizer by the authors' own settings and keys: the layout that reads both with nothing missing or left over."""
    from ..codecs.layouts.systems import candidates

    if weights.endswith(".nemo"):
        config, state = read_nemo(files.file(weights))
    elif config is not None:
        state = read_weights(weights, files.file)
    else:
        return None
    problems: list[Exception] = []
    systems, named = candidates(config)
    found: dict[str, Any] = {}
    for system in systems:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                own = fits(system, config, state, files.label)
            if own not in found.values():
                found[system] = own
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            problems.append(error.with_traceback(None))
        if found and named:  # `systems` begins with those most similar to the source that the config names
            break
    if len(found) > 1:
        raise CheckpointError(
            f"{files.label} could be in several layouts ({', '.join(found)}), which give different ids. Name the right one in its "
            'config.json, "source": {"repo": "org/repository of its authors"}, or load the files of a card with '
            'load("NAME", folder="FOLDER").'
        )
    if found:
        return build(next(iter(found)), config, state, files.label, part)
    if named:
        raise problems[0]
    return None


def _unknown(files: Files, config: Mapping[str, Any] | None) -> str:
    there = files.names()
    kind = (config or {}).get("model_type") or (config or {}).get("_class_name")
    named = f" Its config.json names {kind!r}, which is no layout that tokenzoo reads." if kind else ""
    if config is not None and not kind and find_weights(files) is None:
        named = f" It holds a config.json and none of {', '.join(WEIGHT_NAMES[:4])}, nor one single file of weights."
    close = [c.name for c in registry.cards().values() if set(c.files) & set(there) - {CONFIG_NAME, WEIGHTS_NAME}]
    hint = f' Perhaps load("{close[0]}", folder=...)?' if close else ""
    shown = ", ".join(there[:8]) + (" ..." if len(there) > 8 else "")
    return (
        f"{files.label} holds no tokenizer that could be recognised.{named} It holds: {shown or 'nothing that is known'}.{hint} "
        'A published one is named by its card: load("NAME", folder="FOLDER"); names: tokenzoo.list_models().'
    )
