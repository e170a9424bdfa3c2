"""The tables of docs/choose.md: models, rates, licences and figures are those of the cards. Run: pytest tests/docs/test_choose.py"""

import re
import sys

import pytest
from page_blocks import ROOT

if not (ROOT / "docs").is_dir():
    pytest.skip("not a checkout", allow_module_level=True)
sys.path.insert(0, str(ROOT / "docs"))

import family_pages
from tokenzoo.codecs.summary import codebooks_text
from tokenzoo.zoo.literature import PARTIES, status
from tokenzoo.zoo.registry import cards

ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split("|")]
    for line in (ROOT / "docs/choose.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and "`" in line
]


def test_there_are_rows():
    assert len(ROWS) > 15 and {cards()[row[1].strip("`")].modality for row in ROWS} == {"image", "audio"}


@pytest.mark.parametrize("row", ROWS, ids=[row[1].strip("`") for row in ROWS])
def test_a_row_says_what_the_card_says(row):
    _, name, codes, rate, figure, licence = row
    card = cards()[name.strip("`")]
    assert (codes, rate, licence) == (codebooks_text(card.facts.vocab_sizes), family_pages.rate(card), card.licence_weights)
    known = {f"{f.metric} {f.value:g} ({f.conditions}; {PARTIES[f.by]})" for f in card.figures}
    assert figure in (known or {status(card.name)}) or (figure == "none of pixels" and not any("rFID" in k for k in known))


def test_every_family_has_a_page_that_names_its_checkpoints():
    """One page in full: what it says comes from the cards, the recipes and the layouts."""
    found = family_pages.families()
    text = family_pages.page("titok", found["titok"], {"titok": ["image/titok-debug"]})
    for card in found["titok"]:
        assert f"`{card.name}`" in text and f"`{card.hub_id}`" in text
    assert "rFID 2.21" in text and "`image/titok-debug`" in text and "`titok-legacy`" in text and "`positions`" in text
    assert "Never run here: the published weights" in text
    mixed = family_pages.page("dualcodec", found["dualcodec"], {})
    assert "| 1 x 16384, 7 x 4096 |" in mixed and "16384, 4096" not in mixed
    listed = re.findall(r"\[(\w+)\]\(\1\.md\)", family_pages.index(found))
    assert sorted(listed) == sorted(found)
