"""Cosmos DI against the authors' outputs. Run: pytest tests/image/vqgan/test_cosmos.py"""

import json

import pytest
import torch
from image_cases import check_case
from reference import load_io, reference_folder
from tokenzoo.codecs.layers.vqgan_resampling import FoldPatches, HaarPatches
from tokenzoo.zoo.convert import convert, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.mark.parametrize("case", ["s0.", "s1."])
def test_reference(case):
    folder = reference_folder("image", "cosmos-di")
    tok, io = load_reference(folder), load_io(folder)
    check_case(tok, io, case, atol=1e-4)
    assert_close(tok.encoder.patches(io[case + "input"]), io[case + "patched"], **CLOSE)
    bounded = tok.quantizer.grid.bounded(io[case + "latent"].flatten(2))
    assert_close(bounded, io[case + "bounded"].flatten(2), **CLOSE)


@pytest.mark.parametrize("patches", [HaarPatches(4), HaarPatches(1), FoldPatches(2)])
def test_patches_go_back(patches):
    x = torch.randn(2, 3, 8, 12)
    assert_close(patches.inverse(patches(x)), x)


def test_options_that_are_not_supported_are_named():
    config = json.loads((reference_folder("image", "cosmos-di") / "config.json").read_text())
    with pytest.raises(ValueError, match="LFQ"):
        convert("cosmos-di", {**config, "quantizer": "LFQ"}, {})
    with pytest.raises(ValueError, match="LiteVAE"):
        convert("cosmos-di", {**config, "encoder": "LiteVAE"}, {})
