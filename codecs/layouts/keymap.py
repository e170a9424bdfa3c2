"""Key maps: the authors' names and shapes of weights to this library's, and back.

A map is a list of steps. `read` runs them in order (authors' state dict in, own out), `write` in reverse. Most of a map is
one `Rename` with a table of rows (theirs, ours):

    ("encoder.block.{}.conv.*", "encoder.levels.{}.conv.*")     {} a number, * one name, ** the rest with its dots
    ("{encoder|decoder}.norm.*", "{encoder|decoder}.norm.*")    one of these names
    ("[down|levels].{}.*", "levels.{}.*")                       either spelling is read; the first one is written
    ("loss.**", None)                                           dropped, by name

The placeholders of the right side refer to those of the left in their order, or by number: `{1}`, `{0}`. The first row that
matches applies, in both directions. A key that matches no row is an error.
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..serialize import CheckpointError

State = dict[str, Any]
Row = tuple[str, str | None]


class Step(Protocol):
    """One step of a map; `write` undoes `read`."""

    def read(self, state: State) -> State: ...

    def write(self, state: State) -> State: ...


@dataclass(frozen=True)
class KeyMap:
    """Steps in the order in which a checkpoint is read."""

    steps: tuple[Step, ...]

    def __init__(self, *steps: Step) -> None:
        object.__setattr__(self, "steps", steps)

    def read(self, state: Mapping[str, Any]) -> dict[str, Tensor]:
        """The authors' state dict in this library's names and shapes. Raises CheckpointError on a key that matches no row."""
        out = dict(state)
        for step in self.steps:
            out = step.read(out)
        return out

    def write(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """This library's state dict in the authors' names and shapes. Raises NotWritable if a step has no inverse."""
        out = dict(state)
        for step in reversed(self.steps):
            out = step.write(out)
        return out


class NotWritable(CheckpointError):
    """Raised when a config or its weights cannot be written in the authors' layout."""


# --- patterns -------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(r"\{[^{}]*\}|\[[^\[\]]*\]|\*\*|\*")


@functools.cache
def _tokens(pattern: str) -> tuple[tuple[str, str], ...]:
    """`pattern` as literal text and placeholders: ("text", "a."), ("slot", "{}"), ("either", "[a|b]")."""
    out, at = [], 0
    for m in _TOKEN.finditer(pattern):
        if m.start() > at:
            out.append(("text", pattern[at : m.start()]))
        out.append(("either" if m[0][0] == "[" else "slot", m[0]))
        at = m.end()
    if at < len(pattern):
        out.append(("text", pattern[at:]))
    return tuple(out)


def _expression(slot: str) -> str:
    if slot == "**":
        return "(.*)"
    if slot == "*":
        return r"([^.]+)"
    if slot == "{}":
        return r"(\d+)"
    return "(" + "|".join(re.escape(name) for name in slot[1:-1].split("|")) + ")"


def _slots(pattern: str) -> list[str]:
    return [text for kind, text in _tokens(pattern) if kind == "slot"]


@functools.cache
def _compile(row: Row) -> tuple[Any, str, Any, str]:
    """(expression of theirs, template of ours, expression of ours, template of theirs) of one row."""
    theirs, ours = row
    slots = _slots(theirs)
    read = "".join(
        re.escape(text) if kind == "text" else f"(?:{_expression(text)[1:-1]})" if kind == "either" else _expression(text)
        for kind, text in _tokens(theirs)
    )
    if ours is None:
        return re.compile(read), "", None, ""
    order, template, write, used = 0, "", "", []
    for kind, text in _tokens(ours):
        if kind == "text":
            template += text.replace("{", "{{").replace("}", "}}")
            write += re.escape(text)
            continue
        if re.fullmatch(r"\{\d+\}", text):
            index = int(text[1:-1])
        else:
            index, order = order, order + 1
        if kind == "either" or index >= len(slots):
            raise ValueError(f"the row {row} names a placeholder on the right that the left side lacks.")
        template += f"{{{index}}}"
        write += _expression(slots[index])
        used.append(index)
    if sorted(used) != list(range(len(slots))):
        raise ValueError(f"the row {row} must use each placeholder of its left side once; use [a|b] for spellings.")
    at, back = 0, ""
    for kind, text in _tokens(theirs):
        if kind == "text":
            back += text.replace("{", "{{").replace("}", "}}")
        elif kind == "either":
            back += text[1:-1].split("|")[0]
        else:
            back += f"{{{used.index(at)}}}"
            at += 1
    return re.compile(read), template, re.compile(write), back


@functools.cache
def _matcher(pattern: str) -> Any:
    return _compile((pattern, None))[0]


def matches(key: str, patterns: Iterable[str]) -> bool:
    """Whether `key` matches one of the patterns."""
    return any(_matcher(p).fullmatch(key) for p in patterns)


def under(theirs: str, ours: str, rows: Sequence[Row]) -> list[Row]:
    """Each of `rows` with the prefixes `theirs` and `ours`: the key table of one block at its place in the model."""
    return [(theirs + a, None if b is None else ours + b) for a, b in rows]


# --- steps ----------------------------------------------------------------------------------------------------------


class Rename:
    """Rename every key by the first row that matches it.

    Args:
        rows: (theirs, ours), see the top of this file; ours is None for a key that is dropped on purpose.
        also_drop: patterns of keys that are left out, tried before the rows.
        keep_unknown: keys that match no row keep their names (for the first of several steps).
    """

    def __init__(self, rows: Iterable[Row], *, also_drop: Iterable[str] = (), keep_unknown: bool = False) -> None:
        self.rows = [*((p, None) for p in also_drop), *rows]
        self.keep_unknown = keep_unknown

    def read(self, state: State) -> State:
        out: State = {}
        left: list[str] = []
        compiled = [(_compile(row)[:2], row[1] is None) for row in self.rows]
        for key, value in state.items():
            for (expression, template), drop in compiled:
                if m := expression.fullmatch(key):
                    if drop:
                        break
                    name = template.format(*m.groups())
                    if name in out:
                        raise CheckpointError(f"two weights are both renamed to {name!r}; the second is {key!r}.")
                    out[name] = value
                    break
            else:
                if self.keep_unknown:
                    out[key] = value
                else:
                    left.append(key)
        if left:
            more = f" and {len(left) - 5} more" if len(left) > 5 else ""
            raise CheckpointError(f"weights that the layout does not know: {', '.join(left[:5])}{more}.")
        return out

    def write(self, state: State) -> State:
        out: State = {}
        compiled = [_compile(row)[2:] for row in self.rows if row[1] is not None]
        for key, value in state.items():
            for expression, template in compiled:
                if m := expression.fullmatch(key):
                    out[template.format(*m.groups())] = value
                    break
            else:
                if self.keep_unknown:
                    out[key] = value
                elif not _LEARNT_HERE.search(key):
                    raise NotWritable(f"{key!r} has no name in the authors' layout.")
        return out


#: Running statistics of our codebooks, which `start_codebooks` creates if a layout has none.
_LEARNT_HERE = re.compile(r"(^|\.)(counts|sums|ready|steps)$")


class Unwrap:
    """Take the state dict out of a checkpoint: the one under the first of `names` that exists, else the whole checkpoint.

    The order is that of the authors' loader: averaged weights before raw ones if it prefers them.
    """

    def __init__(self, *names: str) -> None:
        self.names = names

    def read(self, state: State) -> State:
        return unwrap(state, *self.names)

    def write(self, state: State) -> State:
        return state


def unwrap(state: Mapping[str, Any], *names: str) -> State:
    """The state dict of a checkpoint that has it under one of `names` ("ema", "model", "state_dict"), else the checkpoint itself."""
    for name in names:
        if isinstance(state.get(name), Mapping) and state[name]:
            return dict(state[name])
    return dict(state)


#: The two spellings of weight norm in state dicts: (gain, direction).
SPELLINGS = {
    "weight_g": ("weight_g", "weight_v"),
    "parametrizations": ("parametrizations.weight.original0", "parametrizations.weight.original1"),
}


class WeightNorm:
    """Fold every pair (gain g, direction v) into `weight = g v / |v|`; written back as pairs.

    Args:
        written: spelling of the pairs that `write` produces ("weight_g" or "parametrizations"); "" writes plain weights.
        on: patterns of the authors' weights that have a norm; None: every `*.weight` with three axes (a 1-D convolution).
        but: patterns of weights without a norm.
    """

    def __init__(self, written: str = "weight_g", *, on: Iterable[str] | None = None, but: Iterable[str] = ()) -> None:
        self.written, self.on, self.but = written, None if on is None else tuple(on), tuple(but)

    def read(self, state: State) -> State:
        return fold_weight_norm(state)

    def write(self, state: State) -> State:
        if not self.written:
            return state
        gain, direction = SPELLINGS[self.written]
        out: State = {}
        for key, value in state.items():
            named = key.endswith(".weight") and value.ndim == 3 if self.on is None else matches(key, self.on)
            if named and not matches(key, self.but):
                stem = key[: -len("weight")]
                out[stem + gain] = value.flatten(1).norm(dim=1).view(-1, *[1] * (value.ndim - 1))
                out[stem + direction] = value
            else:
                out[key] = value
        return out


def fold_weight_norm(state: Mapping[str, Tensor]) -> State:
    """Replace every pair (gain g, direction v) by `weight = g v / |v|`, in either spelling; other keys stay.

    The norm runs over all axes but those where g has length over 1, as in `torch.nn.utils.weight_norm`. Inference then needs no
    norm, and fine-tuning (`tokenizer.train()`) continues with the folded weights, without weight norm.

    Raises:
        CheckpointError: a gain without its direction.
    """
    out = dict(state)
    for gain, direction in SPELLINGS.values():
        for key in [k for k in out if k.endswith("." + gain) or k == gain]:
            prefix = key[: -len(gain)]
            if prefix + direction not in out:
                raise CheckpointError(f"{key!r} is half of a weight norm; {prefix + direction!r} is missing.")
            g, v = out.pop(key), out.pop(prefix + direction)
            axes = [i for i in range(v.ndim) if g.shape[i] == 1] if max(g.shape) > 1 else list(range(1, v.ndim))
            # The same kernel as torch's weight norm, so that the folded weight equals the authors' bit by bit.
            if g.numel() == v.shape[0]:
                out[prefix + "weight"] = torch._weight_norm(v, g, 0)
            else:
                out[prefix + "weight"] = v * (g / v.norm(dim=axes, keepdim=True))
    return out


class Fuse:
    """Join several of the authors' weights into one, along their first axis; `write` splits it again.

    Args:
        parts: the last names before `weight` or `bias`: ("q", "k", "v").
        into: the joint name: "qkv".
        where: pattern of the prefix, with its dot: "**attn." (default: any prefix).
        widths: rows of each part, where they are not equal.
    """

    def __init__(self, parts: Sequence[str], into: str, *, where: str = "**.", widths: Sequence[int] | None = None) -> None:
        self.parts, self.into, self.where, self.widths = tuple(parts), into, where, widths

    def read(self, state: State) -> State:
        out = dict(state)
        for end in ("weight", "bias"):
            for key in state:
                tail = f"{self.parts[0]}.{end}"
                if not (key == tail or key.endswith("." + tail)) or not matches(key, (self.where + tail,)):
                    continue
                stem = key[: -len(tail)]
                names = [f"{stem}{part}.{end}" for part in self.parts]
                if all(n in out for n in names):
                    out[f"{stem}{self.into}.{end}"] = torch.cat([out.pop(n) for n in names])
        return out

    def write(self, state: State) -> State:
        out: State = {}
        for key, value in state.items():
            stem, _, end = key.rpartition(".")
            fused = end in ("weight", "bias") and (stem == self.into or stem.endswith("." + self.into))
            if not fused or not matches(key, (f"{self.where}{self.into}.{end}",)):
                out[key] = value
                continue
            stem = stem[: -len(self.into)]
            parts = value.split(list(self.widths)) if self.widths else value.chunk(len(self.parts))
            out |= {f"{stem}{n}.{end}": p.clone() for n, p in zip(self.parts, parts, strict=True)}
        return out


class Each:
    """Transform the tensors whose keys match one of `patterns` (names at this step of the map)."""

    def __init__(self, patterns: Sequence[str], read: Callable[[Tensor], Tensor], write: Callable[[Tensor], Tensor] | None) -> None:
        self.patterns, self._read, self._write = tuple(patterns), read, write

    def read(self, state: State) -> State:
        return {k: self._read(v) if matches(k, self.patterns) else v for k, v in state.items()}

    def write(self, state: State) -> State:
        write = self._write
        if write is None:
            if any(matches(k, self.patterns) for k in state):
                raise NotWritable(f"{self.patterns[0]!r} cannot be converted back to the authors' layout.")
            return dict(state)
        return {k: write(v) if matches(k, self.patterns) else v for k, v in state.items()}


def pointwise(*patterns: str, axes: int = 1) -> Each:
    """Weights of kernel-1 convolutions that are linear maps here: `[o, i, 1]` (`axes` 1) or `[o, i, 1, 1]` (2) to `[o, i]`."""
    return Each(patterns, lambda v: v.reshape(v.shape[:2]), lambda v: v.reshape(*v.shape, *[1] * axes))


def as_convolution(*patterns: str, axes: int = 2) -> Each:
    """Weights of linear maps that are kernel-1 convolutions here: `[o, i]` to `[o, i, 1, 1]` (`axes` 2)."""
    return Each(patterns, lambda v: v.reshape(*v.shape, *[1] * axes), lambda v: v.reshape(v.shape[:2]))


def without_ones(*patterns: str, axes: int = 1) -> Each:
    """Remove `axes` leading axes of length 1 from the authors' tensors: `[1, N, D]` to `[N, D]`."""
    return Each(patterns, lambda v: v.reshape(v.shape[axes:]), lambda v: v.reshape(*[1] * axes, *v.shape))


def with_ones(*patterns: str, axes: int = 1) -> Each:
    """The reverse of `without_ones`: `[N, D]` to `[1, N, D]`."""
    return Each(patterns, lambda v: v.reshape(*[1] * axes, *v.shape), lambda v: v.reshape(v.shape[axes:]))


def transposed(*patterns: str) -> Each:
    """Transpose matrices, `[i, o]` to `[o, i]`."""
    return Each(patterns, lambda v: v.t().contiguous(), lambda v: v.t().contiguous())


class Then:
    """A custom step: functions of the whole state dict. Without `write` the layout is read-only."""

    def __init__(self, read: Callable[[State], State], write: Callable[[State], State] | None = None) -> None:
        self._read, self._write = read, write

    def read(self, state: State) -> State:
        return self._read(state)

    def write(self, state: State) -> State:
        if self._write is None:
            raise NotWritable("this layout is read-only: one of its steps has no inverse.")
        return self._write(state)


def without_prefix(*prefixes: str) -> Then:
    """Remove prefixes that wrappers put before all keys ("module."), one after the other; `write` does not restore them."""

    def read(state: State) -> State:
        for prefix in prefixes:
            state = {k.removeprefix(prefix): v for k, v in state.items()}
        return state

    return Then(read, lambda state: state)


def lightning_average() -> Then:
    """Averaged weights of a Lightning checkpoint (`model_ema.<name without dots>`) in place of the raw ones."""
    prefix = "model_ema."

    def read(state: State) -> State:
        plain = {k: v for k, v in state.items() if not k.startswith(prefix)}
        return {k: state.get(prefix + k.replace(".", ""), v) for k, v in plain.items()}

    return Then(read, lambda state: state)


def flat(state: Mapping[str, Any]) -> State:
    """Flatten several state dicts under their names into one: `{"a": {"b": t}}` to `{"a.b": t}`."""
    out: State = {}
    for key, value in state.items():
        out |= {f"{key}.{k}": v for k, v in flat(value).items()} if isinstance(value, Mapping) else {key: value}
    return out
