"""What cards of models and of token corpora have in common: the licence as the hub spells it, and cards that people wrote are kept.

A card that this library writes ends in a comment with its own checksum. A card without one, or with another, was written or changed by
a person, and is never replaced.
"""

import re
import tempfile
import warnings
from pathlib import Path
from typing import Any

from ..codecs.sealing import BLANK, is_whole, sealed

README = "README.md"
_SEAL = "<!-- written by tokenzoo; a card that is changed stays as it is: {} -->\n"
_SEAL_PATTERN = re.compile(_SEAL.format("([0-9a-f]{64})").strip().encode())
#: Licences that the hub has names for, as far as tokenizers and their data use them.
_NAMED = frozenset(
    (
        "apache-2.0 mit isc bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear zlib unlicense mpl-2.0 ncsa wtfpl artistic-2.0 bsl-1.0 "
        "gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 agpl-3.0 cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 "
        "cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 "
        "cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 odc-by odbl pddl cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0 c-uda "
        "openrail openrail++ apple-amlr other"
    ).split()
)


class CardKept(UserWarning):
    """A card that a person wrote was kept, in place of the one that this library would write."""


def with_seal(text: str) -> str:
    """A card's text with a last line that tells later that no person changed it."""
    return sealed((text.rstrip("\n") + "\n\n" + _SEAL.format(BLANK)).encode()).decode()


def is_ours(data: bytes) -> bool:
    """Whether a card was written by this library and not changed since; git may have changed its line ends."""
    data = data.replace(b"\r\n", b"\n")
    found = _SEAL_PATTERN.search(data)
    return bool(found) and is_whole(data, found[1].decode())


def states_licence(licence: str) -> bool:
    """Whether the text names a licence: cards also say "none stated" and "not seen"."""
    return bool(licence.strip()) and not re.match(r"(none|not|unknown)\b", licence.strip(), re.IGNORECASE)


def licence_fields(licence: str) -> dict[str, str]:
    """The licence as metadata of a card: a name that the hub knows, or "other" with the words themselves."""
    if not states_licence(licence):
        return {}
    plain = re.sub(r"\s*\([^()]*\)$", "", licence.strip()).lower()
    if plain in _NAMED:
        return {"license": plain}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", plain).strip("-")[:80]}


def same_licence(a: str, b: str) -> bool:
    """Whether two texts name one licence."""
    return licence_fields(a) == licence_fields(b)


def front(metadata: Any) -> str:
    """The metadata (of huggingface_hub) at the head of a card."""
    return f"---\n{metadata.to_yaml()}\n---\n\n"


def written_by_hand(folder: Path) -> bytes | None:
    """The folder's card where a person wrote it, else None."""
    path = folder / README
    data = path.read_bytes() if path.is_file() else None
    return None if data is None or is_ours(data) else data


def card_on_hub(api: Any, repo_id: str, repo_type: str | None, revision: str | None) -> bytes | None:
    """The card that the repository has, where a person wrote it, else None.

    Raises:
        OSError: the hub could not be asked.
    """
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    with tempfile.TemporaryDirectory() as cache:
        try:
            path = api.hf_hub_download(repo_id, README, repo_type=repo_type, revision=revision, cache_dir=cache, token=api.token)
        except LocalEntryNotFoundError:  # also an EntryNotFoundError, but only says that no answer came
            raise
        except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError):
            return None
        data = Path(path).read_bytes()
    return None if is_ours(data) else data


def check_hand_written(card: bytes, where: str) -> None:
    """Raise ValueError where a card that is kept does not state a licence in its metadata."""
    from huggingface_hub import RepoCard

    try:
        stated = RepoCard(card.decode("utf-8", "replace"), ignore_metadata_errors=True).data.get("license")
    except Exception as error:  # any text may stand in it
        raise ValueError(f"the metadata of {where} cannot be read ({' '.join(str(error).split()):.200}); mend or remove it.") from None
    if not stated:
        raise ValueError(f"{where} was written by hand and is kept, but its metadata states no licence; add a line 'license: ...'.")


def say_kept(where: str) -> None:
    """Warn that a card is kept."""
    warnings.warn(f"{where} was written by hand, so it is kept as it is.", CardKept, stacklevel=3)
