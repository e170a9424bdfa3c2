"""Where a run's weights begin: at random, at a saved tokenizer, or at the whole state of another run."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..codecs.config import ConfigError
from ..codecs.families import build_tokenizer
from ..codecs.serialize import load_folder, load_strict
from ..codecs.tokenizer import Tokenizer
from .config import RunConfig

if TYPE_CHECKING:
    from .adversary import Adversary


def new_tokenizer(config: RunConfig) -> Tokenizer:
    """Return the tokenizer of `config.model`, with the weights of `config.init` where that is given.

    Raises:
        ConfigError: nothing to load there.
        CheckpointError: its weights do not fit `config.model`.
    """
    tokenizer = build_tokenizer(config.model.family, config.model.config)
    if config.init:
        folder = Path(config.init).expanduser()
        load_strict(tokenizer, _weights(folder), str(folder))
    return tokenizer


def start_adversary(config: RunConfig, adversary: "Adversary") -> None:
    """Where `config.init` is a checkpoint of an adversarial run, take over its discriminators too."""
    path = Path(config.init or "").expanduser() / "state.pt"
    if config.init and path.is_file():
        state = torch.load(path, map_location="cpu", weights_only=True)
        if "discriminators" in state:
            load_strict(adversary.module, state["discriminators"], f"{path} (discriminators)")


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
