"""Initial weights of a run: anything that `tokenzoo.load` takes, and the folders that training runs write."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..codecs import hooks
from ..codecs.config import ConfigError, from_mapping, to_mapping
from ..codecs.families import FAMILIES, build_tokenizer
from ..codecs.serialize import CheckpointError
from ..codecs.tokenizer import Tokenizer
from .checkpoint import checkpoints, read_meta, read_tensors
from .discriminator_files import read_discriminators
from .weight_norm import plain


@dataclass(frozen=True)
class Pretrained:
    """A tokenizer's weights with the config that they belong to.

    Attributes:
        name: as in the run file.
        family, config: of the tokenizer; `config` has plain values, for all keys.
        weights: its state dict, on the CPU.
        discriminators: state dict of the discriminators that were trained with it, if available.
        losses: state dict of all losses of the run that it comes from; None: it comes from no run's checkpoint.
        layout: name of the authors' layout that it was loaded from; "": this library's own.
        published: the discriminators lie beside a published tokenizer; those of a run's checkpoint are not published.
    """

    name: str
    family: str
    config: dict[str, Any]
    weights: dict[str, Tensor]
    discriminators: dict[str, Tensor] | None = None
    layout: str = ""
    published: bool = False
    losses: dict[str, Tensor] | None = None

    @property
    def modality(self) -> str:
        """"audio", "image" or "latent": what the tokenizer takes."""
        with torch.device("meta"):
            return build_tokenizer(self.family, self.config).spec.modality

    def release(self) -> None:
        """Let go of the weights, once they are in the networks: a run would keep a second copy of them in memory."""
        self.weights.clear()
        for more in (self.discriminators, self.losses):
            if more is not None:
                more.clear()


def open_pretrained(name: str) -> Pretrained:
    """Read the weights that `name` refers to.

    Args:
        name: a checkpoint folder of a run, the run's output folder (its newest checkpoint), or what `load_tokenizer` takes; the
            last brings the discriminators that were published beside it.

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
    judges = _published_discriminators(name)
    config, layout = to_mapping(tokenizer.config), tokenizer.layout
    return Pretrained(name, tokenizer.family, config, tokenizer.state_dict(), judges, layout, published=True)


def _published_discriminators(name: str) -> dict[str, Tensor] | None:
    """State dict of the discriminators beside a tokenizer; None where there are none. Raises CheckpointError for broken files."""
    try:
        beside = hooks.call("discriminator_files", name)
    except OSError as error:  # the tokenizer came from the cache
        warnings.warn(f"whether {name} was published with discriminators is not known, so none are taken: {error}", stacklevel=3)
        return None
    return read_discriminators(*beside).weights if beside else None


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
    meta = read_meta(folder, files=("state.pt",))
    model = meta["config"]["model"]
    saved = read_tensors(folder / "state.pt")
    config = whole_config(model["family"], model["config"])
    weights = plain(saved.get("ema") or saved["tokenizer"], meta.get("weight_norm", ()))
    judges, layout = saved.get("discriminators"), meta.get("layout", "")
    return Pretrained(name, model["family"], config, weights, judges, layout, losses=saved["losses"])


def whole_config(family: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A family's plain `config` with the values of all keys that it leaves out; code that it names is not imported.

    Raises:
        ConfigError: unknown family, keys or values.
    """
    return to_mapping(from_mapping(FAMILIES.resolve(family).config_class, config, "model.config"))
