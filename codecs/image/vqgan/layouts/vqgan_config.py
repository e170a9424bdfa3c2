"""The way back of the VQGAN line's configs: what an authors' config says of a network must be all of it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ....config import from_mapping
from ....quantizers.base import QuantizerConfig
from ....quantizers.vq import VQConfig
from ..model import VQGANConfig

#: Settings that only training reads: they need not come back.
_TRAINING = ("dropout", "clip")


def codes(system: str, own: VQGANConfig, kind: str = "vq") -> int:
    """The number of codes; ValueError where the quantizer is not of the one kind that the layout holds."""
    if own.quantizer.kind != kind:
        raise ValueError(f"the layout {system!r} holds a quantizer {kind!r}, not {own.quantizer.kind!r}.")
    return own.quantizer.codebook_size  # type: ignore[attr-defined]


def says_all(system: str, own: VQGANConfig, fields: Mapping[str, Any]) -> None:
    """Compare a network with what its layout reads out of the authors' config that was made of it.

    Args:
        system: for the message.
        own: the network.
        fields: what the layout's `config` gives of the authors' config.

    Raises:
        ValueError: they differ in what ids or pixels depend on: the layout has no words for it.
    """
    again = from_mapping(VQGANConfig, fields, path=system)
    for name in (f.name for f in dataclasses.fields(own) if f.name not in (*_TRAINING, "quantizer")):
        mine, read = _still(getattr(own, name)), _still(getattr(again, name))
        if mine != read:
            raise ValueError(f"the layout {system!r} has no words for this network's {_where(name, mine, read)}.")
    if _search(own.quantizer) != _search(again.quantizer):
        raise ValueError(f"the layout {system!r} has no words for a quantizer of kind {own.quantizer.kind!r} with these settings.")


def _still(part: Any) -> Any:
    return dataclasses.replace(part, dropout=0.0) if hasattr(part, "dropout") else part


def _where(name: str, mine: Any, read: Any) -> str:
    """The first setting that differs, with its value."""
    if dataclasses.is_dataclass(mine) and type(mine) is type(read):
        for f in dataclasses.fields(mine):
            if getattr(mine, f.name) != getattr(read, f.name):
                return f"{name}.{f.name} = {getattr(mine, f.name)!r}"
    return f"{name} = {mine!r}"


def _search(config: QuantizerConfig) -> Any:
    """What ids and codes depend on."""
    if isinstance(config, VQConfig):
        return config.codebook_size, config.codebook_dim, config.normalize, config.returns
    size = getattr(config, "codebook_size", None)
    return (config.kind, size) if size is not None else config
