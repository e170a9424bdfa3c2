"""`Layout`, a foreign checkpoint format: its source, the family that runs it, and the maps of config and weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..config import from_mapping
from ..families import FAMILIES
from ..quantizers.parts.codebook import Codebook
from .keymap import KeyMap, NotWritable


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One foreign checkpoint format.

    Attributes:
        system: name of the layout, as in model cards.
        upstream: source repository and class: "org/repository file Class".
        family: the family of this library that runs it.
        more_families: further families, if one class of the authors' is several here; `config` then returns a config dataclass.
        config: the authors' config (parsed JSON or YAML) to a mapping of the family's config fields.
        keys: our config to the key map of its weights. If None, `weights` is required.
        weights: the authors' state dict and our config to our state dict, if no key map can express it; must use every key.
        authors_config: our config to the authors', for `save_pretrained(layout=...)`; raises ValueError if theirs cannot
            express ours (`configs.check_round_trip` reads it again and compares). None: the layout is read-only.
        files: file names of config and weights for `save_pretrained(layout=...)`.
        model_type, class_name: names of the layout's class in a `config.json` of transformers or diffusers.
        settings: of the weights' file as it was read, the settings that it holds beside the weights; they win over those of a config.
        recognises: whether a config is of this layout, if its names are not reliable: copies of the authors' repository have
            another `model_type` (see `systems.RECOGNISED`).
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
    settings: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    recognises: Callable[[Mapping[str, Any]], bool] | None = None
    more_families: tuple[str, ...] = ()

    def own_config(self, theirs: Mapping[str, Any]) -> Any:
        """The family's config dataclass of an authors' config.

        Raises:
            ValueError: an unknown key, or a value that is not supported.
        """
        config, cls = self.config(theirs), FAMILIES.resolve(self.family).config_class
        return from_mapping(cls, config, path="config") if isinstance(config, Mapping) else config

    def family_for(self, own: Any) -> str:
        """The family that runs `own`, by its class."""
        for family in self.more_families:
            if type(own) is FAMILIES.resolve(family).config_class:
                return family
        return self.family

    def read(self, state: Mapping[str, Any], own: Any) -> dict[str, Tensor]:
        """Our state dict from the authors'. Raises CheckpointError on unknown keys."""
        if self.keys is not None:
            return self.keys(own).read(state)
        assert self.weights is not None, f"{self.system} has neither keys nor weights"
        return self.weights(dict(state), own)

    def write(self, state: Mapping[str, Tensor], own: Any) -> dict[str, Tensor]:
        """The authors' state dict from ours. Raises NotWritable if the layout is read-only."""
        if self.keys is None:
            raise NotWritable(f"the layout {self.system!r} is read-only: there is no map from our weights to the authors'.")
        return self.keys(own).write(state)


def start_codebooks(tokenizer: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add running statistics for every `Codebook` with a table but no statistics in `state`: equal usage, marked as initialised.

    Authors who train codebooks by gradient publish the table alone.
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
