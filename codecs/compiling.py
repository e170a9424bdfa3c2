"""Compiled tokenizers: on a CUDA device also as graphs, which suit shapes that come again and again.

    tokenizer.cuda().compile(mode="reduce-overhead")
    copy.deepcopy(tokenizer)

The methods of each copy or pickle are compiled again, around its own weights.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

#: Methods that `compile_methods` replaces in an instance.
COMPILED = ("encode_latents", "decode_latents")
#: Where an instance keeps the options of `torch.compile`; absent: it is not compiled.
_OPTIONS = "_compile_options"


def compile_methods(tokenizer: nn.Module, options: dict[str, Any]) -> None:
    """Compile the methods `COMPILED` of `tokenizer`, in place; methods that were compiled before get the new options.

    Methods that the instance already replaces (a half that `load(part=...)` left out) are left unchanged.

    Args:
        tokenizer: any module with these methods.
        options: keyword arguments of `torch.compile`.
    """
    _drop_compiled(tokenizer.__dict__)
    for name in COMPILED:
        if name not in tokenizer.__dict__:
            setattr(tokenizer, name, _Compiled(torch.compile(getattr(tokenizer, name), **options), _as_graphs(options)))
    tokenizer.__dict__[_OPTIONS] = dict(options)


def _as_graphs(options: dict[str, Any]) -> bool:
    """Whether these options of `torch.compile` make CUDA graphs, whose next run writes over what the last one returned."""
    more = options.get("options") or {}
    return options.get("mode") in ("reduce-overhead", "max-autotune") or bool(more.get("triton.cudagraphs"))


class _Compiled:
    """A compiled method; its type distinguishes it from other attributes of that name.

    Args:
        function: the method.
        graphs: it may run as a CUDA graph: then its results are copied, since pieces of a long clip are kept while later ones run.
    """

    def __init__(self, function: Any, graphs: bool = False) -> None:
        self.function, self.graphs = function, graphs

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.graphs:
            return self.function(*args, **kwargs)
        torch.compiler.cudagraph_mark_step_begin()
        return tree_map_only(Tensor, Tensor.clone, self.function(*args, **kwargs))


def state_of(tokenizer: nn.Module) -> dict[str, Any]:
    """Attributes that copies and pickles keep: all but the compiled methods, which are bound to the original's weights."""
    state = dict(tokenizer.__dict__)
    _drop_compiled(state)
    return state


def compile_again(tokenizer: nn.Module) -> None:
    """Compile a copy whose original was compiled, with the same options."""
    options = tokenizer.__dict__.get(_OPTIONS)
    if options is not None:
        compile_methods(tokenizer, options)


def _drop_compiled(attributes: dict[str, Any]) -> None:
    for name in COMPILED:
        if isinstance(attributes.get(name), _Compiled):
            del attributes[name]
