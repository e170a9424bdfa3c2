"""Arrays of numbers as items of data sets hold them: `.npy` and `.safetensors` files, cells of tables, and pictures of classes."""

from typing import Any

import numpy as np

from ...codecs.media import Blob, CellBlob, MediaError, RowBlob, opened, read_labels, shown

_NPY = b"\x93NUMPY"


def cell_of(blob: Blob) -> Any:
    """The cell of a table; None: the blob is a file."""
    return blob.cell if isinstance(blob, CellBlob | RowBlob) else None


def holds_array(blob: Blob) -> bool:
    """Whether a blob is an array by its content: a cell of numbers, or a `.npy` file."""
    return isinstance(cell_of(blob), list | np.ndarray) or _is_npy(blob)


def read_array(blob: Blob, name: str) -> np.ndarray:
    """Read the array of a cell, a `.npy` file or a `.safetensors` file: there the only tensor, or the one called `name`.

    Raises:
        MediaError: several tensors, none of that name; other exceptions for files that are no such arrays.
    """
    cell = cell_of(blob)
    if isinstance(cell, list | np.ndarray):
        x = np.asarray(cell)
        return x.astype(np.float32) if x.dtype == np.float64 else x
    with opened(blob) as medium:
        if _is_npy(blob):
            return np.load(medium.file, allow_pickle=False)
        from safetensors.torch import load

        tensors = load(medium.file.read())
    if len(tensors) > 1 and name not in tensors:
        raise MediaError(f"{shown(blob.name)} holds {', '.join(sorted(tensors))}; it needs one tensor, or one named {name!r}.")
    found = tensors.get(name, next(iter(tensors.values())))
    return (found.float() if found.is_floating_point() else found).numpy()


def read_classes(blob: Blob, name: str) -> np.ndarray:
    """Read a map of classes, whole numbers `[H, W]`: a picture of grey or palette values, or an array as in `read_array`.

    Raises:
        MediaError: anything else; and what `read_labels` raises.
    """
    x = read_array(blob, name) if holds_array(blob) else read_labels(blob)
    if x.ndim != 2 or not x.size or not np.issubdtype(x.dtype, np.integer):
        raise MediaError(f"{shown(blob.name)} holds {x.dtype} {list(x.shape)}; a map is whole numbers [H, W].")
    return x


def _is_npy(blob: Blob) -> bool:
    with opened(blob) as medium:
        return medium.file.read(len(_NPY)) == _NPY
