"""Facts of one model: of a card, without loading anything, or of a tokenizer in a folder or repository.

    print(about("encodec-24khz").text())
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import listing, registry
from .literature import PARTIES, Figure, status
from .registry import Card
from .tables import facts_table

#: What a card's `never_run` means.
NEVER_RUN = {
    "": "nothing: its weights ship with this package and run in its tests",
    "weights": "the published weights; tests simulate its published config and list of files with random weights",
    "layout": "the published files: their list or their config was not available; the layout follows the authors' code",
}


@dataclass(frozen=True, kw_only=True)
class About:
    """Facts of one model, for people (`text`) and for programs (`as_json`).

    Attributes:
        name: registry name, hub id or folder, as requested.
        description: one line, or "".
        rows: name of a fact -> its value as a short text.
        options: "encode" and "decode" -> the options that they take, each an `OptionHelp`.
        figures: published and measured metrics.
        document: the facts as plain values for JSON.
    """

    name: str
    description: str = ""
    rows: dict[str, str]
    options: dict[str, list[Any]]
    figures: tuple[Figure, ...] = ()
    document: dict[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        """The facts, options and metrics as lines of text."""
        from ..codecs.summary import option_lines

        lines = [f"{self.name}  {self.description}".rstrip(), facts_table(self.rows, indent="  ")]
        for verb, options in self.options.items():
            lines += [f"  options of {verb} (-O name=value)", *(f"    {line}" for line in option_lines(options))]
        return "\n".join([*lines, *_figure_lines(self.figures)])

    def as_json(self) -> dict[str, Any]:
        """The facts, options and metrics as a mapping for JSON."""
        options = {verb: {o.name: o._asdict() for o in some} for verb, some in self.options.items()}
        return {**self.document, "options": options, "figures": listing.figures(self.figures)}


def _figure_lines(figures: Sequence[Figure]) -> list[str]:
    """Figures of the same conditions and source on two lines: what was measured where and by whom, then the values."""
    groups: dict[tuple[str, str], list[str]] = {}
    for f in figures:
        sign = {"higher": " \N{UPWARDS ARROW}", "lower": " \N{DOWNWARDS ARROW}", "": ""}[listing.better(f.metric)]
        head = f"{f.conditions} (measured by {PARTIES[f.by]})", f.source
        groups.setdefault(head, []).append(f"{f.metric} {f.value:g}{sign}")
    lines = ["  figures (arrows: which way is better)"] if groups else []
    for (head, source), values in groups.items():
        lines += [f"    {head}: {source}", f"      {', '.join(values)}"]
    return lines


def about(name: str) -> About:
    """Return the facts of a model: from its card if it has one, else by loading it.

    Args:
        name: a registry name, a hub id, or anything else that `tokenzoo.load` takes.

    Raises:
        KeyError: a name that does not exist; the nearest are named.
        ValueError, OSError: as `tokenzoo.load`.
    """
    cards = registry.cards()
    if name in cards:
        return _of_card(cards[name])
    known = [] if Path(name).expanduser().is_dir() else registry.card_of_hub_id(name.removeprefix("hub:"))
    if len(known) == 1:
        return _of_card(known[0])
    if len(known) > 1:
        raise ValueError(f"{name} holds several tokenizers: {', '.join(c.name for c in known)}. Ask for one of them by name.")
    return _of_loaded(name)


def _of_card(card: Card) -> About:
    from ..codecs.families import FAMILIES
    from ..codecs.option_sources import UnreadableError, read_options
    from ..codecs.summary import facts, options_of
    from . import shipped

    if card.shipped:
        rows = shipped.rows(card.name)
    else:
        rows = {"family": card.family + (f" (layout {card.system})" if card.system else ""), **facts(card.facts.spec())}
        rows.pop("may be cut short")  # in the loaded tokenizer's spec; not in cards
    rows |= card_rows(card)
    try:
        options = read_options(FAMILIES.targets()[card.family])
    except UnreadableError:  # a package without source files: the same from the class, after seconds of importing torch
        options = options_of(FAMILIES.resolve(card.family))
    return About(
        name=card.name,
        description=card.description,
        rows=rows,
        options=options,
        figures=card.figures,
        document=listing.as_json(card),
    )


def card_rows(card: Card) -> dict[str, str]:
    """Licences, files, paper, parity and what was never run of a card, as short texts; what does not apply is left out."""
    rows = {
        "licence of the weights": card.licence_weights,
        "licence of the code": card.licence_code,
        "restricted": card.restricted or "no",
        "weights": "shipped with this package" if card.shipped else card.hub_id or card.where,
        "files": ", ".join(card.files),
        "paper": f"arXiv {card.paper}" if card.paper else "",
        "parity": card.parity,
        "never run here": NEVER_RUN[card.never_run],
        "figures": status(card.name),
    }
    return {key: value for key, value in rows.items() if value}


def _of_loaded(name: str) -> About:
    import dataclasses

    from ..codecs.summary import count_parameters, options_of, rows_of
    from .hub import load

    tokenizer = load(name)
    spec = tokenizer.spec
    rows = rows_of(tokenizer)
    document: dict[str, Any] = {"name": name, "modality": spec.modality, "family": tokenizer.family}
    document |= {"layout": tokenizer.layout or "tokenzoo", "parameters": count_parameters(tokenizer)}
    document |= {"licence_weights": tokenizer.licence or None}
    document |= json.loads(json.dumps(dataclasses.asdict(spec)))
    folder = Path(name.removeprefix("file:")).expanduser()
    if folder.is_dir() and name not in registry.cards():
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        document["files"] = {p.relative_to(folder).as_posix(): p.stat().st_size for p in files}
        shown = [f"{n} ({size / 1e6:.1f} MB)" for n, size in document["files"].items()]
        rows["files"] = ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")
    return About(name=os.fspath(name), rows=rows, options=options_of(tokenizer), document=document)
