"""Option sweeps: each layout's config half against configurations that the authors' class allows. Run by test_options.py.

One file beside each family's tests (`image/titok/options.py`), each with `SWEEPS`: system -> `Sweep`.
A system that two modules name is an error.
"""

import copy
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: A value that takes its key out of the config.
DROP = object()


@dataclass(frozen=True)
class Sweep:
    """Configurations of one system.

    Attributes:
        tiny: a config in the authors' terms, as small as their class allows; the keys are those of published files.
        options: name -> what changes in `tiny` (mappings are merged, `DROP` removes a key). Each default and each branch of
            the layout stands here once: at least 12.
        shape: of the medium to encode, [C, T] or [C, H, W]; None: from the spec.
        refused: name -> (what changes, a part of the message) for values that are refused on purpose.
        features: of the tokenizer and a batch, what `encode` takes as `features=` where it would else fetch a speech model.
        enliven: moves a tokenizer's random weights, where a network as its class starts it would give one id for all.
        published: the state dict as the published file holds it: wrappers, prefixes, tensors of the training.
        cards: card -> what changes in `tiny` for it, where cards of one system differ in kind.
        parts: of checkpoints in several files without prefixes: a part of a file's name -> what the keys in it begin with; keys
            that no part names lie in the first file of weights.
        write: the authors' state dict of a tokenizer, for layouts whose map has no way back.
        peer: the authors' class from an installable package with this config, or None where it is not installed; called with the
            authors' config, gives an object with `state_dict()` and `ids(x) -> [B, K, L]`.
    """

    tiny: dict[str, Any]
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None
    refused: dict[str, tuple[dict[str, Any], str]] = field(default_factory=dict)
    features: Callable[[Any, Any], Any] | None = None
    enliven: Callable[[Any], Any] | None = None
    published: Callable[[dict[str, Any]], dict[str, Any]] = lambda state: state
    cards: dict[str, dict[str, Any]] = field(default_factory=dict)
    parts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    write: Callable[[Any], dict[str, Any]] | None = None
    peer: Callable[[dict[str, Any]], Any] | None = None


def merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """`base` with `change` in it; mappings are merged key by key."""
    out = copy.deepcopy(base)
    for key, value in change.items():
        if value is DROP:
            out.pop(key, None)
        elif isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merged(out[key], value)
        else:
            out[key] = copy.deepcopy(value)
    return out


def all_sweeps() -> dict[str, Sweep]:
    """Every system's sweep."""
    out: dict[str, Sweep] = {}
    here = Path(__file__).parent
    for file in sorted(here.glob("image/*/options*.py")) + sorted(here.glob("audio/*/options*.py")):
        for system, sweep in importlib.import_module(".".join(file.relative_to(here).with_suffix("").parts)).SWEEPS.items():
            assert system not in out, f"{system} has two sweeps"
            out[system] = sweep
    return out
