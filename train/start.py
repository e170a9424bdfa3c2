"""Where a run's weights begin: at random, at a saved tokenizer, or at the whole state of another run; which of them stay."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..codecs.config import ConfigError, nearest
from ..codecs.families import build_tokenizer
from ..codecs.quantizers.base import Quantizer
from ..codecs.serialize import load_folder, load_strict
from ..codecs.tokenizer import Tokenizer
from .config import RunConfig

if TYPE_CHECKING:
    from .adversary import Adversary


def new_tokenizer(config: RunConfig) -> Tokenizer:
    """Return the tokenizer of `config.model`, with the weights of `config.init` and `config.grafts` where these are given.

    Raises:
        ConfigError: nothing to load there.
        CheckpointError: its weights do not fit `config.model`.
    """
    tokenizer = build_tokenizer(config.model.family, config.model.config)
    if config.init:
        folder = Path(config.init).expanduser()
        weights = _weights(folder)
        if config.init_parts:
            weights = _with_parts(tokenizer.state_dict(), weights, config.init_parts)
        load_strict(tokenizer, weights, str(folder))
    for part, source in config.grafts.items():
        _graft(tokenizer, part, source)
    return tokenizer


def _graft(tokenizer: Tokenizer, part: str, source: str) -> None:
    """Take the weights of `part` from "FOLDER" or "FOLDER#part" of another tokenizer; names below it and shapes must agree."""
    name, _, theirs = source.partition("#")
    weights, own = _weights(Path(name).expanduser()), tokenizer.state_dict()
    mine = _below(own, part)
    if not mine:
        top = sorted({k.partition(".")[0] for k in own})
        raise ConfigError(f"grafts names {part!r}, which is no part of this tokenizer.{nearest(part, top)}")
    other = _below(weights, theirs) if theirs else weights
    if mine.keys() != other.keys() or any(mine[k].shape != v.shape for k, v in other.items()):
        odd = sorted(mine.keys() ^ other.keys()) or [k for k, v in other.items() if mine[k].shape != v.shape]
        raise ConfigError(f"grafts.{part}: {source!r} does not fit; the first of {len(odd)} differences is {odd[0]!r}.")
    tokenizer.load_state_dict({**own, **{".".join(filter(None, (part, k))): v for k, v in other.items()}})


def _below(weights: dict[str, torch.Tensor], part: str) -> dict[str, torch.Tensor]:
    """Those of `part`, by their names below it; a single tensor has the name ""."""
    return {k[len(part) :].removeprefix("."): v for k, v in weights.items() if f"{k}.".startswith(f"{part}.")}


def freeze(tokenizer: Tokenizer, parts: Iterable[str]) -> None:
    """Keep the weights of these parts (modules or single parameters), and their codebooks, as they are.

    Raises:
        ConfigError: the tokenizer has no such part.
    """
    known = {name for name, _ in tokenizer.named_modules() if name}
    parameters = dict(tokenizer.named_parameters())
    for name in parts:
        if name in parameters:
            parameters[name].requires_grad_(False)
            continue
        if name not in known:
            top = [n for n in known if "." not in n]
            raise ConfigError(f"model.frozen names {name!r}, which is no part of this tokenizer.{nearest(name, top)}")
        part = tokenizer.get_submodule(name).requires_grad_(False)
        for module in part.modules():
            if isinstance(module, Quantizer):
                module.freeze()


def start_adversary(config: RunConfig, adversary: "Adversary") -> None:
    """Where `config.init` is a checkpoint of an adversarial run, take over its discriminators too."""
    path = Path(config.init or "").expanduser() / "state.pt"
    if config.init and not config.init_parts and path.is_file():
        state = torch.load(path, map_location="cpu", weights_only=True)
        if "discriminators" in state:
            load_strict(adversary.module, state["discriminators"], f"{path} (discriminators)")


def _with_parts(
    own: dict[str, torch.Tensor], other: dict[str, torch.Tensor], parts: Iterable[str]
) -> dict[str, torch.Tensor]:
    """`own`, with everything below `parts` taken from `other` (what does not fit there is for `load_strict` to find)."""
    for part in parts:
        mine = {k for k in own if f"{k}.".startswith(f"{part}.")}
        if not mine:
            top = sorted({k.partition(".")[0] for k in own})
            raise ConfigError(f"init_parts names {part!r}, which is no part of this tokenizer.{nearest(part, top)}")
        kept = {k: v for k, v in own.items() if k not in mine}
        own = kept | {k: v for k, v in other.items() if f"{k}.".startswith(f"{part}.")}
    return own


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    if (folder / "state.pt").is_file():
        state = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
        return state.get("ema") or state["tokenizer"]
    for candidate in (folder, folder / "model"):
        if (candidate / "config.json").is_file():
            return load_folder(candidate).state_dict()
    raise ConfigError(
        f"init is {str(folder)!r}, which is neither a saved tokenizer (config.json), nor the output folder of a run, "
        "nor one of its checkpoint-N folders."
    )
