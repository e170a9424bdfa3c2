"""Words that a newcomer of the field cannot search for, and what to write instead: `python tests/lint_words.py`, part of `make lint`.

Looked at are the code, configs and pages that are read (not the tests). A word is allowed where it is somebody else's name: write it
in backticks.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Word, as a pattern without regard to capitals -> what the field says.
BANNED = {
    r"hears?|heard|hearing": "takes as input; speech-model features",
    r"painters?": "pixel decoder, diffusion decoder",
    r"nobody(?:'s)?": "no other module, unused",
    r"bury|buries|buried": "remove, reap",
    r"said aloud|says aloud": "warns",
    r"so many": "the number itself; this many",
    r"(?:is|are) told": "is given, is conditioned on",
    r"strangers?": "untrusted, unknown",
    r"lively|enliven\w*": "random, varied",
}
FILES = ("*.md", "codecs/**/*.py", "codecs/**/*.md", "train/**/*.py", "train/**/*.md", "zoo/**/*.py", "zoo/**/*.md", "cli/**/*.py")
FILES += ("zoo/cards/*.yaml", "configs/**/*.yaml", "docs/*.md", "benchmarks/**/*.py", "benchmarks/**/*.md", "__init__.py")


def findings(text: str) -> list[tuple[int, str, str]]:
    """Line (from 1), word and advice of each banned word of `text`; what stands in backticks does not count."""
    plain = re.sub(r"`[^`\n]*`", lambda m: " " * len(m[0]), text)
    found = []
    for pattern, advice in BANNED.items():
        for match in re.finditer(rf"(?<![\w-])(?:{pattern})(?![\w-])", plain, flags=re.IGNORECASE):
            found.append((plain.count("\n", 0, match.start()) + 1, match[0], advice))
    return sorted(found)


def main() -> int:
    """Print what was found; 1 where anything was."""
    files = sorted({f for pattern in FILES for f in ROOT.glob(pattern)})
    lines = [
        f"{file.relative_to(ROOT)}:{line}: {word!r}: write {advice}"
        for file in files
        for line, word, advice in findings(file.read_text())
    ]
    print("\n".join([*lines, f"{len(files)} files, {len(lines)} banned words"]))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
