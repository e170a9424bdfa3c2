"""The cards of all tokenizers for the page: what they are, their licences, how parity was checked, and their figures."""

from collections.abc import Iterable, Mapping, Sequence

from ....codecs.summary import facts
from ... import listing, literature, registry
from ...about import card_rows
from ...literature import PARTIES, Figure
from ...registry import Card
from ..table import number
from .grid import search
from .markup import Html, join, tag

_TITLES = {"image": "Tokenizers of pictures", "audio": "Tokenizers of sound", "latent": "Tokenizers of features of other networks"}
_WEIGHTS = {True: ("shipped", "badge good"), False: ("not on the hub", "badge")}


def identities(names: Iterable[str]) -> dict[str, str]:
    """Tokenizer -> id of the element with its card, of those that have one."""
    return {name: f"card-{name}" for name in names if name in registry.cards()}


def section(modalities: Sequence[str], measured: Mapping[str, str] = {}) -> Html:
    """One element for each card, folded.

    Args:
        modalities: of the cards.
        measured: tokenizer -> id of the table with its own measurements.
    """
    parts: list[Html] = [tag("div", search("details.card", "only cards with ..."), class_="tools")]
    for modality in modalities:
        own = registry.list_models(modality=modality)
        parts += [tag("h3", f"{_TITLES[modality]} ({len(own)})"), *(_card(card, measured.get(card.name, "")) for card in own)]
    return join(parts)


def _card(card: Card, table: str) -> Html:
    weights = _WEIGHTS[True] if card.shipped else ("weights on the hub", "badge") if card.hub_id else _WEIGHTS[False]
    badges = [tag("span", weights[0], class_=weights[1])]
    badges.append(tag("span", card.licence_weights, class_="badge warn" if card.restricted else "badge"))
    if table:
        badges.append(tag("span", "measured here", class_="badge good"))
    elif card.figures:
        badges.append(tag("span", f"{len(card.figures)} figures", class_="badge"))
    summary = tag("summary", tag("b", card.name), tag("span", card.description, class_="soft"), *badges)
    rows = {"family": card.family + (f" (layout {card.system})" if card.system else ""), **facts(card.facts.spec())}
    rows.pop("may be cut short")  # in the loaded tokenizer's spec; not in cards
    rows |= card_rows(card)
    pairs = [part for key, value in rows.items() for part in (tag("dt", key), tag("dd", value))]
    link = [tag("p", tag("a", "measured here", href=f"#{table}"))] if table else []
    inside = tag("div", tag("dl", *pairs), *link, *_figures(card.figures), class_="inside")
    return tag("details", summary, inside, class_="card", id=f"card-{card.name}")


def _figures(figures: Sequence[Figure]) -> list[Html]:
    """Figures of the same conditions and source on one line."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for f in figures:
        sign = {"higher": " \N{UPWARDS ARROW}", "lower": " \N{DOWNWARDS ARROW}", "": ""}[listing.better(f.metric)]
        groups.setdefault((f.conditions, f.by, f.source), []).append(f"{f.metric} {number(f.value)}{sign}")
    lines = [
        tag("li", tag("b", ", ".join(values)), f"; {conditions}; measured by {PARTIES[by]}: ", tag("span", source, class_="soft"))
        for (conditions, by, source), values in groups.items()
    ]
    return [tag("ul", *lines, class_="plain")] if lines else []


def without(names: Iterable[str]) -> Html:
    """Elements for measured tokenizers that have no card."""
    rest = [name for name in names if name not in registry.cards()]
    words = tag("div", tag("p", "No card: what is known of it stands in its table above."), class_="inside")
    return join(tag("details", tag("summary", tag("b", name)), words, class_="card") for name in rest)


def counts() -> str:
    """How many tokenizers and figures the page knows, in words."""
    figures = [f for name in literature.names() for f in literature.figures_of(name)]
    own = sum(f.by == "authors" for f in figures)
    return f"{len(figures):,} published figures of {len(literature.names())} tokenizers ({own} by their authors)"
