"""Figures of a bench for a model card: those of exactly the weights that are published."""

from collections.abc import Mapping
from pathlib import Path

from ...codecs.config import ConfigError
from ...codecs.tokenizer import Tokenizer
from ..bench.run import Bench
from ..bench.table import COLUMNS, columns_of, number, rows_of
from ..tables import counted, markdown_table


def bench_tables(path: Path, tokenizer: Tokenizer, *, required: bool) -> str:
    """Rows of a `bench.json` about exactly these weights, as Markdown; "" where it has none.

    Args:
        path: a file that `tokenzoo bench --out` wrote.
        tokenizer: whose rows are taken, known by its fingerprint.
        required: raise where the file has no such row.

    Raises:
        ConfigError: no result of a bench, or, if `required`, none of these weights.
    """
    if path.name != "bench.json":
        raise ConfigError(f"{path} is not named bench.json; pass the one that `tokenzoo bench --out FOLDER` wrote.")
    found, own = Bench.read(path.parent), tokenizer.identity
    mine = [r for r in found.results if own and isinstance(r.get("key"), Mapping) and r["key"].get("fingerprint") == own.fingerprint]
    rows = [r for r in rows_of(mine) if not r.error and not r.perturbed]
    if not rows:
        if required:
            have = ", ".join(r["name"] for r in found.results) or "nothing"
            raise ConfigError(f"{path} has no figures of these weights; it has those of {have}. Run tokenzoo bench on this tokenizer.")
        return ""
    arrows = {"higher": " ↑", "lower": " ↓"}
    cells = [(n + arrows[COLUMNS[n][1]], *(number(r.values.get(n)) for r in rows)) for n in columns_of(rows)]
    table = markdown_table(("", *(r.setting or "default" for r in rows)), cells)
    head, corpus = found.head, found.head.get("corpus", {})
    items = counted(corpus.get("items", 0), "item")
    what = str(head.get("data", "")).rstrip("/").rpartition("/")[2]
    return (
        f"Measured on {head.get('date', '?')} on {items} of `{what}` (sha256 of names and sizes "
        f"{str(corpus.get('sha256', ''))[:12]}), {head.get('device', '?')}, {head.get('dtype', '?')}:\n\n{table}"
    )
