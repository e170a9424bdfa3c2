"""Every card loads from the files that its authors published, from a hub and from a folder.

    pytest tests/zoo/test_cards.py -k "snac" -s       # -s prints the evidence behind each card
"""

import dataclasses
import warnings
from collections import Counter

import pytest
import tokenzoo
import torch
from audio_cases import shake
from layout_options import all_sweeps
from published_files import PUBLISHED, Repository, dig, facts, published_config, repository
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.serialize import load_folder
from tokenzoo.zoo import registry
from tokenzoo.zoo.convert import converter
from tokenzoo.zoo.registry import Card
from tokenzoo.zoo.weight_files import is_config

CARDS = tokenzoo.list_models()
FOREIGN = [c for c in CARDS if c.system]
#: Of each layout the first card; the others among the slow tests.
ONE_OF_EACH_LAYOUT = [
    c if c is next(x for x in FOREIGN if x.system == c.system) else pytest.param(c, id=c.name, marks=pytest.mark.slow) for c in FOREIGN
]
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


@pytest.mark.parametrize("card", ONE_OF_EACH_LAYOUT, ids=lambda c: getattr(c, "name", None))
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


def evidence(card: Card) -> str:
    """"config": list of files and every config were seen; "part of the config"; "list of files" (no config is read); "nothing"."""
    if not facts(card).get("list_seen"):
        return "nothing"
    texts = [published_config(card, n) for n in card.files if is_config(n)]
    if any(text is None for text, _ in texts) or any(n.endswith(".nemo") for n in card.files):
        return "nothing"
    return "list of files" if not texts else "config" if all(whole for _, whole in texts) else "part of the config"


@pytest.mark.parametrize("card", FOREIGN, ids=lambda c: c.name)
def test_card_says_what_was_never_run(card: Card) -> None:
    """What a card says of itself is what `tests/published` holds."""
    assert card.never_run == ("layout" if evidence(card) == "nothing" else "weights")


def test_evidence_is_counted(capsys) -> None:
    count = Counter(evidence(card) for card in FOREIGN)
    with capsys.disabled():
        print(f"\n{len(FOREIGN)} cards; seen of what their authors published: {dict(count)}")
    assert count["config"] + count["part of the config"] + count["list of files"] >= 67
    assert {p.name for p in PUBLISHED.iterdir() if p.is_dir()} <= {c.name for c in CARDS}, "evidence of no card"


def published_bytes(card: Card) -> float | None:
    """Size of the card's one file of weights as its page shows it, in bytes."""
    sizes = {str(f["name"]): f.get("size") for f in facts(card).get("files", [])}
    weights = [n for n in card.files if not is_config(n)]
    shown = sizes.get(weights[0]) if len(weights) == 1 else None
    if not isinstance(shown, str):
        return float(shown) if shown else None
    number, unit = shown.split()[:2]
    return float(number) * {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[unit.rstrip(",;")]


MEASURED = [c for c in FOREIGN if "size_over_float32" in facts(c)]


@pytest.mark.parametrize("card", MEASURED, ids=lambda c: c.name)
def test_network_is_as_large_as_the_published_file(card: Card) -> None:
    """Shapes proved without a weight: bytes in the authors' keys, float32, beside the file's; more only where the facts say why."""
    known = facts(card)
    config: dict = {}
    for name in [n for n in card.files if is_config(n)]:
        text, whole = published_config(card, name)
        assert whole, "the size was measured with the whole config"
        config |= text
    layout = converter(card.system)
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        own = layout.own_config(config | card.config_overrides)
        state = layout.write(build_tokenizer(layout.family_for(own), own).state_dict(), own)
    ours, theirs = sum(v.numel() * 4 for v in state.values()), published_bytes(card)
    assert theirs is not None
    ratio = theirs / ours
    assert ratio == pytest.approx(known["size_over_float32"], abs=0.006), f"{theirs:.0f} published, {ours} here: {ratio:.3f}"
    assert abs(ratio - 1) < 0.006 or known.get("size_because"), f"{ratio:.3f} is not explained"


def full_config(card: Card) -> dict | None:
    """The config that the card's files and overrides give; None where a file's text was not seen whole."""
    config: dict = {}
    for name in [n for n in card.files if is_config(n) or n.endswith(".nemo")]:
        text, whole = published_config(card, name)
        if not whole:
            return None
        config |= text or {}
    return dig(config, card.sub_config) | card.config_overrides


def built(card: Card) -> tokenzoo.Tokenizer | None:
    """The card's network at its own size, without values."""
    if not card.system:
        from importlib import resources

        folder = resources.files("tokenzoo.zoo").joinpath("checkpoints", card.name)
        return load_folder(str(folder))
    config = full_config(card)
    if config is None:
        return None
    layout = converter(card.system)
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        own = layout.own_config(config)
        return build_tokenizer(layout.family_for(own), own)


@pytest.mark.parametrize("card", CARDS, ids=lambda c: c.name)
def test_facts_are_those_of_the_network(card: Card) -> None:
    """Everything a card says of its tokens is what its config builds."""
    tok = built(card)
    if tok is None:
        pytest.skip("the text of its config was not seen")
    spec, facts_ = tok.spec, card.facts
    assert facts_.modality == spec.modality
    for field in dataclasses.fields(facts_):
        if field.name == "modality":
            continue
        if not hasattr(spec, field.name) or not hasattr(facts_.spec(), field.name):
            assert getattr(facts_, field.name) == field.default, field.name
            continue
        said, is_ = getattr(facts_.spec(), field.name), getattr(spec, field.name)
        if field.name == "output_rate_hz":  # 0: the rate that goes in
            said, is_ = said or facts_.sample_rate_hz, is_ or spec.sample_rate_hz
        assert said == is_, f"{field.name}: the card says {said}, the network {is_}"
