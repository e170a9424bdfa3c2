"""Which halves of which families can be exported, with which free axes: results/export.{json,md}.

    python benchmarks/export.py                  all forms of tests/families.py, about an hour on one core
    python benchmarks/export.py vqgan mimi       these; rows of other forms stay

Each family is built in tiny form with random weights, and both halves are written as ONNX and run with ONNX Runtime, for two sizes
and numbers of items; causal codecs also as pieces of a stream. A row states the shape of the first input, in which numbers are fixed,
or why there is no file. Ids may differ where two codes are equally near within rounding: at most one in a hundred.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from measure import head_lines, header, table_lines, write

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "benchmarks/results/export.json"
COLUMNS = ("form", "family", "half", "file", "first input, or why not")
#: Size of the example: samples of sound, pixels of a picture's side.
SIZES = {"audio": 400, "image": 24}


def main() -> None:
    """Export the forms named, or all, and write the table anew after each."""
    sys.path[0] = str(ROOT / "tests")  # in place of this folder, whose audio.py has the name of a folder of tests
    from contract_cases import LABELS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("forms", nargs="*", metavar="FORM", help="labels of tests/families.py")
    chosen = parser.parse_args().forms or LABELS
    head = header(__file__, threads=1, packages=("torch", "onnx", "onnxscript", "onnxruntime"), options=[])
    rows = json.loads(KEPT.read_text())["results"] if KEPT.is_file() else []
    for form in chosen:
        rows = sorted([*(r for r in rows if r["form"] != form), *rows_of(form)], key=lambda r: (r["form"], r["half"], r["file"]))
        table = [[str(row[c]) for c in COLUMNS] for row in rows]
        about = (__doc__ or "").rpartition("\n\n")[2]
        write("export", head, rows, head_lines("Export", about, head) + table_lines(COLUMNS, table))


def rows_of(form: str) -> list[dict[str, Any]]:
    """The rows of one form: of each half whole and, of codecs that stream, in pieces."""
    from contract_cases import build

    tokenizer = build(form)
    kinds = ["whole", "stream"] if getattr(tokenizer.spec, "streamable", False) else ["whole"]
    return [
        {"form": form, "family": tokenizer.family, "half": half, "file": kind, COLUMNS[-1]: outcome(tokenizer, half, kind)}
        for half in ("encoder", "decoder")
        for kind in kinds
    ]


def outcome(tokenizer: Any, half: Any, kind: str) -> str:
    """The shape of the first input of the exported half, or "no: " and the reason."""
    from tokenzoo.zoo.export import NotExportable, export

    with tempfile.TemporaryDirectory() as folder:
        try:
            size = SIZES.get(tokenizer.spec.modality)
            made = export(tokenizer, Path(folder, "half.onnx"), part=half, size=size, stream=kind == "stream")
        except NotExportable as error:
            return f"no: {error.reason}"
        except ValueError as error:  # no decoder; an operator without a counterpart in ONNX
            return f"no: {error}"
    return f"[{', '.join(map(str, made.about['inputs'][0]['shape']))}]"


if __name__ == "__main__":
    main()
