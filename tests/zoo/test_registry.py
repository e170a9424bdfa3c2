"""The registry: every card is whole and unique, lists filter, errors name what is near."""

from pathlib import Path

import pytest
import tokenzoo
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.families import FAMILIES
from tokenzoo.codecs.spec import LatentSpec
from tokenzoo.zoo import parsed, registry
from tokenzoo.zoo.convert import systems


def test_lists_filter_by_wildcard_and_modality():
    by = {m: tokenzoo.list_models(modality=m) for m in ("audio", "image", "latent")}
    assert sorted(c.name for cards in by.values() for c in cards) == [c.name for c in tokenzoo.list_models()]
    assert all(c.modality == m for m, cards in by.items() for c in cards)
    assert {"levo-mix", "levo-separate", "ustokenizer"} <= {c.name for c in by["latent"]}
    some = tokenzoo.list_models()[0].name
    assert [c.name for c in tokenzoo.list_models(some)] == [some]
    with pytest.raises(ValueError, match="'audio', 'image'"):
        tokenzoo.list_models(modality="video")


@pytest.mark.parametrize("card", tokenzoo.list_models(), ids=lambda c: c.name)
def test_cards_are_whole(card):
    assert card.family in FAMILIES.names()
    assert card.licence_code
    assert card.licence_weights
    assert not card.system or card.system in systems()
    assert card.shipped or card.hub_id or card.where, "where do the weights come from?"
    spec = card.facts.spec()
    if spec.modality == "audio":
        assert spec.bitrate_kbps > 0
    elif spec.modality == "latent":
        assert spec.channels > 0, "how wide are the features?"
    else:
        assert spec.bits_per_pixel() > 0


def test_facts_of_features():
    facts = registry.Facts(modality="latent", channels=8, vocab_sizes=(16, 16))
    assert facts.spec() == LatentSpec(channels=8, vocab_sizes=(16, 16))
    with pytest.raises(ConfigError, match="'video'.*'latent'"):
        registry.Facts(modality="video", vocab_sizes=(4,)).spec()


def test_duplicate_names_raise(monkeypatch, tmp_path):
    entry = "- {name: x, family: convnet, licence_code: a, licence_weights: b, facts: {modality: image, vocab_sizes: [4]}}\n"
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards/a.yaml").write_text(entry)
    monkeypatch.setattr(parsed, "_here", lambda: tmp_path)
    assert list(registry.cards.__wrapped__()) == ["x"]
    (tmp_path / "cards/b.yaml").write_text(entry)
    with pytest.raises(ConfigError, match="'x' is taken"):
        registry.cards.__wrapped__()


def test_unknown_keys_in_a_card_raise(monkeypatch, tmp_path):
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards/a.yaml").write_text("- {name: x, famly: y}\n")
    monkeypatch.setattr(parsed, "_here", lambda: tmp_path)
    with pytest.raises(ConfigError, match=r"a.yaml\[0\].famly.*'family'"):
        registry.cards.__wrapped__()


def test_the_readme_counts_the_cards():
    text = (Path(__file__).parents[2] / "README.md").read_text()
    cards = [c for c in tokenzoo.list_models() if not c.shipped]
    head = f"{len(cards)} checkpoints of {len({c.family for c in cards})} families, in {len(systems())} layouts"
    assert head in text, head
    for never in ("weights", "layout"):
        assert f"{sum(c.never_run == never for c in cards)} " in text
