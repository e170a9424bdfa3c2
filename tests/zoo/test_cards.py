"""Every card loads from the files that its authors published, from a hub and from a folder.

    pytest tests/zoo/test_cards.py -k "snac" -s       # -s prints the evidence behind each card
"""

import warnings
from collections import Counter

import pytest
import tokenzoo
import torch
from audio_cases import shake
from layout_options import all_sweeps
from published_files import Repository, facts, repository
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.zoo import registry
from tokenzoo.zoo.convert import converter
from tokenzoo.zoo.registry import Card

CARDS = tokenzoo.list_models()
FOREIGN = [c for c in CARDS if c.system]
SWEEPS = all_sweeps()


def small(card: Card) -> Repository:
    """The card's repository with a tiny network."""
    sweep, layout = SWEEPS[card.system], converter(card.system)

    def state_of(theirs: dict) -> dict:
        own = layout.own_config(theirs)
        tok = shake(build_tokenizer(layout.family_for(own), own))
        return sweep.write(tok) if sweep.write else layout.write(tok.state_dict(), own)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return repository(card, sweep, state_of)


@pytest.mark.parametrize("card", FOREIGN, ids=lambda c: c.name)
def test_card_loads_from_its_files(card: Card, hub, monkeypatch, tmp_path) -> None:
    made = small(card)
    monkeypatch.setattr(registry, "cards", lambda: {**{c.name: c for c in CARDS}, card.name: made.card})
    for name, data in made.files.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = tokenzoo.load(card.name, folder=tmp_path / "folder")
        if card.hub_id:
            hub.add(card.hub_id, made.files, revision=card.revision or "main")
            from_hub = tokenzoo.load(card.name, cache_dir=tmp_path / "cache")
            assert all(torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), from_hub.state_dict().values(), strict=True))
            asked = {p.split("/resolve/")[1].split("/", 1)[1] for m, p in hub.requests if "/resolve/" in p}
            assert asked <= set(made.files) | {f"{n}.index.json" for n in card.files}, "files that the repository does not hold"
        else:
            with pytest.raises(OSError, match=rf'tokenzoo.load\("{card.name}", folder="FOLDER"\)'):
                tokenzoo.load(card.name)
    assert loaded.family == card.family and loaded.layout == card.system


@pytest.mark.parametrize("card", FOREIGN, ids=lambda c: c.name)
def test_card_says_what_was_never_run(card: Card) -> None:
    """Evidence that this test suite holds, and what the card says of itself, are the same."""
    known = bool(facts(card).get("files"))
    assert card.never_run == ("weights" if known else "layout")


def test_evidence_is_counted(capsys) -> None:
    count: Counter[str] = Counter()
    for card in FOREIGN:
        seen = facts(card)
        folder = [p.name for p in (registry_folder(card)).glob("*")] if seen else []
        count["config" if any(not n.startswith("facts") for n in folder) else "list of files" if seen else "nothing"] += 1
    with capsys.disabled():
        print(f"\n{len(FOREIGN)} cards; evidence of what was published: {dict(count)}")
    assert count["nothing"] < len(FOREIGN) / 3


def registry_folder(card: Card):
    from published_files import PUBLISHED

    return PUBLISHED / card.name
