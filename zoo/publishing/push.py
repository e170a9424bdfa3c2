"""Publishing a tokenizer as a repository of the hub: weights, config, card, samples."""

import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from ...codecs.tokenizer import Tokenizer
from ...codecs.wrapping import unwrap
from .. import registry
from ..hub import HubError, request_errors, save_pretrained
from ..model_card import card_text
from ..provenance import provenance_of
from ..readmes import README, card_on_hub, check_hand_written, say_kept, written_by_hand
from .card_bench import bench_tables
from .card_samples import FOLDER as SAMPLES
from .card_samples import write_samples


def push_to_hub(
    tokenizer: Tokenizer,
    repo_id: str,
    *,
    licence: str = "",
    base_models: Sequence[str] = (),
    datasets: Sequence[str] = (),
    bench: str | Path | None = None,
    samples: Literal[False] | Sequence[str | Path] | None = None,
    private: bool = False,
    token: str | bool | None = None,
    revision: str | None = None,
    commit_message: str = "Upload tokenizer",
    dtype: torch.dtype | None = None,
    discriminators: str | Path | None = None,
) -> str:
    """Publish a tokenizer as a hub repository, in this library's layout with a model card.

    A `README.md` that a person wrote, in the folder that the tokenizer was loaded from or in the repository, is kept, with a warning.
    If the tokenizer was loaded from the output folder of a training run, the card states what the run was, and its validation.

    Args:
        tokenizer: any family, also wrapped by `torch.compile` or for several processes.
        repo_id: `org/repo`; made if missing.
        licence: of the weights, e.g. "mit" or "cc-by-sa-4.0"; "": that of the weights they are or were trained from, if it is known.
        base_models: hub ids of models that it was made from, besides those that are known.
        datasets: hub ids of data sets that it was trained on.
        bench: a `bench.json` of `tokenzoo bench` with figures of these weights; None: one that lies in the folder, if any.
        samples: media that the card shows before and after; None: the shipped photograph or sentence; False: none.
        private: make a new repository private.
        token: a token with write access; None: the one that is logged in.
        revision: branch to write to; None: the main one.
        commit_message: first line of the commit.
        dtype: of the weights in the file; None: as they are.
        discriminators: as in `save_pretrained`.

    Returns:
        URL of the commit.

    Raises:
        ValueError: no licence is known or given, or not the one of these weights; a bench without figures of them.
        HubError: the token does not allow it, or the hub could not be reached.
    """
    from huggingface_hub import HfApi, constants

    tokenizer, api = unwrap(tokenizer), HfApi(token=token)
    home = _home(tokenizer)
    by_hand = next((card for f in _places(home) if (card := written_by_hand(f)) is not None), None)
    if by_hand is not None:
        check_hand_written(by_hand, f"{README} in the tokenizer's folder")
    about = provenance_of(tokenizer, home, licence=licence, base_models=base_models, datasets=datasets)
    tables = _bench(tokenizer, home, bench)
    with tempfile.TemporaryDirectory() as side:
        folder, tokenizer_licence = Path(side), tokenizer.licence
        tokenizer.licence = about.licence
        try:
            save_pretrained(tokenizer, folder, dtype=dtype, discriminators=discriminators)
        finally:
            tokenizer.licence = tokenizer_licence
        shown = write_samples(tokenizer, folder, samples) if by_hand is None and samples is not False else []
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            kept = card_on_hub(api, repo_id, None, revision)
            if kept is not None:
                check_hand_written(kept, f"the {README} of {repo_id}")
                say_kept(f"the {README} of {repo_id}")
                (folder / README).unlink()
                shutil.rmtree(folder / SAMPLES, ignore_errors=True)
            elif by_hand is not None:
                say_kept(f"{README} in the tokenizer's folder")
                (folder / README).write_bytes(by_hand)
            else:
                address = f"{constants.ENDPOINT}/{repo_id}/resolve/{revision or 'main'}"
                text = card_text(tokenizer, name=repo_id, about=about, bench=tables, samples=shown, address=address)
                (folder / README).write_text(text, encoding="utf-8")
            info: Any = api.upload_folder(repo_id=repo_id, folder_path=folder, revision=revision, commit_message=commit_message)
        except request_errors() as error:
            raise HubError(f"{repo_id} could not be published: {error}") from error
    return str(info.commit_url)


def _home(tokenizer: Tokenizer) -> Path | None:
    """The folder that a tokenizer was loaded from; None: it was not loaded from one."""
    source = tokenizer.source
    if not source or source in registry.cards() or source.startswith("hub:"):
        return None
    folder = Path(source.removeprefix("file:")).expanduser()
    return folder if folder.is_dir() else None


def _places(home: Path | None) -> list[Path]:
    """Where files about the tokenizer of a folder may lie: there, or, of a run, in the folder of its newest tokenizer."""
    return [] if home is None else [home, *([home / "model"] if (home / "config.yaml").is_file() else [])]


def _bench(tokenizer: Tokenizer, home: Path | None, given: str | Path | None) -> str:
    """Tables of the bench that is given, or that lies with the tokenizer; "" for none."""
    if given is not None:
        path = Path(given).expanduser()
        return bench_tables(path / "bench.json" if path.is_dir() else path, tokenizer, required=True)
    for path in (p / "bench.json" for p in _places(home)):
        if path.is_file():
            tables = bench_tables(path, tokenizer, required=False)
            if not tables:
                warnings.warn(f"{path} has no figures of these weights, so the card has none.", stacklevel=3)
            return tables
    return ""
