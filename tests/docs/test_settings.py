"""Settings that the pages show in YAML are what they say: run files, or parts of one over the bundled run that a comment names.

pytest tests/docs/test_settings.py
"""

import sys
from pathlib import Path

import pytest
import yaml
from page_blocks import ROOT, Block, blocks
from tokenzoo.codecs.config import ConfigError
from tokenzoo.train.files import load_run
from tokenzoo.train.losses import LOSSES

if not (ROOT / "docs").is_dir():
    pytest.skip("not a checkout", allow_module_level=True)

#: A page whose blocks tests/test_contributing.py writes into a copy of the repository, and uses there.
FOLLOWED = "CONTRIBUTING.md"
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *(path for folder in ("docs", "zoo", "codecs", "train") for path in (ROOT / folder).rglob("*.md"))]
    if path.name != FOLLOWED
)
SETTINGS = [block for page in PAGES for block in blocks(page) if block.language == "yaml"]


def named(block: Block) -> str:
    return f"{block.page}:{block.line}"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder, from which Python also imports."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(LOSSES, "_own", {})
    before = set(sys.modules)
    yield tmp_path
    for name in [name for name in set(sys.modules) - before if (tmp_path / f"{name}.py").is_file()]:
        del sys.modules[name]


def write_modules(page: str) -> None:
    """The Python files that a page shows, each named in its first line."""
    for block in blocks(page):
        first = block.text.partition("\n")[0].removeprefix("# ")
        if block.language == "python" and first.endswith(".py"):
            Path(first).write_text(block.text, encoding="utf-8")


@pytest.mark.parametrize("block", SETTINGS, ids=named)
def test_the_settings_are_read(block, place):
    """Also those of other programs are YAML; those of this one are a whole run file with all that its base has."""
    several = block.settings
    assert all(isinstance(yaml.safe_load(text), dict) for text in several)
    if block.why:
        return
    write_modules(block.page)
    assert len(block.over) in (0, 1, len(several)), "one bundled run for all settings of the block, or one for each"
    for number, text in enumerate(several):
        over = block.over[number % len(block.over)] if block.over else ""
        values = yaml.safe_load(text)
        assert bool(over) != ("base" in values), "the base stands in the block or in the comment before it"
        Path("my.yaml").write_text(f"base: {over}\n{text}" if over else text, encoding="utf-8")
        run = load_run("my.yaml")
        assert all(getattr(run, key) for key in values if key != "base"), "all of it has arrived"


def test_there_are_settings_of_every_form():
    assert {bool(b.over) for b in SETTINGS} == {bool(b.why) for b in SETTINGS} == {True, False}
    assert max(len(b.settings) for b in SETTINGS) == 3


def test_no_settings_stand_in_a_block_of_text():
    """There nothing would read them."""
    for page in PAGES:
        for block in blocks(page):
            if block.language in ("", "text"):
                try:
                    found = yaml.safe_load(block.text)
                except yaml.YAMLError:
                    continue
                assert not isinstance(found, dict), f"{named(block)}: settings; make it a block of yaml"


def test_a_wrong_name_is_found(place):
    """What the first test rests on."""
    Path("p.md").write_text("<!-- over: image/convnet-debug -->\n```yaml\ndata: {crop: 32}\n\ndata: {crp: 32}\n```\n")
    (block,) = blocks(str(place / "p.md"))
    right, wrong = block.settings
    Path("right.yaml").write_text(f"base: {block.over[0]}\n{right}")
    Path("wrong.yaml").write_text(f"base: {block.over[0]}\n{wrong}")
    assert load_run("right.yaml").data.crop == 32
    with pytest.raises(ConfigError, match="crp"):
        load_run("wrong.yaml")
