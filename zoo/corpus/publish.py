"""Publishing a token corpus as a data set of the hub: shards in several commits, then card and manifest.

    push_corpus("tokens", "org/my-tokens", licence="cc-by-4.0")

The manifest is the last file, so a repository without it holds an unfinished upload. The same call goes on with it: shards that the hub
has, by their checksums, are not sent again.
"""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..hub import HubError, request_errors
from ..progress import Bar
from ..readmes import (
    README,
    card_on_hub,
    check_hand_written,
    front,
    licence_fields,
    say_kept,
    states_licence,
    with_seal,
    written_by_hand,
)
from ..tables import counted, markdown_table
from .check import verify
from .files import CorpusError
from .ledger import MANIFEST
from .manifest import PACKING, read_manifest

#: Files of one commit at most; the hub advises against commits of many files, and a commit is what an interruption can cost.
FILES_IN_A_COMMIT = 50
_SHARD = re.compile(r"shard-\d{5,}\.[a-z.]+")
#: Format -> files that `datasets` reads as rows.
_ROWS = {"parquet": "shard-*.parquet", "tar": "shard-*.tar"}
_SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"), (1e7, "1M<n<10M"), (1e8, "10M<n<100M"))
_SIZES += ((1e9, "100M<n<1B"), (1e10, "1B<n<10B"), (1e11, "10B<n<100B"), (1e12, "100B<n<1T"))


def push_corpus(
    folder: str | Path,
    repo_id: str,
    *,
    licence: str,
    sources: Sequence[str] = (),
    private: bool = False,
    token: str | bool | None = None,
    revision: str | None = None,
    files_in_a_commit: int = FILES_IN_A_COMMIT,
    progress: bool = False,
) -> str:
    """Publish a finished corpus; the same call resumes an interrupted one.

    A card that a person wrote, in the folder or in the repository, is kept, with a warning.

    Args:
        folder: of a finished corpus; checked against its manifest first.
        repo_id: `org/name` of the data set; made if missing.
        licence: of the tokens. Media can be decoded from them, so their licence holds.
        sources: hub ids of the data sets that the media come from; those that the manifest names are known.
        private: make a new repository private.
        token: a token with write access; None: the one that is logged in.
        revision: branch to write to; None: the main one.
        files_in_a_commit: how many files go into one commit.
        progress: show a bar on a terminal.

    Returns:
        URL of the last commit.

    Raises:
        ValueError: no licence.
        CorpusError: no finished corpus, or files that are not as the manifest says.
        HubError: the token does not allow it, or the hub could not be reached.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    folder = Path(folder)
    if not states_licence(licence):
        raise ValueError(f"the licence is {licence!r:.80}; state that of the tokens (and so of their media), such as 'cc-by-4.0'.")
    manifest = read_manifest(folder)
    if wrong := verify(folder):
        raise CorpusError(f"{folder}: {wrong[0]}" + (f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else "") + ". Nothing was sent.")
    if paths := [n for n in manifest["source"]["names"] if Path(str(n)).is_absolute()]:
        warnings.warn(f"{MANIFEST} is published as it is, and names {paths[0]!r:.200} as a source.", stacklevel=2)
    shards = {name: facts for shard in manifest["shards"] for name, facts in shard["files"].items()}
    api, where = HfApi(token=token), {"repo_id": repo_id, "repo_type": "dataset", "revision": revision}
    if (mine := written_by_hand(folder)) is not None:
        check_hand_written(mine, f"{folder / README}")
    try:
        api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
        card = _kept(api, repo_id, revision, mine, f"{folder / README}")
        if card is None:
            card = card_text(manifest, repo_id, licence=licence, sources=sources).encode()
        there = _there(api, where)
        missing = [name for name, facts in shards.items() if there.get(name) != facts["sha256"]]
        groups = [missing[i : i + files_in_a_commit] for i in range(0, len(missing), files_in_a_commit)]
        with Bar(len(groups) + 1, "sending", show=progress) as bar:
            for number, names in enumerate(groups):
                adds = [CommitOperationAdd(name, str(folder / name)) for name in names]
                api.create_commit(operations=adds, commit_message=f"Shards, part {number + 1} of {len(groups)}", **where)
                bar.step()
            last: list[Any] = [CommitOperationAdd(MANIFEST, str(folder / MANIFEST))]
            last += [CommitOperationAdd(PACKING, str(folder / PACKING))] if manifest.get("packing_file") else []
            last += [CommitOperationAdd(README, card)] if card else []
            last += [CommitOperationDelete(name) for name in sorted(there) if _SHARD.fullmatch(name) and name not in shards]
            info = api.create_commit(operations=last, commit_message="Card and manifest", **where)
    except request_errors() as error:
        raise HubError(f"{repo_id} could not be published, or not all of it ({error}). The same call goes on.") from error
    return str(info.commit_url)


def _there(api: Any, where: dict[str, Any]) -> dict[str, str]:
    """Files of the repository and the sha256 of those that the hub knows it of; "" of the others."""
    tree = api.list_repo_tree(where["repo_id"], recursive=True, repo_type="dataset", revision=where["revision"])
    return {entry.path: entry.lfs.sha256 if getattr(entry, "lfs", None) else "" for entry in tree}


def _kept(api: Any, repo_id: str, revision: str | None, mine: bytes | None, where: str) -> bytes | None:
    """The card that a person wrote: that of the folder, b"" where the repository has one, which stays; None: neither has."""
    theirs = card_on_hub(api, repo_id, "dataset", revision)
    if theirs is not None:
        check_hand_written(theirs, f"the {README} of {repo_id}")
        say_kept(f"the {README} of {repo_id}")
        return b""
    if mine is not None:
        say_kept(where)
    return mine


# --- the card -------------------------------------------------------------------------------------------------------------


def card_text(manifest: dict[str, Any], name: str, *, licence: str, sources: Sequence[str] = ()) -> str:
    """Return the card of a corpus in Markdown, with the metadata that the hub reads.

    Args:
        manifest: of the corpus.
        name: `org/name`.
        licence: of the tokens.
        sources: hub ids of the data sets that the media come from, besides those in the manifest.
    """
    maker, totals, layout = manifest["tokenizer"], manifest["totals"], manifest["layout"]
    named = [str(n).removeprefix("hub:") for n in manifest["source"]["names"] if str(n).startswith("hub:")]
    sources = list(dict.fromkeys([*sources, *named]))
    rows = {
        "tokenizer": f"`{_plain(maker['name'])}`, family `{maker['family']}`",
        "its revision": maker["revision"] or "",
        "sha256 of its weights": f"`{maker['sha256']}`",
        "computed in": maker["dtype"],
        "format": f"`{manifest['options']['format']}`, written by tokenzoo {manifest['library_version']}",
        "items": f"{totals['items']:,}" + (f" ({totals['failed']:,} more could not be encoded)" if totals["failed"] else ""),
        "tokens": f"{totals['tokens']:,}",
        "shards": f"{totals['shards']:,}",
        "codebooks": f"{len(layout['vocab_sizes'])}, with {_sizes(layout['vocab_sizes'])} ids",
        "positions of one id": " ".join(map(str, layout["strides"])),
        "options of the tokenizer": ", ".join(f"{k}={v}" for k, v in manifest["options"]["encode"].items()),
        "licence": licence,
        "made from": ", ".join(f"[{s}](https://huggingface.co/datasets/{s})" for s in sources),
    }
    table = markdown_table(("", ""), [(k, v) for k, v in rows.items() if v])
    about = f"{counted(totals['items'], 'item')} of {'sound' if layout['modality'] == 'audio' else 'pictures'} as discrete tokens."
    parts = [f"# {name.split('/')[-1]}", about, table, "## Read", _reading(manifest, name)]
    return with_seal(front(_metadata(manifest, licence)) + "\n\n".join(parts) + "\n")


def _plain(name: str) -> str:
    """A tokenizer's name; of a folder only its last part."""
    text = name.removeprefix("file:").rstrip("/")
    return text.rpartition("/")[2] if name.startswith(("file:", "/", ".", "~")) else text


def _sizes(sizes: Sequence[int]) -> str:
    return f"{sizes[0]:,}" if len(set(sizes)) == 1 else ", ".join(f"{n:,}" for n in sizes)


def _metadata(manifest: dict[str, Any], licence: str) -> Any:
    from huggingface_hub import DatasetCardData

    kind, items = manifest["options"]["format"], manifest["totals"]["items"]
    more: dict[str, Any] = {}
    if kind in _ROWS:
        more["configs"] = [{"config_name": "default", "data_files": [{"split": "train", "path": _ROWS[kind]}]}]
    return DatasetCardData(
        size_categories=[next((name for most, name in _SIZES if items < most), "n>1T")],
        tags=["tokens", "tokenzoo", f"{manifest['layout']['modality']}-tokens", manifest["tokenizer"]["family"]],
        **licence_fields(licence),
        **more,
    )


def _reading(manifest: dict[str, Any], name: str) -> str:
    kind = manifest["options"]["format"]
    own = f"""With the library, without the tokenizer's weights:

```python
from huggingface_hub import snapshot_download
from tokenzoo.zoo.corpus import TokenDataset

data = TokenDataset(snapshot_download("{name}", repo_type="dataset"), block=1024, seed=0)
data.tokens(0)                                 # the first item, as the tokenizer's `decode` takes it
batch = next(iter(data.loader(8)))             # input_ids, labels, ...: [8, 1024] each
```"""
    if kind not in _ROWS:
        return own + f"\n\nThe `{kind}` files hold packed sequences, whose id space is described in `{PACKING}`."
    rows = "`ids_0`, `ids_1`, ... of each codebook" if kind == "parquet" else "`ids.npy` `[K, L]` and `json`"
    return own + f"""

With `datasets` (a row holds {rows}):

```python
import datasets

rows = datasets.load_dataset("{name}", split="train", streaming=True)
```"""
