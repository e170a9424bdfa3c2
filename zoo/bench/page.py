"""The table of a bench as one static page: sorted by a click on a column's name, filtered by a word; needs no network."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from .table import COLUMNS, columns_of, facts, failures, notes, number, rows_of

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem; color: #1a1a1a; background: #fff }
.wide { overflow-x: auto } svg { max-width: 100%; height: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .7rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left }
th { cursor: pointer; background: #f4f4f4; position: sticky; top: 0 } th small { display: block; font-weight: normal; color: #666 }
tr.reference td { color: #666; font-style: italic } td.best { font-weight: bold } dt { font-weight: bold } dd { margin: 0 0 .4rem 1rem }
"""

_SCRIPT = """
const table = document.querySelector("table"), body = table.tBodies[0];
const value = (row, i) => row.cells[i].dataset.v ?? row.cells[i].textContent;
table.tHead.addEventListener("click", event => {
  const head = event.target.closest("th"), i = head.cellIndex;
  const down = head.dataset.sorted ? head.dataset.sorted !== "down" : head.dataset.better === "higher";
  for (const other of table.tHead.rows[0].cells) delete other.dataset.sorted;
  head.dataset.sorted = down ? "down" : "up";
  const rows = [...body.rows].sort((a, b) => {
    const x = value(a, i), y = value(b, i);
    if (x === "" || y === "") return (x === "") - (y === "");  // rows without a value stay last
    const order = head.dataset.text ? x.localeCompare(y) : x - y;
    return down ? -order : order;
  });
  body.append(...rows);
});
document.querySelector("input").addEventListener("input", event => {
  const word = event.target.value.toLowerCase();
  for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(word);
});
"""


def html(head: Mapping[str, Any], results: Sequence[Mapping[str, Any]], failed: Mapping[str, str], drawing: str = "") -> str:
    """The page.

    Args:
        head, results, failed: of a `Bench`.
        drawing: an SVG that stands below the table; "": none.
    """
    title = f"Bench of {head['modality'] or 'no'} tokenizers"
    about = "".join(f"<dt>{escape(n)}</dt><dd>{escape(fact.strip('`'))}</dd>" for n, fact in facts(head).items())
    lines = "".join(f"<li>{escape(line)}</li>" for line in [*failures(results, failed), *notes(results)])
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>
<style>{_STYLE}</style></head>
<body>
<h1>{escape(title)}</h1>
<p>A click on a column's name sorts the rows. Bold: best of the tokenizers; italic: classical codecs.
<input type="search" placeholder="only rows with ..." aria-label="filter rows"></p>
<div class="wide">{_table(results)}</div>
{drawing and "<h2>Rate and quality</h2>" + drawing}
<h2>How it was measured</h2>
<dl>{about}</dl>
<h2>Failures and notes</h2>
<ul>{lines or "<li>none</li>"}</ul>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _table(results: Sequence[Mapping[str, Any]]) -> str:
    rows = rows_of(results)
    names = columns_of(rows)
    heads = ['<th data-text="1">tokenizer</th><th data-text="1">setting</th><th data-text="1">codebooks</th><th>items</th>']
    for name in names:
        unit, better = COLUMNS[name]
        arrow = {"higher": "↑", "lower": "↓"}[better]
        heads.append(f'<th data-better="{better}">{escape(name)} {arrow}<small>{escape(unit)}</small></th>')
    best = {n: _best([r.values[n] for r in rows if n in r.values and not r.reference], COLUMNS[n][1]) for n in names}
    lines = []
    for r in rows:
        cells = [f"<td>{escape(text)}</td>" for text in (r.tokenizer, r.setting, r.books, str(r.items))]
        for n in names:
            v = r.values.get(n)
            mark = ' class="best"' if v is not None and not r.reference and v == best[n] else ""
            cells.append(f'<td{mark} data-v="{"" if v is None else repr(v)}">{number(v)}</td>')
        lines.append(f'<tr{" class=reference" if r.reference else ""}>{"".join(cells)}</tr>')
    return f"<table><thead><tr>{''.join(heads)}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _best(values: Sequence[float], better: str) -> float | None:
    """The best of several values; None where there is only one, or all are alike."""
    if len(set(values)) < 2:
        return None
    return max(values) if better == "higher" else min(values)
