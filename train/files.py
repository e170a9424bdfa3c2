"""YAML run files: `base:` parents, names of bundled files, `key=value` overrides from the command line.

    base: audio/_base.yaml       # the parent: a path relative to this file, else a bundled name; it may have a parent itself
    losses:
      mel: {weight: 10}          # merged into the parent's mel
      waveform_l1: null          # removed; so can parts of `discriminators`, `teachers`, `figures`, `moving` and `data.partners`
    data: {kind: audio, ...}     # another `kind` or `family` than the parent's replaces the whole section
"""

import difflib
import itertools
import re
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..codecs.config import ConfigError, from_mapping
from ..codecs.families import FAMILIES
from ..codecs.kinds import register
from .config import FROM_INIT, ModelConfig, RunConfig

#: Sections of a run file that hold parts by name.
PARTS = ("losses", "discriminators", "teachers", "figures")


def load_run(source: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run file and its parents, apply overrides, check everything.

    Args:
        source: path of a YAML file, or the name of a bundled one (`image/convnet-debug`, with or without `.yaml`).
        overrides: `key=value` with dots between levels: `data.train=photos`, `steps=1000`, `losses.mel.weight=5`.

    Raises:
        ConfigError: no such file, unknown keys (the nearest is named), wrong types, or values that do not fit.

    Warns:
        NotValidated: `overrides` name training data but no validation data, and those of the file are not there.
    """
    values = read_mapping(source, overrides)
    given = {item.partition("=")[0] for item in overrides}
    if "data.train" in given and not given & {"data.valid", "data"}:
        _leave_out_missing(values)
    return parse_run(values, own=True)


class NotValidated(UserWarning):
    """A run without validation data."""


def _leave_out_missing(values: dict[str, Any]) -> None:
    """Take out `data.valid` if it is a path of the run file that is not there: the user has given other training data."""
    data = values.get("data")
    valid = data.get("valid") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(valid, str) or not valid or any(sign in valid for sign in ("{", "*", "://")):
        return
    if not Path(valid).expanduser().exists():
        warnings.warn(
            f"data.valid {valid!r} is not there: this run is not validated. data.valid=FOLDER names media to validate it on.",
            NotValidated,
            stacklevel=3,
        )
        values["data"] = {**data, "valid": []}


def parse_run(values: Mapping[str, Any], *, own: bool = False) -> RunConfig:
    """Check a plain mapping against `RunConfig`; the name of a loss, discriminator, teacher or figure without `kind` is its kind.

    Args:
        values: of a run file.
        own: True for a run file of the user's, which may name losses, quantizers and other parts of the user's own code; they are
            imported here (see `codecs/kinds.py`). False for the config of a checkpoint.

    Raises:
        ConfigError: unknown keys (the nearest is named), wrong types, or values that do not fit.
    """
    values = _without_removed(values)
    if values.get("model") == FROM_INIT:
        del values["model"]  # as if it were left out
    for section in PARTS:
        parts = values.get(section)
        if isinstance(parts, Mapping):
            values[section] = {
                name: {"kind": name, **part} if isinstance(part, Mapping) else part for name, part in parts.items()
            }
    run = from_mapping(RunConfig, values, own=own)
    if own:
        _check_model(run.model)
    return run


def _check_model(model: ModelConfig) -> None:
    """Register the user's own parts that the model names, and check its settings, which are plain values until it is built."""
    for kind in _kinds_in(model.config):
        if isinstance(kind, str) and ":" in kind:
            register(kind)
    if model.family != FROM_INIT:
        from_mapping(FAMILIES.resolve(model.family, own=True).config_class, model.config, "model.config")


def _kinds_in(value: Any) -> Iterator[Any]:
    """Every `kind` in a mapping, at any depth."""
    if isinstance(value, Mapping):
        yield from (v for k, v in value.items() if k == "kind")
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    for part in parts:
        yield from _kinds_in(part)


def read_mapping(source: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the merged plain mapping of a run file, unchecked.

    Raises:
        ConfigError: no such file, or YAML that cannot be read, in the file or in an override.
    """
    from omegaconf import OmegaConf

    merged = _read(find(source), ())
    for item in overrides:
        if "=" not in item:
            raise ConfigError(f"{item!r} is no override; write key=value, for example steps=1000.")
        _from_dotlist([item], repr(item))
    if overrides:
        merged = merge(merged, _from_dotlist(list(overrides), " ".join(overrides)))
    try:
        whole: Any = OmegaConf.to_container(OmegaConf.create(merged), resolve=True)
    except Exception as error:  # yaml's and omegaconf's own classes have no common base
        raise ConfigError(f"{source} cannot be resolved: {_first_line(error)}") from error
    return whole


def _from_dotlist(items: list[str], name: str) -> Any:
    from omegaconf import OmegaConf

    try:
        return OmegaConf.to_container(OmegaConf.from_dotlist(items))
    except Exception as error:
        raise ConfigError(f"the override {name} cannot be read: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def merge(parent: Any, child: Any) -> Any:
    """Merge mappings level by level; the child wins, and a new `kind` or `family` starts its section afresh."""
    if not isinstance(parent, Mapping) or not isinstance(child, Mapping):
        return child
    for key in ("kind", "family"):
        if key in child and child[key] != parent.get(key, child[key]):
            return dict(child)
    return {**parent, **{key: merge(parent.get(key), value) for key, value in child.items()}}


def resolved(source: str | Path, overrides: Sequence[str] = ()) -> str:
    """A run file as YAML text, with its header, all that it takes from its bases, and the overrides; checked as `load_run` does.

    Raises:
        ConfigError: as `load_run`.
    """
    from omegaconf import OmegaConf

    values = read_mapping(source, overrides)
    parse_run(values, own=True)
    lines = find(source).read_text(encoding="utf-8").splitlines()
    header = itertools.takewhile(lambda line: line.startswith("#"), lines)
    return "\n".join([*header, OmegaConf.to_yaml(OmegaConf.create(_without_removed(values)))])


def _without_removed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without the parts that a run file has removed from its base."""
    out = {**values}
    sections = [(out, key) for key in (*PARTS, "moving")]
    if isinstance(out.get("data"), Mapping):
        out["data"] = {**out["data"]}
        sections.append((out["data"], "partners"))
    for place, key in sections:
        if isinstance(place.get(key), Mapping):
            place[key] = {name: part for name, part in place[key].items() if part is not None}
    return out


def bundled_names() -> list[str]:
    """Names of the run files that ship with the package, without `_base` files and those of `tokenzoo lm`."""
    return [n for n in _bundled_files() if not n.rpartition("/")[2].startswith("_") and not n.startswith("lm/")]


def bundled_purpose(name: str) -> str:
    """The beginning of the header of a bundled run file, which names the model, in at most 90 characters."""
    first = (_bundled_folder() / f"{name}.yaml").read_text(encoding="utf-8").partition("\n")[0]
    return textwrap.shorten(re.split(r" \(|: |; ", first.lstrip("# "))[0].rstrip("."), 90, placeholder=" ...")


def bundled_rows() -> list[str]:
    """A line of text for each bundled run: its name and purpose."""
    names = bundled_names()
    width = max(map(len, names))
    return [f"{n:{width}}  {bundled_purpose(n)}" for n in names]


def names_like(name: str) -> list[str]:
    """Suggestions for an unknown `name`: bundled names that contain it, else similar ones; at most 12."""
    names, word = bundled_names(), name.lower().rstrip("/").rpartition("/")[2]
    if found := [n for n in names if word and word in n]:
        return found[:12]
    words = {n: re.split(r"[-_/]", n) for n in names}
    close = difflib.get_close_matches(word, {w for ws in words.values() for w in ws}, n=3, cutoff=0.7)
    found = difflib.get_close_matches(name, names, n=4, cutoff=0.75)
    return list(dict.fromkeys(found + [n for n in names if any(w in words[n] for w in close)]))[:12]


def find(source: str | Path, *, among: Sequence[str] | None = None) -> Path:
    """Return the path of a run file given by path or by bundled name.

    Args:
        source: the path or the name.
        among: bundled names that the message lists if there is no such file; None: training runs like it.

    Raises:
        ConfigError: neither; bundled names like it are named.
    """
    if not isinstance(source, (str, Path)):
        raise ConfigError(f"a run file is named by its path or bundled name, got {source!r:.60} ({type(source).__name__}).")
    path = Path(source)
    try:
        if path.is_file():
            return path
    except OSError:  # longer than names of files may be
        pass
    if inside := _bundled_file(path.as_posix()):
        return inside
    if among is not None:
        raise ConfigError(f"no run file {str(source)!r:.300}, neither a path nor a bundled name; bundled are {', '.join(among)}.")
    like = names_like(path.as_posix().removeprefix("configs/").removesuffix(".yaml"))
    hint = f"Did you mean {', '.join(like)}? " if like else ""
    name = f"{str(source)!r:.300}"
    raise ConfigError(f"no run file {name}, neither a path nor a bundled name. {hint}`tokenzoo train` lists all bundled ones.")


def _bundled_file(name: str) -> Path | None:
    """The bundled file of this name, with or without `.yaml`; None: there is none."""
    name = name.removeprefix("configs/").removesuffix(".yaml")
    return _bundled_folder() / f"{name}.yaml" if name in _bundled_files() else None


def _bundled_files() -> list[str]:
    root = _bundled_folder()
    return sorted(p.relative_to(root).with_suffix("").as_posix() for p in root.rglob("*.yaml"))


def _bundled_folder() -> Path:
    return Path(__file__).resolve().parent.parent / "configs"


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    from omegaconf import OmegaConf

    path = path.resolve()
    if path in above:
        raise ConfigError(f"{path} is its own parent: {' -> '.join(str(p) for p in (*above, path))}.")
    try:
        values: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except Exception as error:  # yaml's and omegaconf's own classes have no common base
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold a mapping, got {type(values).__name__}.")
    base = values.pop("base", None)
    if base is None:
        return values
    return merge(_read(_parent(path, base), (*above, path)), values)


def _parent(path: Path, base: Any) -> Path:
    """The file that `base:` in the run file `path` names: relative to its folder, else a bundled one."""
    if not isinstance(base, str):
        raise ConfigError(f"{path}: base is {base!r}; write the name of one file, for example audio/_base.yaml.")
    beside = path.parent / base
    if beside.is_file():
        return beside
    if inside := _bundled_file(base):
        return inside
    leaf = base.removesuffix(".yaml").rpartition("/")[2]
    known = [f"{n}.yaml" for n in _bundled_files() if n.rpartition("/")[2].startswith("_")]
    like = [n for n in known if n.removesuffix(".yaml").endswith(f"/{leaf}")] or known
    raise ConfigError(
        f"{path} names the base {base!r}, but there is no {beside}, and no bundled file of this name. "
        f"Bundled bases: {', '.join(like)}; every bundled run can be a base too."
    )
