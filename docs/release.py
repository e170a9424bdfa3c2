"""Makes a release: checks what a release must have, builds and checks both distributions, and sets the tag. `make release` runs it.

    python docs/release.py --dry-run       # everything but the tag
    python docs/release.py

The version stands in `codecs/version.py` alone. Before a release, in one commit: the new version there, `## [VERSION] - DATE` in
CHANGELOG.md in place of the entries under "Unreleased", version and date in CITATION.cff. Nothing is uploaded; the last lines say how.
"""

import argparse
import datetime
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Largest distribution in bytes; the index of packages takes 100 MB.
LARGEST = 60_000_000


class NotReady(SystemExit):
    """Something that a release needs is missing; the message says what."""


def version_of(root: Path) -> str:
    """The version in `codecs/version.py`."""
    found = re.search(r'^__version__ = "(\d+\.\d+\.\d+)"$', (root / "codecs/version.py").read_text(), re.MULTILINE)
    if not found:
        raise NotReady('codecs/version.py: no line __version__ = "MAJOR.MINOR.PATCH".')
    return found[1]


def check_changelog(root: Path, version: str) -> str:
    """The date of the version's section, which is the first after an empty "Unreleased" and has entries."""
    text = (root / "CHANGELOG.md").read_text()
    sections = re.split(r"^## \[", text, flags=re.MULTILINE)[1:]
    if not sections or not sections[0].startswith("Unreleased]"):
        raise NotReady('CHANGELOG.md: the first section must be "## [Unreleased]".')
    if sections[0].removeprefix("Unreleased]").strip():
        raise NotReady(f'CHANGELOG.md: entries stand under "Unreleased"; move them to "## [{version}] - DATE".')
    head = re.match(rf"{re.escape(version)}\] - (\d{{4}}-\d\d-\d\d)\n", sections[1]) if len(sections) > 1 else None
    if not head or not re.search(r"^- ", sections[1], re.MULTILINE):
        raise NotReady(f'CHANGELOG.md: the section after "Unreleased" must be "## [{version}] - YYYY-MM-DD" with entries.')
    datetime.date.fromisoformat(head[1])
    return head[1]


def check_citation(root: Path, version: str, date: str) -> None:
    """CITATION.cff states the same version and date."""
    text = (root / "CITATION.cff").read_text()
    for key, value in (("version", version), ("date-released", date)):
        if not re.search(rf"^{key}: {re.escape(value)}$", text, re.MULTILINE):
            raise NotReady(f"CITATION.cff: no line {key}: {value}")


def check_tree(root: Path, version: str) -> None:
    """Everything is committed, and the tag is free."""
    if run("git", "status", "--porcelain", cwd=root):
        raise NotReady("there are changes that are not committed.")
    if run("git", "tag", "--list", f"v{version}", cwd=root):
        raise NotReady(f"the tag v{version} exists; a release is made once.")


def build(root: Path, out: Path) -> list[Path]:
    """Source distribution, and the wheel made out of it; checked by twine and by size."""
    with tempfile.TemporaryDirectory() as place:
        source = Path(place, "source")  # what git lists: files beside it do not get into a distribution
        for name in run("git", "ls-files", "-z", cwd=root).split("\0"):
            if name and (root / name).is_file():
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / name, source / name)
        run(sys.executable, "-m", "build", "--no-isolation", "-o", str(out), str(source))
    files = sorted(out.glob("*.whl")) + sorted(out.glob("*.tar.gz"))
    if len(files) != 2:
        raise NotReady(f"{out} holds {[f.name for f in files]}; expected one wheel and one source distribution. Empty it first.")
    run(sys.executable, "-m", "twine", "check", "--strict", *map(str, files))
    for file in files:
        size = file.stat().st_size
        if size > LARGEST:
            raise NotReady(f"{file.name} has {size / 1e6:.1f} MB, at most {LARGEST / 1e6:.0f} MB are allowed.")
        print(f"{file.name}: {size / 1e6:.1f} MB")
    return files


def run(*command: str, cwd: Path = ROOT) -> str:
    """Standard output of a command; NotReady with what it said if it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotReady(f"{' '.join(command[:4])} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout.strip("\n")


def main(words: list[str] | None = None) -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry-run", action="store_true", help="check and build; set no tag, and allow changes that are not committed")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    given = parser.parse_args(words)
    version = version_of(ROOT)
    check_citation(ROOT, version, check_changelog(ROOT, version))
    if not given.dry_run:
        check_tree(ROOT, version)
    files = build(ROOT, given.out)
    if given.dry_run:
        return
    run("git", "tag", "--annotate", f"v{version}", "--message", f"tokenzoo {version}")
    print(
        f"tag v{version} is set. To publish:\n  git push origin v{version}\n  python -m twine upload {' '.join(f.name for f in files)}"
    )


if __name__ == "__main__":
    main()
