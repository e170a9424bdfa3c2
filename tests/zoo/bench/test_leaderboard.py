"""The committed page of the shipped checkpoints is that of the committed results. Run: pytest tests/zoo/bench/test_leaderboard.py"""

import re
from html import unescape
from pathlib import Path

import pytest
import tokenzoo
from tokenzoo.zoo.bench import Bench
from tokenzoo.zoo.bench.table import number

FOLDER = Path(tokenzoo.__file__).parent / "benchmarks/results/leaderboard"
if not FOLDER.is_dir():
    pytest.skip("not a checkout", allow_module_level=True)
PAGE = (FOLDER / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("part", ["pictures", "sound"])
def test_the_page_shows_the_results(part):
    found = Bench.read(FOLDER / part)
    assert found.complete and found.head["command"] in unescape(PAGE) and found.head["corpus"]["sha256"] in PAGE
    assert f"tokenzoo bench benchmarks/results/leaderboard/{part}".split()[-1] in unescape(PAGE)
    shown = {(cells[0], cells[1]): cells[2:] for cells in rows(PAGE)}
    assert len(found.rows()) > 4 and {r.tokenizer for r in found.rows() if r.reference}
    for row in found.rows():
        cells = shown[row.tokenizer, row.setting]
        assert {number(v) for v in row.values.values()} <= set(cells)


def test_shipped_checkpoints_are_measured_and_others_are_not():
    """Only weights that are at hand: no row of a tokenizer with random weights."""
    own = {r.tokenizer for part in ("pictures", "sound") for r in Bench.read(FOLDER / part).rows() if not r.reference}
    assert own == {c.name for c in tokenzoo.list_models() if c.shipped}


def test_media_are_there_and_the_folder_is_small():
    named = set(re.findall(r'(?:src|data-original)="(media/[^"]+)"', PAGE))
    assert named == {f"media/{p.name}" for p in (FOLDER / "media").iterdir()} and len(named) > 12
    assert sum(p.stat().st_size for p in FOLDER.rglob("*") if p.is_file()) < 3e6
    texts = [p.read_text(encoding="utf-8") for p in FOLDER.rglob("*") if p.suffix in (".html", ".json", ".md", ".csv")]
    assert not [t for t in texts if re.search(r"/(home|root|tmp|work|Users)/", t)], "no path of one machine"


def rows(page: str) -> list[list[str]]:
    """Texts of the cells of every row."""
    lines = re.findall(r"<tr[^>]*>(.*?)</tr>", page, flags=re.DOTALL)
    found = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line, flags=re.DOTALL) for line in lines]
    return [[unescape(re.sub("<[^>]+>", "", cell)) for cell in cells] for cells in found]
