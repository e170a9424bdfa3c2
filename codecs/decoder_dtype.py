"""A decoder in lower precision than its encoder: ids stay those of float32, and decoding takes half the memory.

    cast_decoder(tokenizer, torch.bfloat16)      # what `load(dtype="bfloat16", encoder_dtype="float32")` does

Only the parts that `decoder_only` names change their dtype. Values are cast where they enter such a part, and cast back where they
leave it, so that all other code, the parts that both halves need among it, computes as before.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .precision import KeepsDtype
from .tokenizer import Tokenizer

#: Where a part keeps the dtype of the values that it returns.
_OUTSIDE = "_dtype_outside"


def cast_decoder(tokenizer: Tokenizer, dtype: torch.dtype) -> Tokenizer:
    """Cast the parts of `tokenizer` that only decoding needs, in place; the parts of quantizers stay float32, as in every cast.

    Args:
        tokenizer: of any family; unchanged where encoding needs all of it.
        dtype: of these parts from now on.
    """
    outside = tokenizer.dtype
    for module in _decoder_modules(tokenizer):
        module.to(dtype)
        if _OUTSIDE not in module.__dict__:
            module.register_forward_pre_hook(_enter, with_kwargs=True)
            module.register_forward_hook(_leave)
        module.__dict__[_OUTSIDE] = outside
    return tokenizer


def _decoder_modules(tokenizer: Tokenizer) -> Iterator[nn.Module]:
    """The modules that only decoding needs; of lists, which are not called themselves, their members."""
    for name in tokenizer.decoder_only:
        parts, module = name.split("."), tokenizer
        for part in parts:
            if isinstance(module, KeepsDtype):
                break
            module = getattr(module, part, None)
        if isinstance(module, nn.ModuleList):
            yield from module
        elif isinstance(module, nn.Module) and not isinstance(module, KeepsDtype):  # others are parameters, or absent
            yield module


def _enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Cast floating-point arguments to the dtype of the weights of `module`."""
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), None)
    return tuple(_cast(a, dtype) for a in args), {k: _cast(v, dtype) for k, v in kwargs.items()}


def _leave(module: nn.Module, args: Any, output: Any) -> Any:
    return _cast(output, module.__dict__[_OUTSIDE])


def _cast(value: Any, dtype: torch.dtype | None) -> Any:
    """`value` with its floating-point tensors, also those of a list or tuple, in `dtype`; states and integers stay as they are."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if type(value) in (list, tuple):
        return type(value)(_cast(v, dtype) for v in value)
    return value
