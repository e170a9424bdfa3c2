"""Draw which room of tokenzoo imports which: `python docs/draw_imports.py` writes `docs/imports.svg`.

A room is a folder, or a group of files of one. Every `import` that runs counts, also those inside functions; those for type
checkers alone do not. An arrow points from a room to one that it imports; an arrow that follows from others (a to c, where a to b
and b to c are drawn) is left out. Tables that name modules in text (`codecs/families.py`) are no imports: through them a lower room
finds a higher one.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_PLAIN = ("compiling", "config", "devices", "files", "hooks", "kinds", "pieces", "precision", "version", "weights")
#: Rooms of files that stand in a folder itself: the folder, the room's name, its files.
_GROUPS = (
    ("codecs", "codecs: config, kinds", _PLAIN),
    ("codecs", "codecs: tokens, spec", ("identity", "spec", "token_fields", "token_file", "tokens")),
    ("codecs", "codecs: tokenizer", ()),
    ("train", "train: parts", ("buffers", "checkpoint", "drawing", "finite", "preview", "pretrained", "randomness")),
    ("train", "train: loop", ()),
    ("zoo", "zoo: quantize", ("quantize",)),
    ("zoo", "zoo: cards, hub", ()),
)


def room_of(path: Path) -> str:
    """The room of a file, named as its folder (`codecs/image`, `train/losses`) or by its group."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] == "cli" or len(parts) == 1:
        return "tokenzoo" if parts[0] in ("__init__", "__main__") else "cli"
    if len(parts) > 2:
        return "/".join(parts[:2])
    return next(room for folder, room, names in _GROUPS if folder == parts[0] and (parts[1] in names or not names))


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


def rooms() -> dict[str, set[str]]:
    """Each room and the rooms that it imports."""
    modules = files()
    out: dict[str, set[str]] = {room_of(p): set() for p in modules.values()}
    for path in modules.values():
        here = room_of(path)
        out[here] |= {room_of(modules[m]) for m in imports(path, modules)} - {here}
    out.pop("tokenzoo")  # the public face: it imports everything when it is used, and everything may read its version
    return {room: found - {"tokenzoo"} for room, found in out.items()}


def floors(graph: Mapping[str, set[str]]) -> dict[str, int]:
    """The floor of each room, 0 at the bottom: one above the highest room that it imports.

    Raises:
        ValueError: rooms import each other in a circle; the message names them.
    """
    floor: dict[str, int] = {}
    while len(floor) < len(graph):
        ready = [r for r in graph if r not in floor and graph[r] <= floor.keys()]
        if not ready:
            raise ValueError(f"rooms import each other: {sorted(set(graph) - floor.keys())}")
        floor |= {r: max((floor[i] + 1 for i in graph[r]), default=0) for r in ready}
    return floor


def needed(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The arrows that do not follow from others."""

    def reach(room: str) -> set[str]:
        return graph[room].union(*(reach(r) for r in graph[room]))

    return {room: {a for a in ends if not any(a in reach(b) for b in ends - {a})} for room, ends in graph.items()}


_WIDTH, _BOX, _FLOOR = 1180, 34, 92


def drawing() -> str:
    """The picture as SVG text."""
    graph = rooms()
    floor = floors(graph)
    top = max(floor.values())
    place: dict[str, tuple[float, float, float]] = {}  # middle, top edge, width
    for level in range(top + 1):
        row = sorted(r for r in graph if floor[r] == level)
        for i, room in enumerate(row):
            place[room] = ((i + 0.5) * _WIDTH / len(row), 20 + (top - level) * _FLOOR, 9 * len(room) + 26)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {(top + 1) * _FLOOR - 18}" '
        'font-family="sans-serif" font-size="15">',
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L10 5L0 10z" fill="#5b6b7f"/></marker></defs>',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for room, ends in sorted(needed(graph).items()):
        x, y, _ = place[room]
        for end in sorted(ends):
            u, v, _ = place[end]
            bend = (v - y - _BOX) / 2
            lines.append(
                f'<path d="M{x:.0f} {y + _BOX:.0f}C{x:.0f} {y + _BOX + bend:.0f} {u:.0f} {v - bend:.0f} {u:.0f} {v - 2:.0f}" '
                'fill="none" stroke="#5b6b7f" stroke-width="1.4" marker-end="url(#tip)"/>'
            )
    colours = {"codecs": "#dcebfa", "train": "#fbe6d4", "zoo": "#e1f2dd", "cli": "#eee6f7"}
    for room, (x, y, width) in sorted(place.items()):
        colour = colours[room.split("/")[0].split(":")[0]]
        lines.append(f'<rect x="{x - width / 2:.0f}" y="{y}" width="{width}" height="{_BOX}" rx="6" fill="{colour}" stroke="#5b6b7f"/>')
        lines.append(f'<text x="{x:.0f}" y="{y + 22}" text-anchor="middle" fill="#1c2733">{room}</text>')
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    (ROOT / "docs/imports.svg").write_text(drawing())
