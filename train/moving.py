"""Values that change with the step: weights of losses, temperatures of quantizers, perturbations.

    moving:
      losses.adversarial.weight: {first: 0.2, last: 0.8, begin: 10000, end: 20000}
      model.quantizer.temperature: {first: 1.0, last: 0.0625, end: 50000, kind: geometric}
      model.perturbation.rate: {first: 1.0, last: 0.0, begin: 50000, end: 150000}

Each value is a function of the step alone, so a resumed run continues with it. It holds during training steps; the tokenizer that is
validated and saved keeps the value of its own config.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from ..codecs.config import ConfigError, Signed, nearest


@dataclass(frozen=True, kw_only=True)
class RampConfig:
    """A value from one step to another.

    Attributes:
        first: value up to step `begin`.
        last: value from step `end` on.
        begin, end: steps.
        kind: in between evenly ("linear"), or by equal factors ("geometric", for temperatures).
    """

    first: Signed
    last: Signed
    begin: int = 0
    end: int
    kind: Literal["linear", "geometric"] = "linear"

    def __post_init__(self) -> None:
        if self.end <= self.begin:
            raise ConfigError(f"begin is {self.begin} and end {self.end}; a value moves from an earlier step to a later one.")
        if self.kind == "geometric" and min(self.first, self.last) <= 0:
            raise ConfigError(f"first is {self.first}, last {self.last}; a geometric value goes from above 0 to above 0.")

    def at(self, step: int) -> float:
        """The value at a step."""
        share = min(max((step - self.begin) / (self.end - self.begin), 0.0), 1.0)
        if self.kind == "geometric":
            return self.first * (self.last / self.first) ** share
        return self.first + share * (self.last - self.first)


#: Puts a value in place; returns what was there.
_Slot = Callable[[float], float]


class Moving:
    """The moving values of a run.

    Args:
        ramps: by path: "losses.NAME.weight", or "model." or "discriminators.NAME." and the path of a setting that its class names in
            `moving`.
        weights: dictionaries with the weights of all losses by name.
        tokenizer: whose settings move.
        judges: discriminators by name, whose settings move.

    Raises:
        ConfigError: a path that leads nowhere or to a setting that cannot move, or a value out of its range.
    """

    def __init__(
        self,
        ramps: Mapping[str, RampConfig],
        weights: list[dict[str, float]],
        tokenizer: nn.Module,
        judges: Mapping[str, nn.Module] | None = None,
    ) -> None:
        self.ramps = dict(ramps)
        self._slots = {path: _slot(path, weights, tokenizer, judges or {}) for path in ramps}
        for path, ramp in ramps.items():
            for value in (ramp.first, ramp.last):
                if path.startswith("losses.") and value < 0:
                    raise ConfigError(f"moving.{path} is {value}; a weight must not be below 0.")
                try:
                    self._slots[path](self._slots[path](value))  # put it in place, and back what was there
                except ConfigError as error:
                    raise ConfigError(f"moving.{path}: {error}") from error

    def values(self, step: int) -> dict[str, float]:
        """All values at a step, by path."""
        return {path: ramp.at(step) for path, ramp in self.ramps.items()}

    @contextmanager
    def at(self, step: int) -> Iterator[None]:
        """Inside, all values are those of `step`."""
        before = {path: self._slots[path](value) for path, value in self.values(step).items()}
        try:
            yield
        finally:
            for path, value in before.items():
                self._slots[path](value)


def _slot(path: str, weights: list[dict[str, float]], tokenizer: nn.Module, judges: Mapping[str, nn.Module]) -> _Slot:
    head, _, rest = path.partition(".")
    if head == "losses" and rest.endswith(".weight"):
        return _weight(path, rest.removesuffix(".weight"), weights)
    if head == "discriminators" and "." in rest:
        name, *names = rest.split(".")
        if name not in judges:
            raise ConfigError(f"moving names {path!r}, but there is no discriminator {name!r}.{nearest(name, list(judges))}")
        return _setting(path, judges[name], names)
    if head != "model" or not rest:
        raise ConfigError(f"moving names {path!r}; allowed: losses.NAME.weight, model.SETTING, and discriminators.NAME.SETTING.")
    owner, names = tokenizer, rest.split(".")
    while len(names) > 1 and isinstance(inner := getattr(owner, names[0], None), nn.Module):
        owner, names = inner, names[1:]
    return _setting(path, owner, names)


def _weight(path: str, name: str, weights: list[dict[str, float]]) -> _Slot:
    if name not in weights[0]:
        raise ConfigError(f"moving names {path!r}, but there is no loss {name!r}.{nearest(name, list(weights[0]))}")

    def put(value: float) -> float:
        before = weights[0][name]
        for table in weights:
            table[name] = value
        return before

    return put


def _setting(path: str, owner: Any, names: list[str]) -> _Slot:
    """A field of the config of a module; configs are frozen, so the module gets a changed copy."""

    def holder() -> Any:
        part = getattr(owner, "config", None)
        for name in names[:-1]:
            part = getattr(part, name, None)
        return part

    movable = getattr(type(holder()), "moving", ())
    if names[-1] not in movable:
        raise ConfigError(f"moving names {path!r}, which cannot move; here these can: {', '.join(movable) or 'none'}.")

    def put(value: float) -> float:
        before = getattr(holder(), names[-1])
        owner.config = _changed(owner.config, names, type(before)(value))  # whole numbers are rounded down
        return before

    return put


def _changed(config: Any, names: list[str], value: float) -> Any:
    head, *rest = names
    return dataclasses.replace(config, **{head: _changed(getattr(config, head), rest, value) if rest else value})
