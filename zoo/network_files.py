"""Settings and weights of one network of a folder or hub repository, such as the U-Net of a diffusers pipeline."""

import os
from collections.abc import Sequence
from typing import Any

from ..codecs.serialize import CheckpointError
from .hub import files_of
from .weight_files import only_tensors, read_settings, read_weights


def read_network(
    source: str | os.PathLike[str], *, config: str, weights: Sequence[str] = (), prefix: str = ""
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a network's files.

    Args:
        source: a folder, or a hub id `org/repo`, of which only the files named here are downloaded.
        config: name of the JSON file of settings.
        weights: names that its file of weights may have, the usual one first; each may be cut into several, with an index. Empty: none.
        prefix: keep the weights whose names begin with it, without it.

    Returns:
        The settings, and key -> tensor.

    Raises:
        CheckpointError: a file is missing or broken, or it holds no weights under `prefix`.
    """
    files = files_of(source)
    settings = read_settings(files.file(config))
    if not weights:
        return settings, {}
    names = [n for name in weights for n in (name, f"{name}.index.json")]
    name = next((n for n in names if files.has(n)), weights[0])

    def wanted(keys: list[str]) -> dict[str, str]:
        return {k: k.removeprefix(prefix) for k in keys if k.startswith(prefix)}

    state = only_tensors(read_weights(name, files.file, wanted=wanted))
    if not state:
        raise CheckpointError(f"{name} of {files.label} holds no weights{f' under {prefix!r}' if prefix else ''}.")
    return settings, state
