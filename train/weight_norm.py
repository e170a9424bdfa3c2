"""Weight norm while a tokenizer is trained: a weight is `g v / |v|`, and the optimiser moves its length g and its direction v.

Source: Salimans & Kingma 2016 (arXiv 1602.07868). Most audio codecs are trained with it. Tokenizers have plain weights, for they need
no norm to encode and decode: a run puts it around them, and what it publishes is folded again.
Differs: v begins as the weight itself; the length that an authors' v had in their file is not kept, since it does not change what the
network computes.
"""

import copy
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from ..codecs.config import ConfigError, nearest
from ..codecs.layouts.keymap import SPELLINGS, NotWritable, fold_weight_norm
from ..codecs.layouts.systems import converter
from ..codecs.tokenizer import Tokenizer

M = TypeVar("M", bound=nn.Module)

#: Instead of a part: the weights that have a norm in the authors' layout from which the tokenizer was loaded.
PUBLISHED = "published"
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d)


def add_weight_norm(tokenizer: Tokenizer, parts: Iterable[str], layout: str) -> list[str]:
    """Give a tokenizer's weights a norm, in place; what it computes stays the same.

    Args:
        tokenizer: with plain weights; those that have a norm already keep it.
        parts: of the tokenizer, whose convolutions all get one (of a part without any: its linear layers); or "published".
        layout: name of the authors' layout from which the tokenizer was loaded; "": this library's own.

    Returns:
        The modules whose weights have one now, by name.

    Raises:
        ConfigError: no such part, none with a convolution, or no layout that says which weights are published with a norm.
    """
    wanted: dict[str, None] = {}
    for part in parts:
        wanted |= dict.fromkeys(published_names(tokenizer, layout) if part == PUBLISHED else _names_below(tokenizer, part))
    names = [name for name in wanted if not parametrize.is_parametrized(tokenizer.get_submodule(name), "weight")]
    for name in names:
        weight_norm(tokenizer.get_submodule(name))
    return names


def plain(state: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """A state dict in which the weights of the modules `names` are folded: that of the tokenizer without `add_weight_norm`."""
    prefixes = tuple(f"{name}.parametrizations." for name in names)
    return {k: v for k, v in state.items() if not k.startswith(prefixes)} | fold_weight_norm(
        {k: v for k, v in state.items() if prefixes and k.startswith(prefixes)}
    )


def plain_copy(tokenizer: M, names: Iterable[str]) -> M:
    """A copy of a tokenizer in which the weights of the modules `names` are folded."""
    out = copy.deepcopy(tokenizer)
    for name in names:
        out.set_submodule(name, _folded(out.get_submodule(name)))
    return out


def _folded(module: Any) -> nn.Module:
    """The module without its norm.

    torch's own `remove_parametrizations` takes `weight` out of the class, which a copy shares with the module that is trained.
    """
    own: Any = type(module).__mro__[1]  # the class that `weight_norm` derived the module's from
    out = own.__new__(own)
    out.__dict__ = dict(module.__dict__)
    weight = nn.Parameter(module.weight.detach().clone(), requires_grad=False)
    out._parameters = {"weight": weight, **module._parameters}
    out._modules = {name: inner for name, inner in module._modules.items() if name != "parametrizations"}
    return out


def published_names(tokenizer: Tokenizer, layout: str) -> list[str]:
    """Modules of a tokenizer without norms whose weights are written with a norm in the authors' layout, by name.

    Each weight is filled with a number of its own, and written: the numbers in the directions then tell which ones became these.

    Raises:
        ConfigError: the tokenizer comes from no such layout.
    """
    if not layout:
        raise ConfigError(
            f"model.weight_norm is {PUBLISHED!r}, but this tokenizer was not loaded from an authors' layout, which alone says which "
            "weights have a norm; name its parts, e.g. [encoder, decoder]."
        )
    state = tokenizer.state_dict()
    names = [name for name in state if name.endswith(".weight")]
    filled = {name: torch.zeros_like(value, device="cpu") for name, value in state.items()}
    filled |= {name: torch.full(state[name].shape, float(i + 1)) for i, name in enumerate(names)}
    try:
        theirs = converter(layout).write(filled, tokenizer.config)
    except NotWritable as error:
        raise ConfigError(f"model.weight_norm is {PUBLISHED!r}, but {error} Name parts instead, e.g. [encoder, decoder].") from error
    directions = tuple(direction for _, direction in SPELLINGS.values())
    numbers = {int(n) for key, value in theirs.items() if key.endswith(directions) for n in value.unique()}
    if not numbers:
        raise ConfigError(f"model.weight_norm is {PUBLISHED!r}, but the layout {layout!r} has plain weights; name parts instead.")
    return [name.removesuffix(".weight") for i, name in enumerate(names) if i + 1 in numbers]


def _names_below(tokenizer: Tokenizer, part: str) -> list[str]:
    """The convolutions of a part; of one without any, its linear layers."""
    modules = dict(tokenizer.named_modules())
    if part not in modules or not part:
        top = [n for n in modules if n and "." not in n]
        raise ConfigError(f"model.weight_norm names {part!r}, which is no part of this tokenizer.{nearest(part, [*top, PUBLISHED])}")
    below = {n: m for n, m in modules.items() if f"{n}.".startswith(f"{part}.")}
    for kinds in (_CONVOLUTIONS, nn.Linear):
        if found := [n for n, m in below.items() if isinstance(m, kinds)]:
            return found
    raise ConfigError(f"model.weight_norm names {part!r}, which has neither convolutions nor linear layers.")
