"""Methods of `Tokenizer` that reach up to the zoo, and its summary. Run: pytest tests/codecs/test_published_methods.py"""

import subprocess
import sys

import pytest
import tokenzoo
import torch
from families import TINY
from tokenzoo.codecs.audio.spectral import SpectralCodec
from tokenzoo.codecs.image.convnet import ConvTokenizer
from tokenzoo.codecs.summary import codebooks_text
from tokenzoo.zoo.publishing import push
from waiting import PATIENCE_SECONDS


def tiny(label: str) -> tokenzoo.Tokenizer:
    torch.manual_seed(0)
    return tokenzoo.build_tokenizer(*TINY[label]).eval()


def test_save_and_load_as_methods(tmp_path):
    tok = tiny("convnet")
    assert tok.save_pretrained(tmp_path / "a") == tmp_path / "a"
    x = torch.rand(3, 20, 24) * 2 - 1
    for load in (tokenzoo.Tokenizer.from_pretrained, ConvTokenizer.from_pretrained):
        again = load(tmp_path / "a", dtype="float32")
        assert again.encode(x).ids.equal(tok.encode(x).ids)
    with pytest.raises(ValueError, match="of the family convnet, not a SpectralCodec"):
        SpectralCodec.from_pretrained(tmp_path / "a")


def test_push_as_a_method(monkeypatch):
    asked = []
    monkeypatch.setattr(push, "push_to_hub", lambda *given, **options: asked.append((given, options)) or "url")
    tok = tiny("convnet")
    assert tok.push_to_hub("acme/tok", private=True) == "url"
    assert asked == [((tok, "acme/tok"), {"private": True})]


def test_the_methods_work_when_only_a_family_is_imported():
    code = (
        "from tokenzoo.codecs.image.convnet import ConvTokenizer\nimport sys\n"
        "assert not [m for m in sys.modules if m.startswith('tokenzoo.zoo')]\n"
        "print(ConvTokenizer.from_pretrained('photo-f16-rvq7').family)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert done.stdout.strip() == "convnet", done.stderr


def test_codebooks_of_one_size_stand_together():
    assert codebooks_text((4096,) * 24) == "24 x 4096"
    assert codebooks_text((16384, *(1024,) * 11)) == "1 x 16384, 11 x 1024"
    assert codebooks_text([8, 4, 8]) == "1 x 8, 1 x 4, 1 x 8", "in their order"


def test_summary_says_what_it_is_on_one_screen():
    text = tokenzoo.load("photo-f16-rvq7").summary()
    for part in ("photo-f16-rvq7", "convnet", "7 x 1024", "0.273", "5.59 M", "float32", "CC-BY-SA-4.0", "num_codebooks", "original"):
        assert part in text
    assert len(text.splitlines()) < 30
    half = tokenzoo.load("photo-f16-rvq7", part="encoder", dtype="float16").summary()
    assert "float16" in half and "the encoder only" in half
    assert "licence" not in tiny("convnet").summary(), "none is known"


def test_options_that_no_text_can_stand_for_are_marked():
    text = tiny("flextok").summary()
    assert "noise = none (tensor or none, from Python only)" in text
    assert "seed = 0 (int)" in text
