"""The figures in `zoo/published`: all of known tokenizers, whole, each once. Run: pytest tests/zoo/test_literature.py"""

import pytest
import tokenzoo
from tokenzoo.codecs.config import ConfigError
from tokenzoo.zoo import listing, literature, parsed

CARDS = {c.name for c in tokenzoo.list_models()}
FIGURES = [(name, figure) for name in literature.names() for figure in literature.figures_of(name)]


def test_every_figure_is_of_a_card_or_a_system_and_says_where_it_stands():
    assert set(literature.names()) <= CARDS | set(literature.systems())
    assert not CARDS & set(literature.systems()), "a tokenizer with a card needs no second entry"
    assert set(literature.systems()) <= set(literature.names()), "a system without figures says nothing"
    assert all(f.source and f.dataset for _, f in FIGURES)
    assert len(FIGURES) > 1000


def test_no_figure_stands_twice():
    keys = [(name, f.metric, f.conditions, f.source, f.by) for name, f in FIGURES]
    assert len(keys) == len(set(keys)), [k for k in keys if keys.count(k) > 1][:3]


BOUNDS = {"SSIM": (0, 1), "STOI": (0, 1), "speaker similarity": (0, 1), "PESQ": (1, 4.65), "UTMOS": (1, 5), "PSNR": (5, 60)}


@pytest.mark.parametrize("name, low, high", [(name, *bounds) for name, bounds in BOUNDS.items()])
def test_values_lie_where_their_metric_can(name, low, high):
    values = [(n, f) for n, f in FIGURES if f.metric.startswith(name)]
    assert values and not [(n, f) for n, f in values if not low <= f.value <= high]


def test_only_shipped_checkpoints_have_figures_of_our_own():
    own = {name for name, f in FIGURES if f.by == "here"}
    assert own == {c.name for c in tokenzoo.list_models() if c.shipped}
    assert all(f.source.startswith("tokenzoo eval ") for _, f in FIGURES if f.by == "here")


def test_rates_are_those_that_the_tokenizer_can_have():
    for card in tokenzoo.list_models(modality="audio"):
        most = card.facts.spec().bitrate_kbps
        for f in card.figures:
            assert f.kbps <= most * 1.06, (card.name, f)  # sources round: 0.9 for 0.975, 1 for 1.04


def test_cards_without_figures_say_so():
    assert set(literature.searched()) | set(literature.same_weights()) <= CARDS
    assert not [name for name in literature.searched() if literature.figures_of(name)]
    assert literature.figures_of("llamagen-vq16-hf") == literature.figures_of("llamagen-vq16") != ()
    assert literature.status("llamagen-vq16") == ""
    assert literature.status("snac-44khz").startswith("not published where we looked: ")
    assert "not looked for" in literature.status("chameleon")
    assert literature.figures_of("no such tokenizer") == ()


def test_lists_for_programs_hold_them():
    (card,) = tokenzoo.list_models("titok-l32")
    found = listing.as_json(card)
    assert {"metric": "rFID", "value": 2.21, "by": "authors"}.items() <= found["figures"][0].items()
    assert found["figures_status"] == ""


@pytest.mark.parametrize(
    "text, words",
    [
        ("- {source: a, by: me, dataset: b, rows: []}", "by is 'me'; allowed: 'authors', 'others', 'here'"),
        ("- {source: a, by: here, dataset: b, rows: [{of: x, values: {}}]}", "the row of x has no values"),
        ("- {source: a, by: here, dataset: b, rows: [{of: x, valeus: {PSNR dB: 1}}]}", "unknown key .*valeus"),
        ("- {source: a, by: here, dataset: b, rows: [{of: x, values: {PSNR dB: high}}]}", "PSNR dB"),
    ],
)
def test_errors_name_the_file_and_the_place(monkeypatch, tmp_path, text, words):
    (tmp_path / "published").mkdir()
    (tmp_path / "published/a.yaml").write_text(text)
    monkeypatch.setattr(parsed, "_here", lambda: tmp_path)
    monkeypatch.setattr(literature, "_tables", literature._tables.__wrapped__)
    with pytest.raises(ConfigError, match=words) as caught:
        list(literature._figures())
    assert "a.yaml[0]" in str(caught.value)


def test_figures_in_a_card_are_an_error(monkeypatch, tmp_path):
    from tokenzoo.zoo import registry

    (tmp_path / "cards").mkdir()
    (tmp_path / "cards/a.yaml").write_text("- {name: x, figures: []}")
    monkeypatch.setattr(parsed, "_here", lambda: tmp_path)
    with pytest.raises(ConfigError, match=r"a.yaml\[0\]: figures stand in zoo/published"):
        registry.cards.__wrapped__()
