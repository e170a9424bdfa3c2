"""Hooks of MkDocs (`mkdocs.yml`): pages that stand elsewhere in the repository, pages written from the registry, and links.

- `PAGES` and `benchmarks/results/*.md` become pages of the site under another name; their text is not copied in the repository.
- `families/` and `command.md` are written at every build (`family_pages.py`, `command_page.py`).
- Links are written as they work in the repository. Here a link to a page goes to its place in the site, a link to any other file of
  the repository to a copy of that file; a link to nothing is a warning, which `mkdocs build --strict` makes an error.
- Addresses of other sites are checked for their form only: a build needs no network.
"""

import logging
import posixpath
import re
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(Path(__file__).parent))

import command_page  # noqa: E402
import family_pages  # noqa: E402

log = logging.getLogger("mkdocs.hooks.pages")

#: File of the repository -> page of the site.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
    "SECURITY.md": "report.md",
    "CHANGELOG.md": "changelog.md",
    "train/README.md": "train.md",
    "zoo/corpus/README.md": "corpus.md",
    "codecs/quantizers/README.md": "quantizers.md",
    "zoo/checkpoints/LICENCES.md": "licences.md",
    "benchmarks/results/leaderboard/README.md": "results/leaderboard.md",
}
#: Folders whose files go along with a page.
FOLDERS = ("benchmarks/results/leaderboard/media",)
LINK = re.compile(r"(!?\[(?:[^\]\[]|\[[^\]]*\])*\])\(\s*<?([^)\s>]+)>?(\s+\"[^\"]*\")?\s*\)")
CODE = re.compile(r"^(```|~~~).*?^\1[^\n]*$|`[^`\n]+`|^(?: {4}|\t)[^\n]*$", re.MULTILINE | re.DOTALL)


def outside() -> dict[str, str]:
    """Files of the repository that are pages of the site: path there -> path here."""
    results = {p.relative_to(ROOT).as_posix(): f"results/{p.name}" for p in sorted((ROOT / "benchmarks/results").glob("*.md"))}
    return {**PAGES, **results}


def on_startup(command: str, dirty: bool) -> None:
    """Lay out the sources as the package `tokenzoo`, where the reader of docstrings finds it."""
    package = ROOT / "build/source/tokenzoo"
    shutil.rmtree(package, ignore_errors=True)
    for path in [ROOT / "__init__.py", *(p for folder in ("codecs", "train", "zoo", "cli") for p in (ROOT / folder).rglob("*.py"))]:
        copy = package / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())


def on_config(config: Any) -> Any:
    """Put the pages of each folder into the navigation."""
    written = {"families/": sorted(family_pages.families()), "results/": []}
    names = sorted(outside().values())
    written["results/"] = [n.removeprefix("results/").removesuffix(".md") for n in names if n.startswith("results/")]
    config.nav = [_filled(entry, written) for entry in config.nav]
    return config


def _filled(entry: Any, written: dict[str, list[str]]) -> Any:
    """The navigation with each folder in place of its pages."""
    if isinstance(entry, list):
        return [_filled(e, written) for e in entry]
    if isinstance(entry, dict):
        return {title: _filled(value, written) for title, value in entry.items()}
    if entry in written:
        return [f"{entry}index.md", *({name: f"{entry}{name}.md"} for name in written[entry])]
    return entry


def on_files(files: Files, config: Any) -> Files:
    """Add the pages from outside `docs/` and the written ones."""
    pages = {site: (ROOT / origin).read_text(encoding="utf-8") for origin, site in outside().items() if (ROOT / origin).is_file()}
    pages |= family_pages.pages()
    pages["command.md"] = command_page.page()
    pages["results/index.md"] = results_index()
    for site, text in pages.items():
        files.append(File.generated(config, site, content=text))
    for folder in FOLDERS:
        for path in sorted(p for p in (ROOT / folder).rglob("*") if p.is_file()):
            _copied(path, files, config)
    return files


def results_index() -> str:
    """The list of results, each with the first heading of its page."""
    lines = [
        "# Benchmarks",
        "",
        "Results that figures of this site come from, each with its command. JSON beside each holds all numbers.",
        "",
    ]
    for origin, site in outside().items():
        if site.startswith("results/") and (ROOT / origin).is_file():
            heading = re.search(r"^# (.*)", (ROOT / origin).read_text(encoding="utf-8"), re.MULTILINE)
            name = site.removeprefix("results/")
            lines.append(f"- [{heading[1] if heading else name.removesuffix('.md')}]({name})")
    return "\n".join([*lines, ""])


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn links as the repository has them into links of the site."""
    site = page.file.src_uri
    origins = {here: there for there, here in outside().items()}
    generated = page.file.generated_by is not None and site not in origins
    origin = origins.get(site, f"docs/{site}")

    def replaced(match: re.Match[str]) -> str:
        label, target, title = match[1], match[2], match[3] or ""
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            if parts.scheme not in ("http", "https", "mailto") or not re.fullmatch(r"[\w-]+(\.[\w-]+)+", parts.netloc):
                log.warning(f"{origin}: {target} is no address of a page.")
            return match[0]
        if generated or not parts.path:
            return match[0]
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(origin), parts.path))
        found = _place(wanted, files, config)
        if found is None:
            log.warning(f"{origin}: the link {target} leads to {wanted}, which is not there.")
            return match[0]
        where = posixpath.relpath(found, posixpath.dirname(site) or ".")
        return f"{label}({where}{'#' + parts.fragment if parts.fragment else ''}{title})"

    code = [match.span() for match in CODE.finditer(markdown)]
    return LINK.sub(lambda m: m[0] if any(a <= m.start() < b for a, b in code) else replaced(m), markdown)


def _place(wanted: str, files: Files, config: Any) -> str | None:
    """Where a file of the repository is in the site; None: it does not exist."""
    if wanted in outside():
        return outside()[wanted]
    inside = wanted.removeprefix("docs/")
    page = files.get_file_from_path(inside) if wanted.startswith("docs/") else None
    if page and page.inclusion.is_included():
        return inside
    path = ROOT / wanted
    return _copied(path, files, config) if path.is_file() else None


def _copied(path: Path, files: Files, config: Any) -> str:
    """A copy of a file of the repository in the site."""
    site = f"files/{path.relative_to(ROOT).as_posix()}"
    if not files.get_file_from_path(site):
        files.append(File.generated(config, site, abs_src_path=str(path), inclusion=InclusionLevel.INCLUDED))
    return site


def on_post_build(config: Any) -> None:
    """Every link of the finished site to itself leads to a file, and nothing is fetched from elsewhere when a page is looked at."""
    site = Path(config.site_dir)
    for page in sorted(site.rglob("*.html")):
        text = page.read_text(encoding="utf-8")
        for target in set(re.findall(r'\b(?:href|src)="([^"#?]+)', text)):
            if not re.match(r"[a-z]+:|//", target) and page.name != "404.html" and not (page.parent / target).exists():
                log.warning(f"{page.relative_to(site)}: {target} is not there.")
        for target in re.findall(r'<(?:script|img|link|iframe)[^>]*\b(?:src|href)="((?:https?:)?//[^"]+)', text):
            if page.relative_to(site).parts[0] != "files":
                log.warning(f"{page.relative_to(site)}: {target} is fetched from another place.")
