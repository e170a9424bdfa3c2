"""Published figures for the page: a table for each data set, with who measured them, under which conditions, and where it is stated."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ... import listing, literature, registry
from ...literature import PARTIES, Figure
from .grid import Column, Line, grid, search
from .markup import Html, join, tag

#: Data sets that are open when the page is opened, and stand first.
MAIN = ("ImageNet val 256", "LibriSpeech test-clean", "Codec-SUPERB, speech", "survey, speech")
#: Modality of a section -> those of the tokenizers whose tables stand there.
_WITH = {"image": ("image", "video", "latent"), "audio": ("audio",)}


def section(modality: str, cards: Mapping[str, str]) -> Html:
    """The tables of one modality.

    Args:
        modality: "audio" or "image".
        cards: tokenizer -> id of the element that describes it, for links.
    """
    sets: dict[str, list[tuple[str, Figure]]] = {}
    for name in literature.names():
        for figure in literature.figures_of(name):
            if figure.by != "here" and _modality(name) in _WITH[modality]:
                sets.setdefault(figure.dataset, []).append((name, figure))
    order = sorted(sets, key=lambda s: (MAIN.index(s) if s in MAIN else len(MAIN), s))
    tables = [_table(dataset, sets[dataset], modality, f"published-{modality}-{i}", cards) for i, dataset in enumerate(order)]
    field = search(f".set-{modality} tbody tr", "only rows with ...")
    return join([tag("div", field, class_="tools"), *tables])


def _modality(name: str) -> str:
    cards = registry.cards()
    return cards[name].modality if name in cards else literature.systems()[name].modality


def _table(dataset: str, figures: Sequence[tuple[str, Figure]], modality: str, name: str, cards: Mapping[str, str]) -> Html:
    metrics = list(dict.fromkeys(f.metric for _, f in figures))
    unit = "kbit/s" if modality == "audio" else "bits a pixel"
    columns = [
        Column(name="tokenizer", text=True),
        Column(name="setting", text=True),
        Column(name="measured by", text=True),
        *([Column(name="tokens", unit="a picture")] if modality == "image" else []),
        Column(name=unit, better="lower"),
        *(Column(name=m, better=listing.better(m)) for m in metrics),
        Column(name="source", text=True, long=True),
    ]
    rows: dict[tuple[Any, ...], dict[str, float]] = {}
    for of, f in figures:
        key = (of, f.setting, f.by, f.kbps, f.tokens, f.source)
        rows.setdefault(key, {})[f.metric] = f.value
    lines = []
    for (of, setting, by, kbps, tokens, source), values in rows.items():
        rates = [_kbps(of, kbps)] if modality == "audio" else list(_density(of, tokens, dataset))
        badge = tag("span", PARTIES[by], class_="badge warn" if by == "others" else "badge")
        lines.append(Line(cells=[_name(of, cards), setting, badge, *rates, *(values.get(m) for m in metrics), source]))
    count = len({of for of, _ in figures})
    summary = tag("summary", tag("b", dataset), tag("span", f"{count} tokenizers, {len(rows)} rows", class_="soft"))
    caption = f"{dataset}: as stated by the sources, not measured here"
    made = grid(columns, lines, caption=caption, name=name, by=unit)
    return tag("details", summary, made, class_=f"set set-{modality}", open=dataset in MAIN[:2])


def _name(of: str, cards: Mapping[str, str]) -> Html:
    if of in cards:
        return tag("a", of, href=f"#{cards[of]}")
    systems = literature.systems()
    return tag("span", systems[of].title if of in systems else of, title="no card: not loadable here")


def _kbps(of: str, kbps: float) -> float | None:
    cards = registry.cards()
    return kbps or (cards[of].facts.spec().bitrate_kbps if of in cards else literature.systems()[of].kbps) or None


def _density(of: str, tokens: int, dataset: str) -> tuple[float | None, float | None]:
    """Tokens of a picture of the set's size, and bits a pixel; None for what is not known."""
    found = re.search(r"\b(128|256|384|512)\b", dataset)
    cards = registry.cards()
    if of in cards and cards[of].modality == "image" and found:
        spec, side = cards[of].facts.spec(), int(found[1])
        fits = spec.image_size in (None, (side, side))
        whole = spec.tokens_per_image(side, side) if fits else 0
        bits = spec.bits_per_pixel(side, side) * side**2 / whole if whole else 0.0
        tokens = tokens or whole
        return tokens or None, tokens * bits / side**2 or None
    if of in cards:
        return None, None
    system = literature.systems()[of]
    fits = system.modality == "image" and bool(found) and int(found[1]) ** 2 == system.pixels
    return system.tokens or None, system.tokens * system.bits / system.pixels or None if fits else None
