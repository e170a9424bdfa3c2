"""Draw which package of tokenzoo imports which: `python docs/draw_imports.py` writes `docs/imports.svg`.

A package is a folder or, of a folder with many files of its own, a group of these files. Every `import` that runs counts, also those
inside functions; those under `if TYPE_CHECKING` do not. An arrow points from a package to one that it imports; an arrow that follows
from others (a to c, where a to b and b to c are drawn) is left out. Registries, tables of module paths as text
(`codecs/families.py`), are not imports: through them a lower package finds a higher one.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_PLAIN = (
    "compiling",
    "config",
    "devices",
    "files",
    "hooks",
    "kinds",
    "members",
    "pieces",
    "precision",
    "recomputable",
    "threads",
    "timm_models",
    "version",
    "weights",
)
#: Groups of the files directly in a folder: the folder, the group's name, its files; no files: all the others of the folder.
_GROUPS = (
    ("codecs", "codecs: config, kinds", _PLAIN),
    ("codecs", "codecs: tokens, spec", ("identity", "spec", "token_fields", "token_file", "tokens")),
    ("codecs", "codecs: tokenizer", ()),
    (
        "train",
        "train: parts",
        (
            "buffers",
            "checkpoint",
            "discriminator_files",
            "drawing",
            "finite",
            "frames",
            "packages",
            "preview",
            "pretrained",
            "randomness",
            "weight_norm",
        ),
    ),
    ("train", "train: loop", ()),
    ("zoo", "zoo: quantize", ("quantize",)),
    ("zoo", "zoo: cards, hub", ()),
)


def package_of(path: Path) -> str:
    """Name of the package that a file belongs to: its folder (`codecs/image`, `train/losses`) or its group."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] == "cli" or len(parts) == 1:
        return "tokenzoo" if parts[0] in ("__init__", "__main__") else "cli"
    if len(parts) > 2:
        return "/".join(parts[:2])
    return next(group for folder, group, names in _GROUPS if folder == parts[0] and (parts[1] in names or not names))


def files() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = [*ROOT.glob("*.py"), *(p for top in ("codecs", "train", "zoo", "cli") for p in (ROOT / top).rglob("*.py"))]
    return {_dotted(p): p for p in found}


def _dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("tokenzoo", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def imports(path: Path, modules: Mapping[str, Path]) -> Iterator[str]:
    """Dotted names of the modules that a file imports from this package, wherever the statement stands."""
    package = _dotted(path) if path.name == "__init__.py" else _dotted(path).rpartition(".")[0]
    tree = ast.parse(path.read_text())
    unused = {n for block in ast.walk(tree) if _for_type_checkers(block) for n in ast.walk(block)}
    for node in ast.walk(tree):
        if node in unused:
            continue
        if isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for name in node.names:
                full = f"{base}.{name.name}"
                if found := full if full in modules else base if base in modules else "":
                    yield found
        elif isinstance(node, ast.Import):
            yield from (n.name for n in node.names if n.name in modules)


def _for_type_checkers(node: ast.AST) -> bool:
    """True for `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def import_graph() -> dict[str, set[str]]:
    """Package -> the packages that it imports. The root package is left out: it imports all, and all may read its version."""
    modules = files()
    out: dict[str, set[str]] = {package_of(p): set() for p in modules.values()}
    for path in modules.values():
        here = package_of(path)
        out[here] |= {package_of(modules[m]) for m in imports(path, modules)} - {here}
    out.pop("tokenzoo")
    return {package: found - {"tokenzoo"} for package, found in out.items()}


def levels(graph: Mapping[str, set[str]]) -> dict[str, int]:
    """The level of each package, 0 at the bottom: one above the highest package that it imports.

    Raises:
        ValueError: packages import each other in a cycle; the message names them.
    """
    level: dict[str, int] = {}
    while len(level) < len(graph):
        ready = [p for p in graph if p not in level and graph[p] <= level.keys()]
        if not ready:
            raise ValueError(f"packages import each other: {sorted(set(graph) - level.keys())}")
        level |= {p: max((level[i] + 1 for i in graph[p]), default=0) for p in ready}
    return level


def drawn_arrows(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """`graph` without the arrows that follow from others (its transitive reduction)."""

    def reach(package: str) -> set[str]:
        return graph[package].union(*(reach(p) for p in graph[package]))

    return {package: {a for a in ends if not any(a in reach(b) for b in ends - {a})} for package, ends in graph.items()}


_WIDTH, _BOX, _LEVEL = 1180, 34, 92  # width of the picture; heights of a box, and of a level


def drawing() -> str:
    """The picture of the import graph as SVG text."""
    graph = import_graph()
    level = levels(graph)
    top = max(level.values())
    place: dict[str, tuple[float, float, float]] = {}  # middle, top edge, width
    for number in range(top + 1):
        row = sorted(p for p in graph if level[p] == number)
        for i, package in enumerate(row):
            place[package] = ((i + 0.5) * _WIDTH / len(row), 20 + (top - number) * _LEVEL, 9 * len(package) + 26)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {(top + 1) * _LEVEL - 18}" '
        'font-family="sans-serif" font-size="15">',
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L10 5L0 10z" fill="#5b6b7f"/></marker></defs>',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for package, ends in sorted(drawn_arrows(graph).items()):
        x, y, _ = place[package]
        for end in sorted(ends):
            u, v, _ = place[end]
            bend = (v - y - _BOX) / 2
            lines.append(
                f'<path d="M{x:.0f} {y + _BOX:.0f}C{x:.0f} {y + _BOX + bend:.0f} {u:.0f} {v - bend:.0f} {u:.0f} {v - 2:.0f}" '
                'fill="none" stroke="#5b6b7f" stroke-width="1.4" marker-end="url(#tip)"/>'
            )
    colours = {"codecs": "#dcebfa", "train": "#fbe6d4", "zoo": "#e1f2dd", "cli": "#eee6f7"}
    for package, (x, y, width) in sorted(place.items()):
        colour = colours[package.split("/")[0].split(":")[0]]
        lines.append(f'<rect x="{x - width / 2:.0f}" y="{y}" width="{width}" height="{_BOX}" rx="6" fill="{colour}" stroke="#5b6b7f"/>')
        lines.append(f'<text x="{x:.0f}" y="{y + 22}" text-anchor="middle" fill="#1c2733">{package}</text>')
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    (ROOT / "docs/imports.svg").write_text(drawing())
