"""Where a tokenizer's weights come from: their licence, the tokenizers they were made from, the run that trained them.

What is known is read from the tokenizer itself (`licence`, `origin`) and from the training run whose output folder it lies in.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..codecs.config import parse_json
from ..codecs.serialize import CONFIG_NAME
from ..codecs.tokenizer import Tokenizer
from . import registry
from .readmes import same_licence, states_licence

_HUB_ID = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a model card states besides the facts of the tokenizer.

    Attributes:
        licence: of the weights, in words.
        origins: name -> licence of the tokenizers whose weights they are or were made from; "" where it is not known.
        base_models: those of `origins` that are repositories of the hub.
        datasets: hub ids of data sets that they were trained on.
        run: fact -> text about the training run; empty where it is not known.
        figures: figure -> value of the run's validation.
    """

    licence: str
    origins: Mapping[str, str] = field(default_factory=dict)
    base_models: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    run: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)


def provenance_of(
    tokenizer: Tokenizer,
    folder: Path | None,
    *,
    licence: str = "",
    base_models: Sequence[str] = (),
    datasets: Sequence[str] = (),
) -> Provenance:
    """Collect what is known of a tokenizer that is about to be published.

    Args:
        tokenizer: the one.
        folder: that it was loaded from, if any; of a training run, its output folder or one of the two in it.
        licence, base_models, datasets: what the user states.

    Raises:
        ValueError: no licence is known or stated, or another one is stated than that of the very same weights; a name that is no
            hub id.
    """
    run, known = _run_of(folder), _named(tokenizer)
    began = tokenizer.trained_from.split(", ") if tokenizer.trained_from else []
    if run is not None:
        began += _started_from(run.config)
    known = {name: _licence_of(name) for name in dict.fromkeys(began)} | known
    own = tokenizer.licence if states_licence(tokenizer.licence) else ""
    found = list(dict.fromkeys(value for value in known.values() if states_licence(value)))
    if own and licence and not same_licence(own, licence):
        raise ValueError(f"the licence is to be {licence!r:.80}, but these weights are under {own!r:.200}, which a copy keeps.")
    licence = licence or own or (found[0] if len(found) == 1 and len(known) == 1 else "")
    if not states_licence(licence):
        why = f" It was made from {', '.join(f'{n} ({v or None})' for n, v in known.items())}." if known else ""
        raise ValueError(f"the licence of these weights is not known.{why} State it: licence='mit' or, in the command, --licence mit.")
    for what, names in (("base model", base_models), ("data set", datasets)):
        if wrong := [n for n in names if not _HUB_ID.fullmatch(n)]:
            raise ValueError(f"the {what} {wrong[0]!r:.120} is no hub id; write org/name.")
    hub_ids = [hub_id for name in known if (hub_id := _hub_id(name))]
    return Provenance(
        licence=licence,
        origins=known,
        base_models=tuple(dict.fromkeys([*base_models, *hub_ids])),
        datasets=tuple(datasets),
        run=_of_shipped(tokenizer) if run is None else run.facts(),
        figures={} if run is None else run.figures(),
    )


def started_from(folder: Path) -> list[str]:
    """Names of the registry and hub ids that the training run began with to which a folder belongs; none where there is no run.

    Folders of this machine are left out: elsewhere they say nothing. A config that cannot be read tells nothing either: only publishing
    needs it, and reports it.
    """
    import yaml

    try:
        run = _run_of(folder)
    except (OSError, UnicodeError, yaml.YAMLError):
        return []
    return [name for name in _started_from(run.config) if name in registry.cards() or _hub_id(name)] if run else []


def _named(tokenizer: Tokenizer) -> dict[str, str]:
    return {tokenizer.origin: tokenizer.licence} if tokenizer.origin else {}


def _of_shipped(tokenizer: Tokenizer) -> dict[str, str]:
    card = registry.cards().get(tokenizer.origin)
    return {"training data and config": "`zoo/checkpoints/LICENCES.md` of tokenzoo"} if card is not None and card.shipped else {}


def _licence_of(name: str) -> str:
    """Licence of what `tokenzoo.load` takes by this name, without loading it; "" where it is not known."""
    card = registry.cards().get(name) or next(iter(registry.card_of_hub_id(name.removeprefix("hub:").partition("@")[0])), None)
    if card is not None:
        return card.licence_weights
    folder = Path(name.removeprefix("file:")).expanduser()
    for path in (folder / CONFIG_NAME, folder / "model" / CONFIG_NAME):
        if path.is_file():
            data = parse_json(path.read_bytes())
            return str(data.get("licence", ""))[:500] if isinstance(data, dict) else ""
    return ""


def _hub_id(name: str) -> str:
    """The hub id that a name stands for; "" for folders and shipped tokenizers."""
    if name in registry.cards():
        return registry.card(name).hub_id or ""
    plain = name.removeprefix("hub:").partition("@")[0]
    return plain if _HUB_ID.fullmatch(plain) and not name.startswith("file:") and not Path(name).expanduser().is_dir() else ""


# --- the run ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Run:
    """A run's output folder, its config, and which of its two tokenizers is published."""

    out: Path
    config: dict[str, Any]
    best: bool

    def facts(self) -> dict[str, str]:
        """Data, length and losses, as short texts; of paths only the last part, since folders of a machine do not belong in a card."""
        data, c = self.config.get("data") or {}, self.config
        rows = {"trained on": _shown(data.get("train")), "validated on": _shown(data.get("valid"))}
        rows["started from"] = ", ".join(_shown(name) for name in _started_from(c))
        step = self._step()
        if c.get("steps") and c.get("batch_size"):
            done = f"{step:,} of {c['steps']:,}" if step else f"{c['steps']:,}"
            rows["steps"] = f"{done}, {c['batch_size']} crops each"
        rows["crops"] = _size(data)
        rows["losses"] = ", ".join(c.get("losses") or ())
        rows["discriminators"] = ", ".join(c.get("discriminators") or ())
        rows["teachers"] = ", ".join(c.get("teachers") or ())
        rows["seed"] = str(c.get("seed", ""))
        return {name: text for name, text in rows.items() if text}

    def figures(self) -> dict[str, float]:
        """Values of the validation of the published weights, by name."""
        line = next((v for v in reversed(self._validations()) if v["step"] == self._step()), {})
        return {k.removeprefix("valid/"): v for k, v in line.items() if k.startswith("valid/") and isinstance(v, (int, float))}

    def _step(self) -> int:
        """Step of the published weights: that of the best validation, or of the last one."""
        lines = self._validations()
        if not self.best:
            return int(lines[-1]["step"]) if lines else 0
        from ..train.best import best_of
        from ..train.evaluate import OWN_FIGURES

        figure = (self.config.get("best") or {}).get("figure") or "total"
        found = best_of(self.out, figure, higher=figure in OWN_FIGURES or figure in (self.config.get("figures") or {}))
        return found.step if found else 0

    def _validations(self) -> list[dict[str, Any]]:
        path = self.out / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        found = [parse_json(line.encode()) for line in lines]
        return [v for v in found if isinstance(v, dict) and "step" in v and any(k.startswith("valid/") for k in v)]


def _run_of(folder: Path | None) -> _Run | None:
    """The training run that a folder belongs to: its own, or the one whose `model` or `best` it is."""
    if folder is None:
        return None
    for out in (folder, folder.absolute().parent):
        path = out / "config.yaml"
        if path.is_file() and (out / "model").is_dir():
            import yaml

            config = yaml.safe_load(path.read_text(encoding="utf-8"))
            return _Run(out, config, folder.name == "best") if isinstance(config, dict) else None
    return None


def _started_from(config: Mapping[str, Any]) -> list[str]:
    parts = config.get("grafts")
    grafts = [str(name).partition("#")[0] for name in (parts.values() if isinstance(parts, Mapping) else ())]
    return list(dict.fromkeys(str(name) for name in [config.get("init"), *grafts] if name))


def _shown(source: Any) -> str:
    """A source of media or weights, as a word: of a path its last part."""
    if isinstance(source, (list, tuple)):
        return ", ".join(_shown(s) for s in source)
    if isinstance(source, Mapping):  # a hub data set
        return str(source.get("name") or source.get("hub") or "a hub data set")
    text = str(source or "")
    is_id = text.startswith("hub:") or text in registry.cards() or (_HUB_ID.fullmatch(text) and not Path(text).exists())
    return text if is_id else text.rstrip("/").rpartition("/")[2]


def _size(data: Mapping[str, Any]) -> str:
    if data.get("crop"):
        crop = data["crop"]
        return " x ".join(map(str, crop)) + " pixels" if isinstance(crop, (list, tuple)) else f"{crop} pixels"
    return f"{data['crop_seconds']} s" if data.get("crop_seconds") else ""
