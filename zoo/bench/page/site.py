"""The page of several benches, of pictures and of sound: a folder with `index.html` and `media/` that opens from disk."""

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ....codecs.files import write_text
from ...progress import waiting
from ..result import Bench
from . import cards, measured, published
from .markup import Html, document, join, tag
from .samples import Samples

_TITLES = {"image": "Pictures", "audio": "Sound"}
_ABOUT = {
    "image": "Measured here: every tokenizer on the same pictures.",
    "audio": "Measured here: every tokenizer on the same recordings.",
}


def write(
    parts: Sequence[Bench],
    out: Path,
    *,
    show: Sequence[str | Path] = (),
    device: str = "cpu",
    title: str = "Tokenizers compared",
    command: str = "",
    progress: bool = False,
) -> Path:
    """Write the page.

    Args:
        parts: the benches; those of one modality stand one below the other.
        out: folder, made if missing; media of an earlier page in it are removed.
        show: media that are shown as original and as decoded by every tokenizer of their modality.
        device: that the tokenizers run on for that.
        title: of the page.
        command: the command line, for the page.
        progress: show what is done on a terminal.

    Returns:
        `out/index.html`.
    """
    out.mkdir(parents=True, exist_ok=True)
    modalities = [m for m in _TITLES if any(p.head["modality"] == m for p in parts)]
    ids = cards.identities(_card_names(modalities))
    tables = {r["name"]: f"measured-{i}" for i, p in enumerate(parts) for r in p.results if not r.get("reference")}
    body: list[Html] = []
    written: set[str] = set()
    for modality in modalities:
        own = [(i, p) for i, p in enumerate(parts) if p.head["modality"] == modality]
        samples = _samples(modality, [p for _, p in own], show, out, device, progress=progress)
        body.append(tag("section", *_section(modality, own, samples, ids), id=modality))
        written |= samples.written
    body += [_published(m, ids) for m in modalities]
    _remove_others(out / "media", written)
    shown = [*modalities, *(["latent"] if len(modalities) == len(_TITLES) else [])]
    about = "Licence, ids and rates of each tokenizer, how equality with its authors' code was checked, and its figures."
    described = cards.section(shown, tables), cards.without(tables)
    body.append(tag("section", tag("h2", "Cards"), tag("p", about), *described, id="cards"))
    write_text(out / "index.html", document(title, join([*_head(title, modalities), tag("main", *body), _foot(command)])))
    return out / "index.html"


def _card_names(modalities: Sequence[str]) -> list[str]:
    from ...registry import cards as known

    every = len(modalities) == len(_TITLES)
    return [c.name for c in known().values() if every or c.modality in modalities]


def _head(title: str, modalities: Sequence[str]) -> list[Html]:
    lede = "Figures that were measured here, with the command that measures them again, beside those that authors and others published."
    warning = (
        "Only figures of one table can be compared; sets, sizes and versions of metrics differ between sources. "
        "Tokenizers whose weights were not at hand have published figures only."
    )
    links = [tag("a", _TITLES[m], href=f"#{m}") for m in modalities]
    more = [tag("a", f"Published: {_TITLES[m].lower()}", href=f"#published-{m}") for m in modalities]
    bar = [*links, *more, tag("a", "Cards", href="#cards"), tag("button", "light or dark", type="button", id="theme")]
    return [
        tag("header", tag("h1", title), tag("p", lede, class_="lede"), tag("p", warning, class_="soft")),
        tag("nav", tag("div", *bar), aria_label="sections"),
    ]


def _foot(command: str) -> Html:
    made = [tag("p", f"Made on {time.strftime('%Y-%m-%d')} by:"), tag("pre", tag("code", command))] if command else []
    return tag("footer", *made, tag("p", f"The library holds {cards.counts()}."))


def _section(modality: str, own: Sequence[tuple[int, Bench]], samples: Samples, ids: Mapping[str, str]) -> list[Html]:
    parts: list[Html] = [tag("h2", _TITLES[modality]), tag("p", _ABOUT[modality])]
    for i, part in own:
        parts.append(measured.section(part.head, part.results, part.failed, name=f"measured-{i}", cards=ids))
    if shown := samples.section():
        words = "Look at the originals and what comes back." if modality == "image" else "Listen to the originals and what comes back."
        parts += [tag("h3", words), shown]
    return parts


def _published(modality: str, ids: Mapping[str, str]) -> Html:
    what = "Stated by the authors, or by others in a survey or a table of peers; not measured here. The source is the last column."
    title = tag("h2", f"Published: {_TITLES[modality].lower()}")
    return tag("section", title, tag("p", what), published.section(modality, ids), id=f"published-{modality}")


def _samples(
    modality: str, parts: Sequence[Bench], show: Sequence[str | Path], out: Path, device: str, *, progress: bool
) -> Samples:
    """The items of one modality through every tokenizer and codec of the benches."""
    from ...hub import load

    samples = Samples.of(modality, show, out)
    if not samples.files:
        return samples
    done: set[str] = set()
    for part in parts:
        results = [r for r in part.results if not r.get("reference") and r["name"] not in done]
        for result in results:
            settings = [r["setting"] for r in result["rows"] if not r.get("error") and not r.get("perturbed")]
            with waiting(f"items with {result['name']}", show=progress):
                try:
                    tokenizer = load(result["name"], device=device)
                except Exception as error:  # of one tokenizer; the others are shown
                    samples.failed.append(f"{result['name']}: {error or type(error).__name__}")
                    continue
                samples.add(result["name"], tokenizer, settings)
            done.add(result["name"])
        codecs, target = [r for r in part.results if r.get("reference")], _rate(part)
        if codecs and target and "classical codecs" not in done:
            samples.add_codecs(codecs, target)
            done.add("classical codecs")
    return samples


def _rate(part: Bench) -> float:
    """Rate of the first tokenizer with its defaults; 0 if nothing was measured."""
    unit = "kbit/s" if part.head["modality"] == "audio" else "bits a pixel"
    return next((r.values[unit] for r in part.rows() if unit in r.values and not r.reference), 0.0)


def _remove_others(folder: Path, written: set[str]) -> None:
    """Remove media of an earlier page, which have names of this module's form."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in written and re.fullmatch(r"(image|audio)-\d+-\d+\.(webp|flac)", path.name):
            path.unlink()
