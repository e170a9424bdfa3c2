"""Initial weights of a run: anything that `tokenzoo.load` takes, and the folders that training runs write."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..codecs import hooks
from ..codecs.config import ConfigError, from_mapping, to_mapping
from ..codecs.families import FAMILIES, build_tokenizer
from ..codecs.serialize import CheckpointError
from ..codecs.tokenizer import Tokenizer
from .checkpoint import checkpoints, read_meta, read_tensors


@dataclass(frozen=True)
class Pretrained:
    """A tokenizer's weights with the config that they belong to.

    Attributes:
        name: as in the run file.
        family, config: of the tokenizer; `config` has plain values, for all keys.
        weights: its state dict, on the CPU.
        discriminators: state dict of the discriminators that were trained with it, if available.
    """

    name: str
    family: str
    config: dict[str, Any]
    weights: dict[str, Tensor]
    discriminators: dict[str, Tensor] | None = None


def open_pretrained(name: str) -> Pretrained:
    """Read the weights that `name` refers to.

    Args:
        name: a checkpoint folder of a run, the run's output folder (its newest checkpoint), or what `load_tokenizer` takes.

    Raises:
        ConfigError: there is nothing of this name, or no tokenizer in it.
        CheckpointError: a checkpoint that is damaged.
        OSError: the hub could not be reached.
    """
    folder = Path(name.removeprefix("file:")).expanduser()
    saved = [folder] if (folder / "state.pt").is_file() else checkpoints(folder) if (folder / "model").is_dir() else []
    if saved:
        return _from_checkpoint(name, saved[-1])
    tokenizer = load_tokenizer(name)
    return Pretrained(name, tokenizer.family, to_mapping(tokenizer.config), tokenizer.state_dict())


def modality_of(name: str) -> str:
    """"audio", "image" or "latent": what the tokenizer that `name` refers to takes; arguments and errors as of `open_pretrained`."""
    pretrained = open_pretrained(name)
    return build_tokenizer(pretrained.family, pretrained.config).spec.modality


def load_tokenizer(name: str) -> Tokenizer:
    """`tokenzoo.load(name)`, also for the output folder of a run, which holds the tokenizer in `model`.

    Raises:
        ConfigError: there is nothing of this name, or no tokenizer in it.
        OSError: the hub could not be reached.
    """
    try:
        return hooks.call("load", name)
    except KeyError as error:  # no such registry name
        raise ConfigError(f"{name!r} names no weights: {error.args[0]}") from error
    except CheckpointError as error:
        raise ConfigError(
            f"{name!r} is neither a tokenizer that can be loaded, nor the output folder of a run, nor one of its checkpoint-N "
            f"folders: {error}"
        ) from error


def _from_checkpoint(name: str, folder: Path) -> Pretrained:
    model = read_meta(folder, files=("state.pt",))["config"]["model"]
    saved = read_tensors(folder / "state.pt")
    config = whole_config(model["family"], model["config"])
    return Pretrained(name, model["family"], config, saved.get("ema") or saved["tokenizer"], saved.get("discriminators"))


def whole_config(family: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A family's plain `config` with the values of all keys that it leaves out; code that it names is not imported.

    Raises:
        ConfigError: unknown family, keys or values.
    """
    return to_mapping(from_mapping(FAMILIES.resolve(family).config_class, config, "model.config"))
