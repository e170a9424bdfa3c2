"""No code is written twice: ten equal lines in a row in two places are one function that nobody wrote.

    pytest tests/test_repetition.py

Lines count as they are but for their spaces; empty ones and comments do not count. What says something by being spelled out may be
alike, whatever it says: imports, fields of dataclasses, parameters of a function, and tables of data (lists, tuples, mappings and
keyword arguments of plain values), as key maps and the settings of published models are.
"""

import ast
import itertools
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import tokenzoo

ROOT = Path(tokenzoo.__file__).resolve().parent
FOLDERS = ("codecs", "train", "zoo", "cli")
#: Equal lines in a row that are too many.
LIMIT = 10

Place = tuple[str, int]


def counted_lines(source: str) -> list[list[tuple[int, str]]]:
    """Runs of lines (number, text) that count, cut where something stands that does not."""
    allowed = set(allowed_lines(ast.parse(source)))
    runs: list[list[tuple[int, str]]] = [[]]
    for number, line in enumerate(source.splitlines(), start=1):
        text = " ".join(line.split())
        if number in allowed:
            runs.append([])
        elif text and not text.startswith("#"):
            runs[-1].append((number, text))
    return [run for run in runs if len(run) >= LIMIT]


def allowed_lines(tree: ast.AST) -> Iterator[int]:
    """Numbers of lines that may be like others."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from lines_of(node)
        elif isinstance(node, ast.ClassDef):
            for field in node.body:
                if isinstance(field, ast.AnnAssign):
                    yield from lines_of(field)
        elif isinstance(node, ast.FunctionDef):
            yield from below(node, [*node.args.args, *node.args.kwonlyargs])
        elif isinstance(node, ast.Call):
            yield from below(node, [k for k in node.keywords if is_data(k.value)])
        elif isinstance(node, ast.List | ast.Tuple | ast.Dict | ast.Set) and len(lines_of(node)) > 2 and is_data(node):
            yield from lines_of(node)


def below(node: ast.FunctionDef | ast.Call, parts: list[ast.arg] | list[ast.keyword]) -> Iterator[int]:
    """Lines of parameters or arguments that stand on lines of their own."""
    for part in parts:
        yield from (n for n in lines_of(part) if n > node.lineno)


def is_data(node: ast.AST) -> bool:
    """True for values that only say something: constants, names, texts with names in them, and tables of these."""
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return all(is_data(e) for e in node.elts)
    if isinstance(node, ast.Dict):
        return all(is_data(e) for e in (*(k for k in node.keys if k is not None), *node.values))
    if isinstance(node, ast.Starred | ast.Attribute | ast.UnaryOp):
        return is_data(node.operand if isinstance(node, ast.UnaryOp) else node.value)
    return isinstance(node, ast.Constant | ast.Name | ast.JoinedStr)


def lines_of(node: ast.AST) -> range:
    return range(node.lineno, node.end_lineno + 1)


def repeated(sources: dict[str, str]) -> list[tuple[Place, Place, int]]:
    """Two places and the number of lines that are equal there, for each longest run."""
    windows: dict[tuple[str, ...], list[tuple[str, int, int]]] = defaultdict(list)
    runs = {name: counted_lines(source) for name, source in sources.items()}
    for name, parts in runs.items():
        for i, run in enumerate(parts):
            for j in range(len(run) - LIMIT + 1):
                windows[tuple(text for _, text in run[j : j + LIMIT])].append((name, i, j))
    out = []
    for places in windows.values():
        for (a, i, j), (b, k, m) in itertools.pairwise(places):
            before = j and m and runs[a][i][j - 1][1] == runs[b][k][m - 1][1]
            if before:  # the middle of a longer run
                continue
            length = LIMIT
            while (
                j + length < len(runs[a][i])
                and m + length < len(runs[b][k])
                and runs[a][i][j + length][1] == runs[b][k][m + length][1]
            ):
                length += 1
            out.append(((a, runs[a][i][j][0]), (b, runs[b][k][m][0]), length))
    return out


def test_nothing_is_written_twice():
    files = [f for folder in FOLDERS for f in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 300, "the folders are elsewhere"
    found = repeated({f.relative_to(ROOT).as_posix(): f.read_text(encoding="utf-8") for f in files})
    report = "\n".join(f"{a}:{i} and {b}:{j}: {n} lines" for (a, i), (b, j), n in found)
    assert not found, f"make one function of each:\n{report}"


CODE = [f"x{i} = f(x{i - 1}) + {i}" for i in range(1, 13)]


@pytest.mark.parametrize(
    ("one", "other", "lines"),
    [
        (CODE, CODE, 12),
        (CODE[:9], CODE[:9], 0),
        (CODE, ["if x:", *(f"    {line}" for line in CODE)], 12),
        (CODE, [*CODE[:5], "", "# a word", *CODE[5:]], 12),
        (CODE, [*CODE[:5], "y = 1", *CODE[5:]], 0),
        ([f"import a{i}" for i in range(12)],) * 2 + (0,),
        (["class A:", *(f"    a{i}: int = {i}" for i in range(12))],) * 2 + (0,),
        (["ROWS = [", *(f'    ("a{i}.*", f"b.{{x}}.{i}"),' for i in range(12)), "]"],) * 2 + (0,),
        (["def f(", *(f"    a{i}: int = {i}," for i in range(12)), "): ..."],) * 2 + (0,),
    ],
)
def test_what_counts(one, other, lines):
    found = repeated({"a": "\n".join(one), "b": "\n".join(other)})
    assert [n for _, _, n in found] == ([lines] if lines else [])


def test_places_in_one_file_count_too():
    found = repeated({"a": "\n".join([*CODE, "y = 1", *CODE])})
    assert found == [(("a", 1), ("a", 14), 12)]
