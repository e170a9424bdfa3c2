"""Every reference folder's weights through its layout's map and back: the authors' names and shapes, and our values.

    pytest tests/codecs/layouts/test_goldens_there_and_back.py -s
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from reference import SHIPPED
from safetensors.torch import load_file
from tokenzoo.codecs.layouts.keymap import NotWritable, fold_weight_norm, matches
from tokenzoo.codecs.layouts.layout import Layout
from tokenzoo.codecs.layouts.nested import nested_of
from tokenzoo.codecs.layouts.systems import converter, system_of_config, systems

#: Running numbers of codebooks, which the layouts may make anew.
_LEARNT_HERE = (".counts", ".sums", ".ready", ".steps")


def folders() -> list[Path]:
    """Reference folders with weights, of the shipped ones and those of TOKENZOO_GOLDENS."""
    roots = [SHIPPED] + ([Path(os.environ["TOKENZOO_GOLDENS"])] if os.environ.get("TOKENZOO_GOLDENS") else [])
    found = {p.parent.name: p.parent for root in roots for p in sorted(root.glob("*/*/config.json"))}
    return [found[name] for name in sorted(found)]


def system_of(folder: Path, config: dict[str, Any]) -> str | None:
    """The layout that the folder is named after, or that its config names, or that the folder's name begins with."""
    known = [s for s in systems() if folder.name.startswith((s + "-", s + "_"))]
    named = folder.name if folder.name in systems() else system_of_config(config)
    return named or max(known, key=len, default=None)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of the folder's weight files."""
    files = [p for p in sorted(folder.glob("*.safetensors")) if p.name != "io.safetensors"]
    return {k: v for p in files for k, v in load_file(p).items()}


#: Names that a layout reads too and writes, where what the folder holds cannot be made again: means of counted sums.
READ_TOO = {"longcat-audio-codec-speech": ("**.feature_extractor.cmvn.cmvn_{mean|scale}",)}

#: What became of each folder, for the line at the end.
OUTCOMES: dict[str, str] = {}


@pytest.mark.parametrize("folder", folders(), ids=lambda p: p.name)
def test_map_leads_there_and_back(folder: Path) -> None:
    OUTCOMES[folder.name] = "failed"
    config, whole = json.loads((folder / "config.json").read_text()), weights_of(folder)
    nested, state = nested_of(config), whole
    if nested is not None:
        names = nested.names(list(state))
        config, state = nested.config(config), {own: state[k] for k, own in names.items()}
    system = nested.system if nested is not None else system_of(folder, config)
    layout = converter(system) if system else None
    if not isinstance(layout, Layout) or layout.keys is None:
        OUTCOMES[folder.name] = "no map"
        pytest.skip("no layout of this folder says its weights by a map")
    own_config = layout.own_config(config)
    own = layout.read(state, own_config)
    try:
        written = layout.write(own, own_config)
    except NotWritable as error:
        OUTCOMES[folder.name] = "only read"
        pytest.skip(str(error))

    published, ours = fold_weight_norm(whole | state), fold_weight_norm(written)
    ours = {k: v for k, v in ours.items() if not matches(k, READ_TOO.get(folder.name, ()))}
    unknown = sorted(set(ours) - set(published))
    assert not unknown, f"names that the authors' file lacks, where it has {sorted(set(published) - set(ours))[:5]}: {unknown[:5]}"
    shapes = {k: (tuple(v.shape), tuple(published[k].shape)) for k, v in ours.items()}
    wrong = {k: pair for k, pair in shapes.items() if pair[0] != pair[1]}
    assert not wrong, f"shapes that the authors' weights have not: {wrong}"

    again = layout.read(written, own_config)
    for name, value in own.items():
        if not name.endswith(_LEARNT_HERE):
            torch.testing.assert_close(again[name], value, atol=1e-6, rtol=1e-5, msg=name)
    OUTCOMES[folder.name] = "written"


def test_most_layouts_are_written() -> None:
    """Runs last: a line that counts."""
    if not OUTCOMES:
        pytest.skip("no folder was looked at")
    counts = {kind: sorted(n for n, o in OUTCOMES.items() if o == kind) for kind in ("written", "only read", "no map", "failed")}
    print(f"\n{len(counts['written'])} of {len(OUTCOMES)} reference folders can be written back; only read: {counts['only read']}; "
          f"no map: {counts['no map']}")  # fmt: skip
    assert counts["written"]
