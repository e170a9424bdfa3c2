"""Loading from the registry, the hub or a folder, and saving. All hub traffic goes through `huggingface_hub`."""

import os
import re
import warnings
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, cast

import torch

from ..codecs.building import Part
from ..codecs.decoder_dtype import cast_decoder
from ..codecs.devices import pick_device, pick_dtype
from ..codecs.serialize import CONFIG_NAME, DISCRIMINATOR_FILES, CheckpointError, save_folder
from ..codecs.tokenizer import Tokenizer
from ..codecs.wrapping import unwrap
from . import loader, registry
from .loader import Files, Folder
from .provenance import started_from
from .readmes import README, written_by_hand
from .registry import Card


class HubError(OSError):
    """A repository, revision or file is not available; the message gives the reason and what to do."""


class FileMissing(HubError, loader.FileMissing):
    """A file that is not in the repository or, offline, not in the cache."""


class LicenceWarning(UserWarning):
    """The weights' licence forbids some uses."""


def request_errors() -> tuple[type[Exception], ...]:
    """What requests of `huggingface_hub` raise: refusals, and errors of the transport, of whichever library it uses."""
    from huggingface_hub.errors import HfHubHTTPError

    return (HfHubHTTPError, *(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)))


@dataclass(frozen=True)
class _Remote:
    """Files of one repository of the hub."""

    hub_id: str
    revision: str | None
    cache_dir: str | os.PathLike[str] | None
    local_files_only: bool
    token: str | bool | None

    @property
    def label(self) -> str:
        return self.hub_id

    @property
    def _offline(self) -> bool:
        return self.local_files_only or os.environ.get("HF_HUB_OFFLINE", "0") not in ("0", "")

    def has(self, name: str) -> bool:
        """True where the repository holds the file `name`."""
        try:
            return bool(self.file(name))
        except FileMissing:
            return False

    def names(self) -> list[str]:
        """All files of the repository; empty if the hub cannot be reached."""
        from huggingface_hub import HfApi

        if self._offline:
            return []
        try:
            return HfApi(token=self.token).list_repo_files(self.hub_id, revision=self.revision)
        except Exception:  # any error of the client's transport: the list is not essential, files are requested one by one
            return []

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
        except e.HFValidationError as error:
            raise HubError(f"{self.hub_id!r:.120} is no name of a repository of the hub; write org/repo.") from error
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
            lost = f"{name} of {self.hub_id} is not in the cache, and"
            if self._offline:
                raise FileMissing(f"{lost} offline mode forbids downloads.") from error
            raise HubError(f"{lost} the hub could not be reached ({error.__cause__ or error}).") from error
        except e.EntryNotFoundError as error:
            raise FileMissing(f"{self.hub_id} holds no file {name!r}.") from error
        except e.HfHubHTTPError as error:
            raise HubError(f"{name} of {self.hub_id} could not be downloaded: {error}") from error
        return Path(path)


def load(
    name: str | os.PathLike[str],
    *,
    folder: str | os.PathLike[str] | None = None,
    part: Part | None = None,
    revision: str | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    encoder_dtype: torch.dtype | str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Tokenizer:
    """Load a tokenizer, in eval mode.

    Args:
        name: a registry name (`tokenzoo.list_models()`); a hub id `org/repo`, `hub:org/repo@revision` or the address of its
            page, in this library's layout or in one its authors published; or a folder (also the output of a training run), as
            `file:PATH`, as a `Path`, or by its name if no registry name is the same.
        folder: with a registry name: a folder with the files of its card, downloaded manually; with the sub-folders of the
            repository, or all files side by side.
        part: "encoder" or "decoder" loads only that half; the methods that need the other half then raise. None: both halves.
        revision: branch, tag or commit of a hub repository; None: the card's, else the newest.
        device: "cpu", "cuda", "cuda:1", "mps", or "auto", a CUDA GPU if there is one; default: the CPU.
        dtype: of the weights: "float32", "bfloat16", "float16" or a `torch.dtype`; default float32. In lower precision ids may differ.
        encoder_dtype: of the encoder and of all that ids depend on, where that is another: with dtype="bfloat16" and
            encoder_dtype="float32" ids are those of float32, and the decoder is half as large. None: `dtype`.
        cache_dir: as in `huggingface_hub.hf_hub_download`.
        local_files_only: likewise.
        token: likewise.

    Raises:
        KeyError: a registry name that does not exist; the nearest are named.
        HubError: a repository or file does not exist, is gated, or cannot be reached.
        CheckpointError, ConfigError: the files hold no tokenizer that can be loaded, or contradict each other.
    """
    place, kind, exact = pick_device(device), pick_dtype(dtype), pick_dtype(encoder_dtype)  # before anything is downloaded
    text, folder = _text("name", name), None if folder is None else _text("folder", folder)
    revision = None if revision is None else _text("revision", revision)
    if part not in (None, "encoder", "decoder"):
        raise ValueError(f"part is {part!r:.200}; allowed: 'encoder', 'decoder', or None for both.")
    if folder is not None:
        tokenizer = _from_folder_of_card(text, Path(folder).expanduser(), part)
    elif isinstance(name, os.PathLike) or text.startswith("file:"):
        tokenizer = _from_folder(Path(text.removeprefix("file:")).expanduser(), part)
    elif text not in registry.cards() and not text.startswith("hub:") and _is_folder(text):
        tokenizer = _from_folder(Path(text).expanduser(), part)
    else:
        hub_id, pinned = _hub_name(text)
        if revision and pinned and revision != pinned:
            raise ValueError(f"two revisions are given: {pinned!r} in the name and revision={revision!r}.")
        remote = _Remote(hub_id, revision or pinned or None, cache_dir, local_files_only, token)
        card = _card_of_hub_id(hub_id) if text.startswith("hub:") or hub_id.count("/") == 1 else registry.card(hub_id)
        tokenizer = _load_card(card, remote, part) if card else loader.load_files(remote, part)
        tokenizer.origin = card.name if card else hub_id
    tokenizer.source = text
    tokenizer = tokenizer.to(device=place, dtype=exact or kind)
    return cast_decoder(tokenizer, kind or torch.float32) if exact not in (None, kind) else tokenizer


def _text(what: str, value: Any) -> str:
    """A name or a path as text. Raises ValueError for anything else."""
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(text, str) or "\0" in text:
        raise ValueError(f"{what} is {value!r:.60} ({type(value).__name__}); it must be text or a path.")
    return text


def _from_folder(folder: Path, part: Part | None) -> Tokenizer:
    """What a folder or a training run holds; of a run's, also what it was trained from, which a copy elsewhere would not tell."""
    tokenizer = loader.load_files(Folder(_inner(folder)), part)
    tokenizer.trained_from = tokenizer.trained_from or ", ".join(started_from(folder))
    return tokenizer


def _inner(folder: Path) -> Path:
    """The folder itself or, of a training run, its newest tokenizer `model`."""
    inner = folder / "model"
    return inner if (inner / CONFIG_NAME).is_file() and not (folder / CONFIG_NAME).is_file() else folder


def _is_folder(text: str) -> bool:
    try:
        return Path(text).expanduser().is_dir()
    except (OSError, RuntimeError):  # too long for a path; no home folder
        return False


def _hub_name(text: str) -> tuple[str, str | None]:
    """(`org/repo` or a registry name, revision) of what a user wrote: `hub:`, `@revision` and pages' addresses are understood."""
    if m := re.fullmatch(r"https?://[^/]+/([^/]+/[^/@?#]+)(?:/(?:tree|blob|resolve)/([^/?#]+))?(?:[/?#].*)?", text):
        return m[1].removesuffix(".git"), m[2]
    hub_id, _, pinned = text.removeprefix("hub:").partition("@")
    if not text.startswith("hub:") and "/" in hub_id and hub_id.count("/") != 1:
        raise CheckpointError(f"{text!r:.300} is neither a folder on this machine nor a hub id org/repo.")
    return hub_id, pinned or None


def _card_of_hub_id(hub_id: str) -> Card | None:
    """The card of a repository; None: no card knows it. Raises ValueError where it holds several tokenizers."""
    known = registry.card_of_hub_id(hub_id)
    if len(known) > 1:
        raise ValueError(f"{hub_id} holds several tokenizers; load one by name: {', '.join(c.name for c in known)}.")
    return known[0] if known else None


def _from_folder_of_card(name: str, folder: Path, part: Part | None) -> Tokenizer:
    hub_id, _ = _hub_name(name)
    card = _card_of_hub_id(hub_id) or registry.card(hub_id)
    _warn_of_licence(card)
    tokenizer = loader.load_card(card, Folder(folder, flat=True), part)
    tokenizer.origin = card.name
    return tokenizer


def _warn_of_licence(card: Card) -> None:
    if card.restricted:
        terms = f"{card.licence_weights}: {card.restricted.rstrip('.')}."
        warnings.warn(f"{card.name}: weights under {terms}", LicenceWarning, stacklevel=4)


def _load_card(card: Card, remote: _Remote, part: Part | None) -> Tokenizer:
    """A card's tokenizer; `remote` fetches the files from the repository that the card names."""
    _warn_of_licence(card)
    if card.shipped:
        with resources.as_file(resources.files(__spec__.parent).joinpath("checkpoints", card.name)) as path:
            return loader.load_card(card, Folder(path), part)
    if card.hub_id is None:
        raise HubError(
            f"the weights of {card.name} are not on the hub. {card.where.rstrip('. ')}. Put {' and '.join(card.files)} into a "
            f'folder and call tokenzoo.load("{card.name}", folder="FOLDER").'
        )
    return loader.load_card(card, replace(remote, hub_id=card.hub_id, revision=remote.revision or card.revision), part)


def save_pretrained(
    tokenizer: Tokenizer,
    folder: str | os.PathLike[str],
    *,
    dtype: torch.dtype | None = None,
    layout: str | None = None,
    discriminators: str | os.PathLike[str] | None = None,
) -> Path:
    """Write a tokenizer into `folder` (made if missing).

    Args:
        tokenizer: any family, also wrapped by `torch.compile` or for several processes.
        folder: gets `config.json`, `model.safetensors` and a model card `README.md`; a card that a person wrote stays.
        dtype: of the weights in the file, e.g. `torch.float16`; None: as they are.
        layout: write config and weights as another library or the authors' code loads them, in place of this library's layout:
            "encodec-hf" is what transformers' `EncodecModel.from_pretrained` reads. Allowed: `writable_layouts()`.
        discriminators: a training run's folder or checkpoint, whose discriminators are written beside the tokenizer; a run that
            starts from it then starts from them too.

    Returns:
        The folder.

    Raises:
        ValueError: a layout that does not exist, that can only be read, or that belongs to another family; a run without
            discriminators.
    """
    from .model_card import card_text

    tokenizer, folder = unwrap(tokenizer), Path(folder)
    if layout is not None:
        from .writing import write_layout

        write_layout(tokenizer, folder, layout, dtype)
    else:
        save_folder(tokenizer, folder, dtype=dtype)
        if written_by_hand(folder) is None:
            (folder / README).write_text(card_text(tokenizer), encoding="utf-8")
    if discriminators is not None:
        from ..train.discriminator_files import write_discriminators

        write_discriminators(Path(discriminators).expanduser(), folder)
    return folder


def files_of(name: str | os.PathLike[str]) -> Files:
    """The files of a folder or of a hub repository, which are downloaded one by one when they are read.

    Args:
        name: a folder, also as `file:PATH`; or a hub id `org/repo`, also with `hub:` before or `@revision` behind it.

    Raises:
        CheckpointError: neither of these.
    """
    text = _text("name", name)
    if isinstance(name, os.PathLike) or text.startswith("file:") or (not text.startswith("hub:") and _is_folder(text)):
        return Folder(Path(text.removeprefix("file:")).expanduser())
    hub_id, pinned = _hub_name(text)
    if hub_id.count("/") != 1:
        raise CheckpointError(f"{text!r:.300} is neither a folder on this machine nor a hub id org/repo.")
    return _Remote(hub_id, pinned, None, False, None)


def discriminator_files(name: str) -> tuple[Path, Path] | None:
    """Files of the discriminators that lie beside a tokenizer in a folder or repository, downloaded; None if there are none.

    Args:
        name: as in `load`. A name of the registry has none: its card names all its files.

    Raises:
        HubError: the hub could not be reached.
    """
    text, files = _text("name", name), None
    if text.startswith("file:") or (text not in registry.cards() and not text.startswith("hub:") and _is_folder(text)):
        files = Folder(_inner(Path(text.removeprefix("file:")).expanduser()))
    elif text not in registry.cards():
        hub_id, pinned = _hub_name(text)
        files = None if registry.card_of_hub_id(hub_id) else _Remote(hub_id, pinned, None, False, None)
    if files is None or not all(files.has(part) for part in DISCRIMINATOR_FILES):
        return None
    described, tensors = (files.file(part) for part in DISCRIMINATOR_FILES)
    return described, tensors
