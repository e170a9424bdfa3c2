"""YAML files of this package as plain values, read from one JSON file that has them parsed: 30 times as fast.

    parsed("cards")                 # {"alit.yaml": [{"name": ...}, ...], ...}
    python -m tokenzoo.zoo.parsed   # write `parsed.json` again, after a change of cards/ or published/

`parsed.json` holds, for each file, a digest of its bytes and its values. Whatever file has other bytes is parsed from YAML, so old
values are never seen; a test sees that this is needed for none.
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

#: Folders whose YAML files `parsed.json` holds.
FOLDERS = ("cards", "published")
NAME = "parsed.json"


def parsed(folder: str) -> dict[str, Any]:
    """File name -> values of every YAML file of one of `FOLDERS`, in the order of the names."""
    known, out = _known(), {}
    for name, data in _files(folder).items():
        digest, values = known.get(f"{folder}/{name}", ("", None))
        out[name] = values if digest == _digest(data) else _parse(data)
    return out


def index() -> str:
    """The text of `parsed.json`, one line a file.

    Raises:
        ValueError: a YAML file with values that JSON has not, such as a date.
    """
    lines = []
    for folder in FOLDERS:
        for name, data in _files(folder).items():
            values = _parse(data)
            text = json.dumps([_digest(data), values], ensure_ascii=False, separators=(",", ":"), default=str, allow_nan=False)
            if json.loads(text)[1] != values:
                raise ValueError(f"{folder}/{name} holds values that JSON has not; write them as text.")
            lines.append(f"{json.dumps(f'{folder}/{name}')}:{text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


@functools.cache
def _known() -> Mapping[str, Any]:
    """What `parsed.json` says; nothing where a checkout has none yet."""
    path = _here().joinpath(NAME)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _files(folder: str) -> dict[str, bytes]:
    paths = [p for p in _here().joinpath(folder).iterdir() if p.name.endswith(".yaml")]
    return {p.name: p.read_bytes() for p in sorted(paths, key=lambda p: p.name)}


def _here() -> Any:
    return resources.files(__spec__.parent)


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _parse(data: bytes) -> Any:
    import yaml

    return yaml.load(data.decode("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


if __name__ == "__main__":
    _here().joinpath(NAME).write_text(index(), encoding="utf-8")
