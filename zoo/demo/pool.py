"""The tokenizers that the page offers, and the few of them that are in memory."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

from ...codecs.tokenizer import Tokenizer
from .. import registry
from ..hub import load
from .medium import Kind


def shipped(kind: Kind) -> str:
    """Name of the first shipped tokenizer of pictures ("image") or sound ("audio")."""
    return next(c.name for c in registry.list_models() if c.shipped and c.modality == kind)


class Pool:
    """Loads tokenizers by name and keeps the last ones used.

    Args:
        names: tokenizers to offer first, as `tokenzoo.load` takes them; the shipped ones follow.
        anything: True: visitors may also pick any model of the registry, and write the name of a repository or folder; False: only
            `names` and the shipped ones, since others would let a visitor read folders and fill the disk of this machine.
        keep: number of tokenizers in memory.
    """

    def __init__(self, names: Sequence[str] = (), *, anything: bool = True, keep: int = 3) -> None:
        self.anything, self.keep = anything, keep
        cards = [c for c in registry.list_models() if c.modality in ("image", "audio") and (anything or c.shipped)]
        cards.sort(key=lambda c: not c.shipped)
        self.names = list(dict.fromkeys([*names, *(c.name for c in cards)]))
        self._loaded: OrderedDict[str, Tokenizer] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> Tokenizer:
        """The tokenizer `name`, loaded if it is not in memory.

        Raises:
            ValueError: not offered here, or a tokenizer of features.
            Exception: as `tokenzoo.load`.
        """
        name = name.strip()
        if not name:
            raise ValueError("no tokenizer is picked; pick one from the list, or write a hub id org/repo or a folder.")
        if not self.anything and name not in self.names:
            raise ValueError(f"{name!r:.80} is not offered here; offered are {', '.join(self.names)}.")
        with self._lock:
            if name not in self._loaded:
                tokenizer = load(name)
                if tokenizer.spec.modality not in ("image", "audio"):
                    raise ValueError(f"{name} takes features of another network; this page has pictures and sound only.")
                self._loaded[name] = tokenizer
                while len(self._loaded) > self.keep:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(name)
            return self._loaded[name]

    def fits(self, name: str, kind: Kind) -> bool:
        """Whether the tokenizer `name` takes media of this kind; of a model of the registry it is known without loading it."""
        card = registry.cards().get(name.strip())
        return (card.modality if card else self.get(name).spec.modality) == kind
