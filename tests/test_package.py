"""The package as a whole: what is listed, what is imported, which way dependencies point, how fast the command answers."""

import ast
import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path

import pytest
import tokenzoo
from waiting import PATIENCE_SECONDS

ROOT = Path(tokenzoo.__file__).resolve().parent
OUTSIDE = {"tests", "benchmarks", "docs", "build", "dist", "data", "runs", "demo_out"}


def python(code: str) -> str:
    """Run `code` in a fresh interpreter and return what it prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS).stdout


@pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="not a checkout")
def test_listed_packages_are_the_folders():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {"tokenzoo"}
    for init in ROOT.rglob("*.py"):
        parts = init.parent.relative_to(ROOT).parts
        if parts and parts[0] not in OUTSIDE and not parts[0].startswith("."):
            folders.add(".".join(("tokenzoo", *parts)))
    assert listed == folders


@pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="not a checkout")
def test_no_top_level_folder_hides_a_standard_module():
    folders = {p.name for p in ROOT.iterdir() if p.is_dir()} - {"codecs"}  # imported as tokenzoo.codecs only
    assert not folders & set(sys.stdlib_module_names)


def test_import_is_light():
    heavy = "[m for m in ('torch', 'numpy', 'huggingface_hub', 'rich', 'typer', 'PIL') if m in sys.modules]"
    assert python(f"import sys, tokenzoo; print({heavy})").strip() == "[]"


def test_every_public_name_resolves():
    for name in tokenzoo.__all__:
        assert getattr(tokenzoo, name) is not None
    with pytest.raises(AttributeError):
        _ = tokenzoo.nothing


def _imports(path: Path) -> set[str]:
    """Top-level parts of this package that a file imports, resolved from its relative imports."""
    here = ("tokenzoo", *path.relative_to(ROOT).parts[:-1])
    out = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level + 1]
            full = (*base, *(node.module or "").split("."))
            names = [full] if node.module else [(*base, a.name) for a in node.names]
            out |= {n[1] for n in names if len(n) > 1 and n[1]}
    return out


def test_dependencies_point_one_way():
    forbidden = {"codecs": {"train", "zoo", "cli"}, "train": {"zoo", "cli"}, "zoo": {"cli"}}
    for part, others in forbidden.items():
        for path in (ROOT / part).rglob("*.py"):
            assert not _imports(path) & others, f"{path.relative_to(ROOT)} imports {_imports(path) & others}"


def test_package_data_is_there():
    files = resources.files("tokenzoo")
    assert files.joinpath("zoo/demo/media/chelsea.png").is_file()
    assert files.joinpath("configs/audio/_base.yaml").is_file()
    assert any(p.name.endswith(".yaml") for p in files.joinpath("zoo/cards").iterdir())


@pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="not a checkout")
def test_no_file_is_too_long():
    files = [p for p in ROOT.rglob("*.py") if p.relative_to(ROOT).parts[0] not in OUTSIDE and not _hidden(p)]
    assert not [f"{p.relative_to(ROOT)}: {n}" for p in files if (n := len(p.read_text().splitlines())) > 500]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(ROOT).parts)
