"""YAML run files: `base:` parents, names of bundled files, `key=value` overrides from the command line.

    base: _base.yaml             # the parent, relative to this file; it may have a parent itself
    losses:
      mel: {weight: 10}          # merged into the parent's mel
      waveform_l1: null          # taken out
    data: {kind: audio, ...}     # another `kind` or `family` than the parent's replaces the whole section
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..codecs.config import ConfigError, from_mapping, nearest
from .config import RunConfig


def load_run(source: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run file and its parents, apply overrides, check everything.

    Args:
        source: path of a YAML file, or the name of a bundled one (`image/debug`, with or without `.yaml`).
        overrides: `key=value` with dots between levels: `data.train=photos`, `steps=1000`, `losses.mel.weight=5`.

    Raises:
        ConfigError: no such file, unknown keys (the nearest is named), wrong types, or values that do not fit.
    """
    return parse_run(read_mapping(source, overrides))


def parse_run(values: Mapping[str, Any]) -> RunConfig:
    """Check a plain mapping against `RunConfig`; a loss, discriminator or teacher without `kind` has its name's."""
    values = dict(values)
    for section in ("losses", "discriminators", "teachers"):
        parts = values.get(section)
        if isinstance(parts, Mapping):
            values[section] = {
                name: {"kind": name, **part} if isinstance(part, Mapping) else part
                for name, part in parts.items()
                if part is not None
            }
    return from_mapping(RunConfig, values)


def read_mapping(source: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the merged plain mapping of a run file, unchecked."""
    from omegaconf import OmegaConf

    merged = _read(find(source), ())
    for item in overrides:
        if "=" not in item:
            raise ConfigError(f"{item!r} is no override; write key=value, for example steps=1000.")
    if overrides:
        merged = merge(merged, OmegaConf.to_container(OmegaConf.from_dotlist(list(overrides))))
    whole: Any = OmegaConf.to_container(OmegaConf.create(merged), resolve=True)
    return whole


def merge(parent: Any, child: Any) -> Any:
    """Merge mappings level by level; the child wins, and a new `kind` or `family` starts its section afresh."""
    if not isinstance(parent, Mapping) or not isinstance(child, Mapping):
        return child
    for key in ("kind", "family"):
        if key in child and child[key] != parent.get(key, child[key]):
            return dict(child)
    return {**parent, **{key: merge(parent.get(key), value) for key, value in child.items()}}


def bundled() -> list[str]:
    """Names of the run files that ship with the package, without `_base` files and those of `tokenzoo lm`."""
    root = _bundled_folder()
    names = (p.relative_to(root).with_suffix("").as_posix() for p in root.rglob("*.yaml"))
    return sorted(n for n in names if not n.rpartition("/")[2].startswith("_") and not n.startswith("lm/"))


def find(source: str | Path) -> Path:
    """Return the path of a run file given by path or by bundled name."""
    path = Path(source)
    if path.is_file():
        return path
    name = path.as_posix().removeprefix("configs/").removesuffix(".yaml")
    inside = _bundled_folder() / f"{name}.yaml"
    if inside.is_file():
        return inside
    raise ConfigError(f"no run file {str(source)!r}, neither a path nor a bundled name.{nearest(name, bundled())}")


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
    parent = path.parent / base
    if not parent.is_file():
        raise ConfigError(f"{path} names the base {base!r}, but there is no {parent}.")
    return merge(_read(parent, (*above, path)), values)
