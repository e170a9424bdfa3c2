"""The lines of code on each family's page run, with a tiny form of the family in place of its published weights.

pytest tests/docs/test_family_code.py -k mimi
"""

import sys

import numpy as np
import pytest
import soundfile
import tokenzoo
import torch
from contract_cases import build
from families import TINY
from page_blocks import ROOT
from PIL import Image

if not (ROOT / "docs").is_dir():
    pytest.skip("not a checkout", allow_module_level=True)
sys.path.insert(0, str(ROOT / "docs"))

import family_pages

FOUND = family_pages.families()


@pytest.mark.parametrize("family", [f for f, cards in FOUND.items() if family_pages.modality(f, cards) != "latent"])
def test_the_lines_run(family, tmp_path, monkeypatch):
    label = next(label for label, (name, _) in TINY.items() if name == family)
    tiny = build(label).eval()
    monkeypatch.chdir(tmp_path)
    height, width = tiny.spec.image_size or (64, 64) if tiny.spec.modality == "image" else (64, 64)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)).save("photo.jpg")
    soundfile.write("speech.wav", np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    loaded = []
    monkeypatch.setattr(tokenzoo, "load", lambda name: loaded.append(name) or tiny, raising=False)
    monkeypatch.setattr(tokenzoo, "build_tokenizer", lambda name: tiny, raising=False)
    names: dict = {}
    exec("\n".join(family_pages.code(family, FOUND[family])[1:-1]), names)
    assert isinstance(names["tokens"], tokenzoo.Tokens) and names["tokens"].ids.shape[0] == 1
    assert (not FOUND[family] or loaded) and all(name in {c.name for c in FOUND[family]} for name in loaded)
    media = names.get("picture", names.get("wave"))
    assert media is None or (torch.is_tensor(media) and bool(torch.isfinite(media).all()))
