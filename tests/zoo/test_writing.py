"""Tokenizers written in other libraries' layouts, and loaded by those libraries. Run: pytest tests/zoo/test_writing.py"""

import warnings
from pathlib import Path

import pytest
import tokenzoo
import torch
from audio_cases import shake
from layout_options import all_sweeps
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.zoo.convert import converter

SWEEPS = all_sweeps()


def tiny(system: str) -> tokenzoo.Tokenizer:
    layout = converter(system)
    own = layout.own_config(SWEEPS[system].tiny)
    torch.manual_seed(0)
    tok = shake(build_tokenizer(layout.family_for(own), own))
    if enliven := SWEEPS[system].enliven:
        enliven(tok)
    return tok


def medium(tok: tokenzoo.Tokenizer) -> torch.Tensor:
    spec, g = tok.spec, torch.Generator().manual_seed(0)
    if spec.modality == "audio":
        return 0.3 * torch.randn(1, spec.channels, 12 * spec.hop_samples, generator=g)
    size = spec.image_size or (4 * spec.stride,) * 2
    return torch.rand(1, spec.channels, *size, generator=g) * (spec.value_range[1] - spec.value_range[0]) + spec.value_range[0]


@pytest.mark.parametrize("system", tokenzoo.writable_layouts())
def test_what_is_written_loads_again(system: str, tmp_path: Path) -> None:
    tok = tiny(system)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tokenzoo.save_pretrained(tok, tmp_path / "m", layout=system)
        again = tokenzoo.load(tmp_path / "m")
    assert again.family == tok.family and {p.name for p in (tmp_path / "m").iterdir()} == set(converter(system).files)
    if tok.spec.modality in ("audio", "image"):
        x = medium(tok)
        assert torch.equal(again.encode(x).ids, tok.encode(x).ids)
    half = tokenzoo.save_pretrained(tok, tmp_path / "half", layout=system, dtype=torch.float16)
    sizes = [(p / converter(system).files[1]).stat().st_size for p in (half, tmp_path / "m")]
    assert sizes[0] < sizes[1]


PEERS = {
    "encodec-hf": ("transformers", "EncodecModel", lambda m, x: m.encode(x, bandwidth=m.config.target_bandwidths[-1]).audio_codes[0]),
    "dac-hf": ("transformers", "DacModel", lambda m, x: m.encode(x).audio_codes),
    "mimi-hf": ("transformers", "MimiModel", lambda m, x: m.encode(x).audio_codes),
    "wavtokenizer-hf": ("transformers", "WavTokenizerModel", lambda m, x: m.encode(x).audio_codes),
    "diffusers-vqmodel": ("diffusers", "VQModel", lambda m, x: m.quantize(m.encode(x).latents)[2][2].view(len(x), 1, -1)),
}


@pytest.mark.parametrize("system", sorted(PEERS))
def test_the_other_library_loads_what_is_written(system: str, tmp_path: Path) -> None:
    package, name, ids = PEERS[system]
    library = pytest.importorskip(package, reason=f"needs {package}")
    tok = tiny(system)
    tokenzoo.save_pretrained(tok, tmp_path, layout=system)
    kwargs = {"output_loading_info": True}
    peer, report = getattr(library, name).from_pretrained(tmp_path, **kwargs)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    x = medium(tok)
    with torch.no_grad():
        theirs = ids(peer.eval(), x)
    ours = tok.encode(x).ids
    assert torch.equal(ours, theirs[:, : ours.shape[1]].long()) and len(ours.unique()) > 1


def test_layouts_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    tok = tiny("dac-hf")
    with pytest.raises(ValueError, match=r"belongs to the family 'encodec'; layouts that can be written for 'dac': dac, dac-hf"):
        tokenzoo.save_pretrained(tok, tmp_path / "m", layout="encodec-hf")
    with pytest.raises(ValueError, match="only read"):
        tokenzoo.save_pretrained(tok, tmp_path / "m", layout="karl")
    with pytest.raises(ValueError, match=r"unknown layout 'dac-hff'.*'dac-hf'"):
        tokenzoo.save_pretrained(tok, tmp_path / "m", layout="dac-hff")
    assert not (tmp_path / "m").exists()


def test_a_network_that_a_layout_has_no_words_for_is_refused(tmp_path: Path) -> None:
    """transformers' DAC has one width of codes; the authors' class may have one for each codebook."""
    layout = converter("dac")
    own = layout.own_config(SWEEPS["dac"].tiny | {"codebook_dim": [4, 3, 5]})
    with pytest.raises(ValueError, match=r"dac-hf.*codebook_dim"):
        tokenzoo.save_pretrained(build_tokenizer("dac", own), tmp_path / "m", layout="dac-hf")
    assert not (tmp_path / "m").exists()
