"""What a release must have, and what it refuses. Run: pytest tests/docs/test_release.py"""

import importlib.util
import shutil
import subprocess

import pytest
import tokenzoo
from page_blocks import ROOT

if not (ROOT / "docs/release.py").is_file():
    pytest.skip("not a checkout", allow_module_level=True)


@pytest.fixture(scope="module")
def release():
    spec = importlib.util.spec_from_file_location("release", ROOT / "docs/release.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def place(tmp_path):
    """A repository that is ready."""
    (tmp_path / "codecs").mkdir()
    (tmp_path / "codecs/version.py").write_text('__version__ = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2030-01-31\n\n### Added\n\n- A thing.\n")
    (tmp_path / "CITATION.cff").write_text("version: 1.2.3\ndate-released: 2030-01-31\n")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


def test_a_ready_repository_passes(release, place):
    assert release.version_of(place) == "1.2.3"
    assert release.check_changelog(place, "1.2.3") == "2030-01-31"
    release.check_citation(place, "1.2.3", "2030-01-31")
    release.check_tree(place, "1.2.3")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("## [Unreleased]\n", "## [Unreleased]\n\n- Later.\n", "entries stand under"),
        ("## [Unreleased]\n\n", "", "the first section"),
        ("[1.2.3]", "[1.2.2]", "must be"),
        ("- A thing.\n", "", "must be"),
    ],
)
def test_a_changelog_that_is_not_ready(release, place, old, new, said):
    path = place / "CHANGELOG.md"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(release.NotReady, match=said):
        release.check_changelog(place, "1.2.3")


def test_other_reasons(release, place):
    with pytest.raises(release.NotReady, match="date-released"):
        release.check_citation(place, "1.2.3", "2030-02-01")
    (place / "new").write_text("")
    with pytest.raises(release.NotReady, match="not committed"):
        release.check_tree(place, "1.2.3")
    (place / "new").unlink()
    subprocess.run(["git", "tag", "v1.2.3"], cwd=place, check=True)
    with pytest.raises(release.NotReady, match=r"v1\.2\.3 exists"):
        release.check_tree(place, "1.2.3")
    (place / "codecs/version.py").write_text("__version__ = '1.2'\n")
    with pytest.raises(release.NotReady, match="no line"):
        release.version_of(place)


def test_this_repository_names_one_version(release):
    version = release.version_of(ROOT)
    assert version == tokenzoo.__version__
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## [{version}] - " in (ROOT / "CHANGELOG.md").read_text()
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.slow
def test_both_distributions(release, tmp_path):
    """The wheel is built out of the source distribution."""
    pytest.importorskip("twine")
    files = release.build(ROOT, tmp_path)
    assert [f.suffix for f in files] == [".whl", ".gz"]
    shutil.unpack_archive(files[1], tmp_path)
    (source,) = (p for p in tmp_path.iterdir() if p.is_dir())
    assert (source / "zoo/checkpoints/photo-f16-rvq7/model.safetensors").is_file() and (source / "CITATION.cff").is_file()
    assert not (source / "tests").exists() and not (source / "benchmarks").exists()
