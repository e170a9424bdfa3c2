"""The history of the results: a dated row of headline ratios for every version of a file in `benchmarks/results`.

    python benchmarks/history.py       after a benchmark: adds what is new, and writes history.{json,md}

Rows come from the files as they are and from every version of them in git; rows that are known stay, also where git's history is cut.
Above 1: faster than the peer that is named in the table of the benchmark. "mean" is geometric, over all cases; "least" is the worst.
"""

import json
import math
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from measure import RESULTS, table_lines

#: Headline -> its value, as text.
Figures = dict[str, str]
TITLES = {
    "audio": "Codecs of sound: the fastest peer's wall time over ours",
    "image": "Tokenizers of pictures: the peer's wall time over ours",
    "quantizers": "Quantizers: vector-quantize-pytorch's wall time over ours",
    "training": "Training steps: the authors' processor time over ours",
    "corpus": "Bulk tokenization: processor time of the model alone over that of the whole job",
    "entropy": "Entropy-coded token files: part of the bytes that is saved",
}


def _ratios(ratios: Mapping[str, Sequence[float]]) -> Figures:
    """Mean and least of each kind of call."""
    out = {"cases": str(max(map(len, ratios.values())))}
    for name, some in ratios.items():
        out[f"{name}, mean"] = f"{math.exp(sum(map(math.log, some)) / len(some)):.2f}"
        out[f"{name}, least"] = f"{min(some):.2f}"
    return out


def _beside_peers(results: Sequence[Mapping[str, Any]]) -> Figures:
    """audio, image: `encode` and `decode` of a case are mappings of `NAME_ms`."""
    calls = ("encode", "decode")
    return _ratios({c: [_fastest_peer(r[c]) / r[c]["ours_ms"] for r in results if isinstance(r.get(c), Mapping)] for c in calls})


def _fastest_peer(times: Mapping[str, float]) -> float:
    """The least wall time, in ms, of those that are not ours."""
    return min(v for k, v in times.items() if k.endswith("_ms") and "cpu" not in k and not k.startswith(("ours", "compiled")))


def _quantizers(results: Sequence[Mapping[str, Any]]) -> Figures:
    return _ratios({call: [r[f"{call}_peer_ms"] / r[f"{call}_ours_ms"] for r in results] for call in ("encode", "step")})


def _training(results: Sequence[Mapping[str, Any]]) -> Figures:
    return _ratios({"step": [r["theirs_cpu_ms"] / r["ours_cpu_ms"] for r in results]})


def _corpus(results: Sequence[Mapping[str, Any]]) -> Figures:
    return {r["case"]: f"{r['model_cpu_ms'] / r['whole_cpu_ms']:.1%}" for r in results}


def _entropy(results: Sequence[Mapping[str, Any]]) -> Figures:
    return {f"{r['tokenizer']}, {r['media']}": f"{r['saved_of_files']:.1%}" for r in results}


#: File -> what makes the headlines of its results.
HEADLINES: dict[str, Callable[[Sequence[Mapping[str, Any]]], Figures]] = {
    "audio": _beside_peers,
    "image": _beside_peers,
    "quantizers": _quantizers,
    "training": _training,
    "corpus": _corpus,
    "entropy": _entropy,
}


def row_of(name: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """The row of one version of `results/NAME.json`.

    Raises:
        KeyError: a version that did not state these figures yet.
    """
    head = {key: document[key] for key in ("date", "command", "device")}
    return {"file": name, **head, "figures": HEADLINES[name](document["results"])}


def versions(name: str) -> Iterator[dict[str, Any]]:
    """Rows of all versions of a file, the oldest first, the one in the folder last; versions of another form are left out."""
    path = f"benchmarks/results/{name}.json"
    for commit in _git("log", "--reverse", "--format=%H", "--", path).split():
        yield from _row_or_nothing(name, _git("show", f"{commit}:{path}"))
    yield from _row_or_nothing(name, (RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def _row_or_nothing(name: str, text: str) -> Iterator[dict[str, Any]]:
    try:
        yield row_of(name, json.loads(text))
    except (KeyError, TypeError, ValueError, ZeroDivisionError):  # deleted there, or of another form
        return


def _git(*words: str) -> str:
    """What git prints; "" outside of a checkout."""
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=False, cwd=RESULTS.parents[1])
    return done.stdout if done.returncode == 0 else ""


def merged(known: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """`known` and those of `found` that it has not, by file and date; rows of one day in the order in which they came."""
    rows = [*known, *(row for i, row in enumerate(found) if row not in known and row not in found[:i])]
    return sorted(rows, key=lambda row: (list(HEADLINES).index(row["file"]), row["date"]))


def page(rows: Sequence[Mapping[str, Any]]) -> str:
    """`history.md`."""
    about = (__doc__ or "").split("\n\n")
    lines = ["# History of the results", "", " ".join(about[0].split()), "", " ".join(about[-1].split()), ""]
    for name in HEADLINES:
        mine = [row for row in rows if row["file"] == name]
        columns = list(dict.fromkeys(c for row in mine for c in row["figures"]))
        cells = [[r["date"], *(r["figures"].get(c, "") for c in columns), r["device"], f"`{r['command']}`"] for r in mine]
        lines += [f"## {TITLES[name]}", ""]
        lines += [f"Figures: [{name}.md]({name}.md)", ""] if (RESULTS / f"{name}.md").is_file() else []
        lines += [*table_lines(("date", *columns, "device", "command"), cells), ""]
    return "\n".join(lines)


def main() -> int:
    """Add the rows that are new, and write both files."""
    path = RESULTS / "history.json"
    rows = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    for name in HEADLINES:
        rows = merged(rows, list(versions(name)))
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (RESULTS / "history.md").write_text(page(rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
