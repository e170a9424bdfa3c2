"""Loading from the registry, the hub or a folder; saving and publishing. All hub traffic goes through `huggingface_hub`."""

import json
import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, cast

import torch

from ..codecs.config import nearest
from ..codecs.serialize import CONFIG_NAME, WEIGHTS_NAME, CheckpointError, from_parts, load_folder, read_config, save_folder
from ..codecs.tokenizer import Tokenizer
from . import registry
from .registry import Card


class HubError(OSError):
    """A repository, revision or file that could not be had; the message says why and what to do."""


class FileMissing(HubError):
    """One file that the repository, or offline the cache, does not hold."""


class LicenceWarning(UserWarning):
    """The weights' licence forbids some uses."""


@dataclass(frozen=True)
class _Remote:
    """How files of one repository are fetched."""

    hub_id: str
    revision: str | None
    cache_dir: str | os.PathLike[str] | None
    local_files_only: bool
    token: str | bool | None

    def file(self, name: str) -> Path:
        """Local path of the file `name`, downloaded if it is not in the cache."""
        from huggingface_hub import errors as e
        from huggingface_hub import hf_hub_download

        try:
            path = hf_hub_download(
                self.hub_id,
                name,
                revision=self.revision,
                cache_dir=cast("str | Path | None", self.cache_dir),  # it takes any path
                local_files_only=self.local_files_only,
                token=self.token,
            )
        except e.GatedRepoError as error:
            raise HubError(f"{self.hub_id} is gated: ask for access on its page, then pass token= or log in.") from error
        except e.RepositoryNotFoundError as error:
            raise HubError(
                f"{self.hub_id} was not found on the hub, or it is private and the token does not open it. Check the "
                "name, pass token=, or run `hf auth login`."
            ) from error
        except e.RevisionNotFoundError as error:
            raise HubError(f"{self.hub_id} has no revision {self.revision!r}.") from error
        except e.LocalEntryNotFoundError as error:
            offline = self.local_files_only or os.environ.get("HF_HUB_OFFLINE", "0") not in ("0", "")
            raise FileMissing(
                f"{name} of {self.hub_id} is not in the cache, and "
                + ("offline mode forbids downloads." if offline else f"the hub could not be reached ({error.__cause__ or error}).")
            ) from error
        except e.EntryNotFoundError as error:
            raise FileMissing(f"{self.hub_id} holds no file {name!r}.") from error
        except e.HfHubHTTPError as error:
            raise HubError(f"{name} of {self.hub_id} could not be downloaded: {error}") from error
        return Path(path)


def load(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Tokenizer:
    """Load a tokenizer, in eval mode.

    Args:
        name: a registry name (`tokenzoo.list_models()`); a hub id `org/repo` or `hub:org/repo@revision`, in this
            library's layout or in one its authors published; or a folder, `file:PATH`.
        revision: branch, tag or commit of a hub repository.
        device: where to; default: the CPU.
        dtype: of the weights; default float32. ids may differ in narrower types.
        cache_dir, local_files_only, token: as in `huggingface_hub.hf_hub_download`.

    Raises:
        KeyError: a registry name that does not exist; the nearest are named.
        HubError: not found, gated, offline, or unreachable.
        CheckpointError, ConfigError: files that do not fit.
    """
    name = os.fspath(name)
    if name.startswith("file:"):
        tokenizer = _load_path(Path(name[5:]).expanduser())
    else:
        hub_id, _, pinned = name.removeprefix("hub:").partition("@")
        is_hub = name.startswith("hub:") or hub_id.count("/") == 1
        if not is_hub and not pinned and name not in registry.cards() and (os.sep in name or Path(name).is_dir()):
            raise KeyError(f"{name!r} looks like a folder; write 'file:{name}'.")
        if revision and pinned and revision != pinned:
            raise ValueError(f"two revisions are asked for: {pinned!r} in the name and revision={revision!r}.")
        options = (revision or pinned or None, cache_dir, local_files_only, token)
        tokenizer = _load_hub(hub_id, *options) if is_hub else _load_card(registry.card(hub_id), *options)
    tokenizer.source = name
    return tokenizer.to(device=device, dtype=dtype).eval()


def _load_card(card: Card, revision: str | None, *options: Any) -> Tokenizer:
    if card.restricted:
        reason = card.restricted if isinstance(card.restricted, str) else "non-commercial use only"
        warnings.warn(f"{card.name}: weights under {card.licence_weights}: {reason}.", LicenceWarning, stacklevel=3)
    if card.shipped:
        folder = resources.files(__spec__.parent).joinpath("checkpoints", card.name)
        with resources.as_file(folder) as path:
            return load_folder(path)
    if card.hub_id is None:
        raise HubError(f"the weights of {card.name} are not on the hub. {card.where} Then load('file:FOLDER').")
    remote = _Remote(card.hub_id, revision or card.revision, *options)
    return _load_own(remote) if not card.system else _load_foreign(card, remote)


def _load_hub(hub_id: str, revision: str | None, *options: Any) -> Tokenizer:
    """A repository by id: known ones by their card, others by what their `config.json` says."""
    known = registry.card_of_hub_id(hub_id)
    if len(known) > 1:
        raise ValueError(f"{hub_id} holds several tokenizers; load one by name: {', '.join(c.name for c in known)}.")
    if known:
        return _load_card(known[0], revision, *options)
    remote = _Remote(hub_id, revision, *options)
    config, part = _hub_config(remote)
    if "family" in config:
        return _load_own(remote)
    from .convert import DIFFUSERS_WEIGHTS, convert, system_of_config

    system = system_of_config(config)
    weights = part + (DIFFUSERS_WEIGHTS if "_class_name" in config else WEIGHTS_NAME)
    if system is None:
        raise CheckpointError(
            f"{hub_id} is in a layout that tokenzoo does not know "
            f"({config.get('model_type') or config.get('_class_name')!r}). "
            f"Known tokenizers: tokenzoo.list_models().{nearest(hub_id.split('/')[-1], list(registry.cards()))}"
        )
    return convert(system, config, _read_weights(weights, remote.file), name=hub_id)


def _hub_config(remote: _Remote) -> tuple[dict[str, Any], str]:
    """A repository's config and the folder it lies in: its own or, in a pipeline of diffusers, `vae/`."""
    try:
        return json.loads(remote.file(CONFIG_NAME).read_text()), ""
    except FileMissing as error:
        try:
            return json.loads(remote.file("vae/" + CONFIG_NAME).read_text()), "vae/"
        except FileMissing:
            raise error from None


def _load_own(remote: _Remote) -> Tokenizer:
    return from_parts(read_config(remote.file(CONFIG_NAME)), remote.file(WEIGHTS_NAME))


def _load_foreign(card: Card, remote: _Remote) -> Tokenizer:
    from .convert import convert

    return _assemble(card, remote.file, convert)


def _assemble(card: Card, file: Callable[[str], Path], convert: Callable[..., Tokenizer]) -> Tokenizer:
    """Read a card's files: JSON and YAML ones make the config, all others are weights."""
    config: dict[str, Any] = {}
    state: dict[str, Any] = {}
    for name in card.files or (CONFIG_NAME, WEIGHTS_NAME):
        if name.endswith((".json", ".yaml", ".yml")):
            config |= _read_config(file(name))
        else:
            state |= _read_weights(name, file)
    return convert(card.system, config | card.config_overrides, state, name=card.hub_id or card.name)


def _read_config(path: Path) -> dict[str, Any]:
    if path.suffix == ".json":
        return json.loads(path.read_text())
    from omegaconf import OmegaConf

    return OmegaConf.to_container(OmegaConf.load(path), resolve=True)  # type: ignore[return-value]


def _read_weights(name: str, file: Callable[[str], Path]) -> dict[str, Any]:
    """Read foreign weights: safetensors, also cut into several files, or a PyTorch file without unpickling objects."""
    from .convert.files import read_shards, read_torch

    if not name.endswith(".safetensors"):
        return read_torch(file(name))
    try:
        path = file(name)
    except FileMissing as error:
        try:
            index = file(name + ".index.json")
        except HubError:
            raise error from None
        return read_shards(index, file)
    from safetensors.torch import load_file

    return load_file(path)


def _load_path(folder: Path) -> Tokenizer:
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder.")
    path = folder / CONFIG_NAME
    if path.is_file() and "family" in json.loads(path.read_text()):
        return load_folder(folder)
    from .convert import load_reference

    return load_reference(folder)


def save_pretrained(
    tokenizer: Tokenizer, folder: str | os.PathLike[str], *, dtype: torch.dtype | None = None
) -> Path:
    """Write `config.json`, `model.safetensors` and a model card `README.md` (an existing card stays) into `folder`."""
    from .model_card import card_text

    folder = save_folder(tokenizer, folder, dtype=dtype)
    readme = folder / "README.md"
    if not readme.exists():
        readme.write_text(card_text(tokenizer))
    return folder


def push_to_hub(
    tokenizer: Tokenizer,
    repo_id: str,
    *,
    private: bool = False,
    token: str | bool | None = None,
    revision: str | None = None,
    commit_message: str = "Upload tokenizer",
    dtype: torch.dtype | None = None,
) -> str:
    """Publish `tokenizer` as the hub repository `repo_id` (made if missing); returns the commit's URL.

    Raises:
        HubError: the token does not allow it, or the hub could not be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(tokenizer, folder, dtype=dtype)
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            info = api.upload_folder(repo_id=repo_id, folder_path=folder, revision=revision, commit_message=commit_message)
        except HfHubHTTPError as error:
            raise HubError(f"{repo_id} could not be published: {error}") from error
    return str(info.commit_url)
