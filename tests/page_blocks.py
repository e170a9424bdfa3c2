"""Blocks of code in the pages of the repository: where they stand, in which language, and why one is not run.

A block is run unless an HTML comment right before it says why not, `<!-- not run: REASON -->`, or which module it needs,
`<!-- needs: MODULE -->`; the latter runs where that module is installed. Before settings in YAML, `<!-- over: NAME -->` says which
bundled run they are merged into, as a file with `base: NAME` would be; of a block that shows several settings, a name for each.
"""

import importlib.util
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import tokenzoo

ROOT = Path(tokenzoo.__file__).parent
_FENCE = re.compile(
    r"(?:^ *<!-- (?P<form>not run|needs|over): (?P<why>.+?) -->\n+)?"
    r"^(?P<space> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=space)```$",
    re.MULTILINE | re.DOTALL,
)
#: An indented line that a reader would type into a shell.
_INDENTED = re.compile(r"^ {4,}(?:tokenzoo|python|pip|make) [^\n]*", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: the page, its line (from 1), language, text, why it is not run, or "", and the runs that its settings change."""

    page: str
    line: int
    language: str
    text: str
    why: str
    over: tuple[str, ...] = ()

    @property
    def settings(self) -> list[str]:
        """The settings of a block of YAML: one, or several where a key of the first level comes again."""
        found: list[list[str]] = []
        keys: set[str] = set()
        for line in self.text.splitlines(keepends=True):
            key = line.partition(":")[0] if re.match(r"\w+:", line) else ""
            if not found or key in keys:
                found.append([])
                keys.clear()
            found[-1].append(line)
            keys |= {key} - {""}
        return ["".join(lines) for lines in found]

    @property
    def commands(self) -> list[list[str]]:
        """Words of each line of a shell block, without comments; a backslash at the end joins lines."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks(page: str) -> list[Block]:
    """All fenced blocks of a page, given by its path in the repository."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for m in _FENCE.finditer(text):
        body = "".join(line.removeprefix(m["space"]) for line in m["text"].splitlines(keepends=True))
        why = (
            ""
            if m["form"] == "needs" and installed(m["why"])
            else f"needs the module {m['why']}"
            if m["form"] == "needs"
            else m["why"] or ""
        )
        over = tuple(re.split(r",\s*", m["why"])) if m["form"] == "over" else ()
        line = text.count("\n", 0, m.start("language")) + 1
        found.append(Block(page, line, m["language"], body, "" if over else why, over))
    return found


def installed(module: str) -> bool:
    """Whether a module is there, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def inline_commands(page: str) -> list[str]:
    """Commands of `tokenzoo` between backticks of the text, as they stand there: mostly without their arguments."""
    text = _FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    return [" ".join(m[1].split()) for m in re.finditer(r"(?<!`)`(tokenzoo [^`]+)`(?!`)", text)]


def indented_commands(page: str) -> list[str]:
    """Commands that stand in no fenced block, which nothing would run."""
    text = _FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    return [m[0].strip() for m in _INDENTED.finditer(text)]
