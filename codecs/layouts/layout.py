"""What a foreign layout declares: where it was read, which family runs it, and how config and weights become ours."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..config import from_mapping
from ..families import family_class
from ..quantizers.parts.codebook import Codebook
from .keymap import KeyMap, NotWritable


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One foreign layout.

    Attributes:
        system: its name, as cards write it.
        upstream: repository and class that it was read from: "org/repository file Class".
        family: the family here that runs it.
        more_families: further ones, where one class of the authors' is several here; `config` then gives a config dataclass.
        config: the authors' config (parsed JSON or YAML) to a mapping of the family's config fields.
        keys: the map of weights for one own config. Without it `weights` must be there.
        weights: the authors' state dict and our config to our state dict, where no map can say it; must account for every key.
        authors_config: our config to the authors', for `save_pretrained(layout=...)`; raises ValueError where theirs cannot say
            what ours does (`configs.said` reads it again and compares). None: the layout is only read.
        files: the names that `save_pretrained(layout=...)` gives to config and weights.
        model_type, class_name: what a `config.json` of transformers or diffusers calls it.
    """

    system: str
    upstream: str
    family: str
    config: Callable[[Mapping[str, Any]], Any]
    keys: Callable[[Any], KeyMap] | None = None
    weights: Callable[[dict[str, Any], Any], dict[str, Tensor]] | None = None
    authors_config: Callable[[Any], dict[str, Any]] | None = None
    files: tuple[str, str] = ("config.json", "model.safetensors")
    model_type: str = ""
    class_name: str = ""
    more_families: tuple[str, ...] = ()

    def own_config(self, theirs: Mapping[str, Any]) -> Any:
        """The family's config dataclass of an authors' config.

        Raises:
            ValueError: a key that is not known, or a value that is not supported.
        """
        config, cls = self.config(theirs), family_class(self.family).config_class
        return from_mapping(cls, config, path="config") if isinstance(config, Mapping) else config

    def family_for(self, own: Any) -> str:
        """The family that runs `own`, by its class."""
        for family in self.more_families:
            if type(own) is family_class(family).config_class:
                return family
        return self.family

    def read(self, state: Mapping[str, Any], own: Any) -> dict[str, Tensor]:
        """Our state dict from the authors'. Raises CheckpointError on keys that are not known."""
        if self.keys is not None:
            return self.keys(own).read(state)
        assert self.weights is not None, f"{self.system} has neither keys nor weights"
        return self.weights(dict(state), own)

    def write(self, state: Mapping[str, Tensor], own: Any) -> dict[str, Tensor]:
        """The authors' state dict from ours. Raises NotWritable where the layout is only read."""
        if self.keys is None:
            raise NotWritable(f"the layout {self.system!r} is only read; no map leads back.")
        return self.keys(own).write(state)


def start_codebooks(tokenizer: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add the running statistics of every `Codebook` whose table `state` holds without them: even use, ready.

    Authors that train tables by gradient publish the table alone.
    """
    out = dict(state)
    for name, module in tokenizer.named_modules():
        prefix = name + "."
        if not isinstance(module, Codebook) or prefix + "embed" not in out or prefix + "counts" in out:
            continue
        out[prefix + "counts"] = torch.ones(module.size)
        out[prefix + "ready"] = torch.tensor(True)
        out[prefix + "steps"] = torch.zeros((), dtype=torch.int64)
        if module.config.update == "ema":
            out.setdefault(prefix + "sums", out[prefix + "embed"].clone())
    return out
