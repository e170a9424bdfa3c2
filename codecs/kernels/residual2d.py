"""Sequences of layers over pictures, and residual blocks, with as few buffers and passes over memory as possible.

    y = sequence(x, norm, silu, conv)       # norm and silu are applied while the convolution reads x

    class ResBlock(Residual2d):             # x + conv(silu(norm(x)))
        def branch(self): return [self.norm, self.silu, self.conv]

With gradients, in compiled graphs, or on other devices than CPUs, layers are simply called in order. Otherwise a norm, activations
and a quick convolution (`conv2d.py`) that follow each other are one pass, and the tensors between layers are overwritten. Only
tensors that were created here are overwritten: by an activation, `nn.Conv2d` or a `Layer2d` that this module itself has called.
The input of a residual block is one of these only if a `sequence` passes it from layer to layer. Layers with hooks are called as
usual, and tensors that hooks have received are not changed.

Letters: B batch, C channels, H W positions.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..recomputable import Recomputable
from .conv2d import Conv2d
from .mode import Layer2d, cpu_inference, watched
from .norm import GroupNorm
from .stream import Layer, module_of
from .winograd import convolve3x3

#: Activations -> a function that computes them in place; None: there is none, the result is a new tensor.
_ACTIVATIONS: dict[type[nn.Module], Callable[[Tensor], Tensor] | None] = {
    nn.SiLU: partial(F.silu, inplace=True),
    nn.ReLU: partial(F.relu, inplace=True),
    nn.Mish: partial(F.mish, inplace=True),
    nn.GELU: None,
}


def sequence(x: Tensor, *layers: Layer) -> Tensor:
    """Apply `layers`, each a module or a function of one tensor, in order to `x [B, C, H, W]`."""
    return _run(x, layers) if _fusing(x) else _in_order(x, layers)


class Residual2d(Layer2d, Recomputable):
    """`shortcut(x) + branch(x)`: base of residual blocks over `[B, C, H, W]`; a subclass defines the layers of the branch.

    Attributes:
        shortcut: a layer applied to the input before it is added; None: the input is added unchanged.
        branch: method that returns the layers; it is called with `code` if `forward` is.
    """

    branch: Callable[..., Sequence[Layer]]

    def __init__(self) -> None:
        super().__init__()
        self.shortcut: nn.Module | None = None

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        """Apply the block to `[B, C, H, W]`.

        Args:
            x: the input `[B, C, H, W]`.
            code: a map `[B, D, h, w]` that the norms of the branch are conditioned on; None: they are not.
        """
        layers = self.branch() if code is None else self.branch(code)
        if not _fusing(x):
            return (x if self.shortcut is None else self.shortcut(x)) + _in_order(x, layers)
        ours = _handed.get() is x
        _handed.set(None)
        if self.shortcut is None:
            return _run(x, layers, add=x, over=ours)
        return _run(x, layers, add=self.shortcut(x), over=_makes_new(self.shortcut))


#: The tensor that a `sequence` passes to the residual block that it calls, and that the block may overwrite.
_handed: ContextVar[Tensor | None] = ContextVar("handed", default=None)


def _fusing(x: Tensor) -> bool:
    return cpu_inference(x) and not torch.compiler.is_compiling()


def _in_order(x: Tensor, layers: Iterable[Layer]) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


@dataclass
class _Step:
    """A norm, then activations, then a further layer, which are computed together; each may be missing."""

    norm: GroupNorm | None = None
    activations: list[nn.Module] = field(default_factory=list)
    layer: Layer | None = None


def _steps(layers: Iterable[Layer]) -> Iterator[_Step]:
    """Group `layers` into as few steps as possible."""
    step = _Step()
    for layer in layers:
        if isinstance(layer, nn.Identity) and not watched(layer):
            continue
        if isinstance(layer, GroupNorm) and not watched(layer):
            if step.norm is not None or step.activations:
                yield step
            step = _Step(norm=layer)
        elif isinstance(layer, nn.Module) and type(layer) in _ACTIVATIONS and not watched(layer):
            step.activations.append(layer)
        else:
            step.layer = layer
            yield step
            step = _Step()
    if step.norm is not None or step.activations:
        yield step


def _run(x: Tensor, layers: Iterable[Layer], *, add: Tensor | None = None, over: bool = False) -> Tensor:
    """Output of `layers` for `x`, plus `add`; `over`: the memory of `add` may be overwritten with the result."""
    steps, y, ours = list(_steps(layers)), x, False
    for step in steps:
        last = add is not None and step is steps[-1]
        if isinstance(step.layer, Conv2d) and step.layer.quick(y) and not watched(step.layer):
            y, ours = _convolved(y, step, step.layer, add=add if last else None, over=over), True
            if last:
                return y
            continue
        if step.norm is not None:
            y, ours = step.norm.normalise(y, out=y if ours else None), True
        for activation in step.activations:
            y, ours = _activated(y, activation, over=ours), True
        if step.layer is not None:
            y, ours = _called(y, step.layer, hand_over=ours), _makes_new(step.layer)
    if add is None:
        return y
    return y.add_(add) if ours else add + y


def _convolved(x: Tensor, step: _Step, conv: Conv2d, *, add: Tensor | None, over: bool) -> Tensor:
    """A whole step (norm, activations, convolution, and adding `add`) as one pass over memory."""

    def activate(y: Tensor) -> Tensor:
        for activation in step.activations:
            y = _activated(y, activation, over=True)
        return y

    norm = None if step.norm is None else step.norm.gain_shift(x)
    return convolve3x3(x, conv.weight, conv.bias, norm=norm, activation=activate, add=add, out=add if over else None)


def _activated(x: Tensor, activation: nn.Module, *, over: bool) -> Tensor:
    return (_ACTIVATIONS[type(activation)] or activation)(x) if over else activation(x)


def _called(x: Tensor, layer: Layer, *, hand_over: bool) -> Tensor:
    """`layer(x)`; with `hand_over` a residual block may overwrite `x`, unless it has hooks."""
    module = module_of(layer)
    if not (hand_over and isinstance(module, Residual2d)) or watched(module):
        return layer(x)
    token = _handed.set(x)
    try:
        return layer(x)
    finally:
        _handed.reset(token)


def _makes_new(layer: Layer) -> bool:
    """Whether the result of `layer` is a new tensor that is used nowhere else."""
    module = module_of(layer)
    return isinstance(module, (nn.Conv2d, Layer2d)) and not watched(module)
