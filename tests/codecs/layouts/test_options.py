"""Every layout against the options that its authors' class allows, and its map there and back.

    pytest tests/codecs/layouts/test_options.py -k dac                       # a sixth of the options
    pytest -m "slow or not slow" tests/codecs/layouts/test_options.py -k dac    # all
"""

import pytest
import torch
from audio_cases import shake
from layout_options import Sweep, all_sweeps, merged
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.layouts.layout import start_codebooks
from tokenzoo.codecs.serialize import load_strict
from tokenzoo.zoo.convert import convert, converter, systems

SWEEPS = all_sweeps()
#: Of each layout the first option, the seventh and so on; the others among the slow tests.
OPTIONS = [
    pytest.param(system, option, marks=[pytest.mark.slow] if number % 6 else [])
    for system, sweep in SWEEPS.items()
    for number, option in enumerate(sweep.options)
]
REFUSED = [(system, name) for system, sweep in SWEEPS.items() for name in sweep.refused]


def authors_state(system: str, theirs: dict, sweep: Sweep) -> dict:
    """Random weights in the authors' keys."""
    layout = converter(system)
    own = layout.own_config(theirs)
    tok = shake(build_tokenizer(layout.family_for(own), own))
    if sweep.enliven:
        sweep.enliven(tok)
    return sweep.write(tok) if sweep.write else layout.write(tok.state_dict(), own)


def medium(tok, shape: tuple[int, ...] | None) -> torch.Tensor:
    """Two small clips or pictures."""
    spec = tok.spec
    if shape is None and spec.modality == "audio":
        shape = (spec.channels, 5 * spec.hop_samples + 3)
    elif shape is None and spec.modality == "image":
        shape = (spec.channels, *(spec.image_size or (2 * spec.stride, 3 * spec.stride)))
    elif shape is None and hasattr(spec, "sequences"):  # maps
        shape = (spec.channels, 2 * spec.stride, 3 * spec.stride)
        if spec.classes:
            return torch.randint(spec.classes, (2, *shape[1:]), generator=torch.Generator().manual_seed(1))
    elif shape is None:
        shape = (spec.channels, 9)
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    return x.sigmoid() * (spec.value_range[1] - spec.value_range[0]) + spec.value_range[0] if spec.modality == "image" else 0.3 * x


@pytest.mark.parametrize(("system", "option"), OPTIONS)
def test_option_loads_and_encodes(system: str, option: str) -> None:
    sweep = SWEEPS[system]
    theirs = merged(sweep.tiny, sweep.options[option])
    state = authors_state(system, theirs, sweep)
    tok = convert(system, theirs, sweep.published(dict(state)))
    with torch.no_grad():
        x = medium(tok, sweep.shape)
        tokens = tok.encode(x, **({"features": sweep.features(tok, x)} if sweep.features else {}))
        if tok.spec.decodes:
            assert tok.decode(tokens).isfinite().all()
    assert tokens.ids.shape[0] == 2 and len(tokens.ids.unique()) > 1
    peer = sweep.peer(theirs) if sweep.peer else None
    if peer is not None:
        shake(peer.module if hasattr(peer, "module") else peer)
        ours = convert(system, theirs, peer.state_dict())
        with torch.no_grad():
            assert torch.equal(ours.encode(x).ids, peer.ids(x))


@pytest.mark.parametrize(("system", "name"), REFUSED)
def test_option_is_refused(system: str, name: str) -> None:
    change, message = SWEEPS[system].refused[name]
    with pytest.raises(ValueError, match=message):
        converter(system).own_config(merged(SWEEPS[system].tiny, change))


@pytest.mark.parametrize("system", sorted(SWEEPS))
def test_each_layout_has_a_dozen_options(system: str) -> None:
    """Or two for each setting, where there are few."""
    sweep = SWEEPS[system]
    settings = set(sweep.tiny).union(*sweep.options.values())
    assert len(sweep.options) >= min(12, 2 * len(settings))


def test_every_layout_has_a_sweep() -> None:
    assert set(SWEEPS) == set(systems())


@pytest.mark.parametrize("system", sorted(SWEEPS))
def test_map_leads_there_and_back(system: str) -> None:
    """What `write` makes of our weights, `read` makes ours again."""
    sweep, layout = SWEEPS[system], converter(system)
    if sweep.write or layout.keys is None:
        pytest.skip("this layout is only read")
    own = layout.own_config(sweep.tiny)
    tok = shake(build_tokenizer(layout.family_for(own), own))
    state = layout.write(tok.state_dict(), own)
    again = build_tokenizer(layout.family_for(own), own)
    load_strict(again, start_codebooks(again, layout.read(state, own)), system)
    after = again.state_dict()
    for name, value in tok.state_dict().items():
        if not name.endswith((".counts", ".sums", ".ready", ".steps")):
            torch.testing.assert_close(after[name], value, atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.parametrize("system", sorted(SWEEPS))
def test_authors_config_leads_there_and_back(system: str) -> None:
    layout = converter(system)
    if layout.authors_config is None:
        pytest.skip("this layout is only read")
    for change in SWEEPS[system].options.values():
        own = layout.own_config(merged(SWEEPS[system].tiny, change))
        assert layout.own_config(layout.authors_config(own)) == own
