"""Conversion of arrays of any library to tensors, and descriptions of objects for error messages."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .blobs import is_path
from .errors import MediaError, shown


def is_array(media: Any) -> bool:
    """True for tensors, NumPy arrays and objects that convert to one (JAX, MLX)."""
    return isinstance(media, (Tensor, np.ndarray)) or (hasattr(media, "__array__") and not hasattr(media, "getbands"))


def as_tensor(media: Any, name: str) -> Tensor:
    """An array as a tensor without gradients, of the same dtype and if possible the same memory; read-only arrays are copied.

    Raises:
        MediaError: an array of something other than real numbers.
    """
    if isinstance(media, Tensor):
        if media.is_complex() or media.dtype == torch.bool:
            raise MediaError(f"{name}: an array of {media.dtype} is not media; integers or floats are allowed.")
        if media.layout != torch.strided or media.is_meta or media.is_quantized:
            raise MediaError(f"{name}: a tensor that is sparse, quantized or without values is not media; pass a dense one.")
        return media.detach()
    array = np.asarray(media)
    if array.dtype.kind not in "fiu":
        raise MediaError(f"{name}: an array of {array.dtype} is not media; integers or floats are allowed.")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)  # long doubles
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def standardized(x: Tensor) -> Tensor:
    """A map `[C, H, W]` with mean 0 and deviation 1, both measured without the lowest and highest tenth of its values.

    As 4M standardises depth (apple/ml-4m @ cda590faa3, fourm/data/modality_transforms.py `DepthTransform`).
    """
    values = x.flatten().sort().values
    middle = values[int(0.1 * len(values)) : int(0.9 * len(values))]
    return (x - middle.mean()) / (middle.var() + 1e-6).sqrt()


def kind_of(media: Any) -> str:
    """Description of an object for an error message, with its path, shape or type."""
    if is_path(media):
        return f"the path {shown(media)!r:.300}"
    if isinstance(media, (Tensor, np.ndarray)):
        return f"{str(media.dtype).removeprefix('torch.')} {list(media.shape)}"
    if hasattr(media, "getbands"):
        return f"a picture of {media.width} x {media.height} pixels"
    return type(media).__name__
