"""Pages of the site that are written from the registry: one a family, and their list. `docs/site_hooks.py` calls it at every build.

python docs/family_pages.py titok          # prints one page
"""

import ast
import html
import inspect
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenzoo.codecs.audio.base import AudioTokenizer
from tokenzoo.codecs.families import FAMILIES
from tokenzoo.codecs.latent import LatentTokenizer
from tokenzoo.codecs.layouts.systems import SYSTEMS
from tokenzoo.codecs.spec import AudioSpec, ImageSpec
from tokenzoo.codecs.summary import codebooks_text, options_of
from tokenzoo.codecs.tokenizer import Tokenizer
from tokenzoo.train.files import bundled_names, bundled_purpose, read_mapping
from tokenzoo.zoo.about import NEVER_RUN
from tokenzoo.zoo.literature import PARTIES, Figure, status
from tokenzoo.zoo.registry import Card, list_models

ROOT = Path(__file__).resolve().parents[1]
TITLES = {"audio": "Sound", "image": "Pictures", "latent": "Features"}
#: What a reader does with a tokenizer of each modality; NAME is a card, or `LOAD` builds one with random weights.
CODE = {
    "image": 'tokens = tok.encode("photo.jpg")      # ids [1, K, L]',
    "audio": 'tokens = tok.encode("speech.wav")     # ids [1, K, L]',
    "latent": "tokens = tok.encode(features)         # float [B, C, h, w] or [B, C, N], C = tok.spec.channels; ids [B, K, L]",
}
DECODE = {
    "image": "picture = tok.decode(tokens)          # [1, 3, H, W], the size of the original",
    "audio": "wave = tok.decode(tokens)             # [1, C, T], as many samples as the original",
    "latent": "back = tok.decode(tokens)",
}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; "|" inside cells is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines)


def plain(text: str) -> str:
    """Text of a docstring or card as Markdown: what is not code is escaped."""
    parts = re.split(r"(`[^`\n]*`)", text)
    return "".join(p if p.startswith("`") else re.sub(r"([*_\[\]])", r"\\\1", html.escape(p, quote=False)) for p in parts)


def families() -> dict[str, list[Card]]:
    """Every family of the library, with its cards; the library's own and those without published weights have none."""
    found: dict[str, list[Card]] = {name: [] for name in sorted(FAMILIES.names())}
    for card in list_models():
        found[card.family].append(card)
    return found


def modality(family: str, cards: Sequence[Card]) -> str:
    """Of its cards, or of its base class."""
    if cards:
        return cards[0].modality
    cls = FAMILIES.resolve(family)
    return "latent" if issubclass(cls, LatentTokenizer) else "audio" if issubclass(cls, AudioTokenizer) else "image"


def rate(card: Card) -> str:
    """How many ids and bits its tokens take, as one short text."""
    spec = card.facts.spec()
    if isinstance(spec, AudioSpec):
        return f"{spec.sample_rate_hz / 1000:g} kHz, {spec.frame_rate_hz:g} positions/s, {spec.bitrate_kbps:.3g} kbit/s"
    if isinstance(spec, ImageSpec):
        size = f"{spec.image_size[0]} x {spec.image_size[1]}" if spec.image_size else "256 x 256 (any size)"
        return f"{size}: {spec.tokens_per_image()} ids, {spec.bits_per_pixel():.3g} bits a pixel"
    return f"{spec.channels} channels"


def code(family: str, cards: Sequence[Card]) -> list[str]:
    """Six lines that load, encode and decode."""
    kind = modality(family, cards)
    cards = [c for c in cards if c.never_run != "layout"] or list(cards)
    load = (
        f'tok = tokenzoo.load("{cards[0].name}")' if cards else f'tok = tokenzoo.build_tokenizer("{family}").eval()    # random weights'
    )
    decodes = cards[0].facts.decodes if cards else FAMILIES.resolve(family).decode_latents is not Tokenizer.decode_latents
    return ["```python", "import tokenzoo", "", load, CODE[kind], *([DECODE[kind]] if decodes else []), "```"]


def checkpoints(cards: Sequence[Card]) -> list[str]:
    """The table of checkpoints, and what their licences and checks say."""
    rows = []
    for c in cards:
        where = "ships with the package" if c.shipped else f"`{c.hub_id}`" if c.hub_id else plain(c.where)
        rows.append(
            [f"`{c.name}`", plain(c.description), where, codebooks_text(c.facts.vocab_sizes), rate(c), plain(c.licence_weights)]
        )
    lines = ["## Checkpoints", "", table(["name", "what it is", "hub id", "codebooks", "rate", "licence"], rows), ""]
    lines += [f"- `{c.name}`: {plain(c.restricted)}" for c in cards if c.restricted]
    papers = sorted({c.paper for c in cards if c.paper})
    lines += ["", "Papers: " + ", ".join(f"[arXiv {p}](https://arxiv.org/abs/{p})" for p in papers), ""] if papers else [""]
    lines += ["## What was checked, and what was never run", ""]
    for parity in dict.fromkeys((c.parity, c.never_run) for c in cards):
        names = ", ".join(f"`{c.name}`" for c in cards if (c.parity, c.never_run) == parity)
        lines += [f"- {names}: {plain(parity[0])}. Never run here: {plain(NEVER_RUN[parity[1]])}."]
    return [*lines, ""]


def figures(cards: Sequence[Card]) -> list[str]:
    """Published and measured figures, each with its source."""
    rows, seen = [], set()
    for c in cards:
        groups: dict[tuple[str, str, str], list[Figure]] = {}
        for f in c.figures:
            groups.setdefault((f.conditions, f.by, f.source), []).append(f)
        for (conditions, by, source), some in groups.items():
            values = ", ".join(f"{f.metric} {f.value:g}" for f in some)
            rows.append([f"`{c.name}`", plain(conditions), plain(values), PARTIES[by], plain(source)])
    notes = [f"- {plain(text)}" for c in cards if (text := status(c.name)) and not (text in seen or seen.add(text))]
    body = [table(["model", "on what", "figures", "measured by", "source"], rows), ""] if rows else []
    return ["## Figures", "", *body, *notes, ""] if rows or notes else []


def options(family: str) -> list[str]:
    """Options of encode and decode."""
    lines = []
    for verb, some in options_of(FAMILIES.resolve(family)).items():
        rows = [[f"`{o.name}`", f"`{o.default}`", plain(o.type), plain(o.help)] for o in some]
        lines += [f"### `{verb}`", "", table(["option", "default", "type", "meaning"], rows), ""] if rows else []
    return ["## Options", "", *lines]


def recipes(family: str, runs: dict[str, list[str]]) -> list[str]:
    """Bundled runs of the family, with the first line of their headers."""
    rows = [[f"`{name}`", plain(bundled_purpose(name))] for name in runs.get(family, [])]
    body = [table(["`tokenzoo train NAME`", "what it is"], rows), "", "`tokenzoo configs NAME` shows a run, with its source."]
    return ["## Training runs", "", *body, ""] if rows else []


def layouts(family: str) -> list[str]:
    """The authors' formats that load as this family."""
    rows = []
    for module in dict.fromkeys(SYSTEMS.resolve(name) for name in SYSTEMS.names()):
        for layout in module.LAYOUTS:
            if family in (layout.family, *layout.more_families):
                rows.append([f"`{layout.system}`", plain(layout.upstream), "yes" if layout.authors_config else "no"])
    return ["## Layouts of published files", "", table(["layout", "upstream", "can be written"], sorted(rows)), ""] if rows else []


def runs_by_family() -> dict[str, list[str]]:
    """Family -> names of the bundled runs that train it."""
    out: dict[str, list[str]] = {}
    for name in bundled_names():
        model: Any = read_mapping(name).get("model") or {}
        out.setdefault(model.get("family", "") if isinstance(model, dict) else "", []).append(name)
    return out


def page(family: str, cards: Sequence[Card], runs: dict[str, list[str]]) -> str:
    """The page of one family, as Markdown."""
    cls = FAMILIES.resolve(family)
    source = Path(inspect.getsourcefile(cls) or "").resolve()
    about = inspect.cleandoc(ast.get_docstring(ast.parse(source.read_text())) or "")
    first, _, rest = about.partition("\n\n")
    paragraphs = [p if p.startswith("    ") else plain(p) for p in rest.split("\n\n")]
    config = cls.config_class
    lines = [f"# {family}", "", plain(" ".join(first.split())), "", *code(family, cards), ""]
    lines += checkpoints(cards) if cards else ["No weights of this family are published; it is trained here.", ""]
    lines += [*figures(cards), *recipes(family, runs), *options(family), *layouts(family)]
    lines += ["## How it works", "", "\n\n".join(paragraphs), "", f"Source: `{source.relative_to(ROOT)}`.", ""]
    lines += ["## Settings", "", f"::: {config.__module__}.{config.__qualname__}", "    options:", "      heading_level: 3", ""]
    return "\n".join(lines)


def index(found: dict[str, list[Card]]) -> str:
    """The list of families."""
    lines = ["# Families", "", "A family is one architecture. Each page is written from its cards, recipes and layouts.", ""]
    for kind, title in TITLES.items():
        rows = []
        for family, cards in found.items():
            if modality(family, cards) == kind:
                names = sorted({c.paper for c in cards if c.paper})
                about = (inspect.getdoc(sys.modules[FAMILIES.resolve(family).__module__]) or "").split("\n")[0]
                rows.append([f"[{family}]({family}.md)", plain(about), str(len(cards)), ", ".join(names)])
        lines += [f"## {title}", "", table(["family", "what it is", "checkpoints", "arXiv"], rows), ""]
    return "\n".join(lines)


def pages() -> dict[str, str]:
    """Path in the site -> Markdown."""
    found, runs = families(), runs_by_family()
    written = {f"families/{family}.md": page(family, cards, runs) for family, cards in found.items()}
    return {"families/index.md": index(found), **written}


if __name__ == "__main__":
    print(page(sys.argv[1], families()[sys.argv[1]], runs_by_family()))
