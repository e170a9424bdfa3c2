"""transformers' own picture tokenizers against stored outputs: Chameleon, Janus, Apertus, alone and inside a whole model.

    pytest tests/codecs/layouts/test_vq_of_transformers.py
"""

import dataclasses
import json

import pytest
import torch
from image_cases import enliven
from layout_options import all_sweeps
from reference import load_io, reference_folder
from safetensors.torch import load_file, save_file
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.layouts.nested import NESTED, nested_of
from tokenzoo.codecs.quantizers.lfq import LFQConfig
from tokenzoo.codecs.tokenizer import NotDecodable
from tokenzoo.zoo.convert import convert, converter, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 5e-5, "rtol": 1e-4}


def check_ids(tok, io, case):
    x, z = io[case + "input"], io[case + "latent"]
    assert_close(tok.encode_latents(x), z.flatten(2), **CLOSE)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids[:, 0], io[case + "ids"].flatten(1).long()) and tokens.grid == tuple(z.shape[-2:])
    assert torch.equal(tok.encode(x[:1]).ids, tokens.ids[:1])
    return tokens


@pytest.mark.parametrize("case", ["s0.", "s1."])
@pytest.mark.parametrize("folder", ["chameleon-vq-hf", "apertus-vision-hf"])
def test_encoders(folder, case):
    folder = reference_folder("image", folder)
    tok, io = load_reference(folder), load_io(folder)
    tokens = check_ids(tok, io, case)
    assert_close(tok.quantizer.decode(tokens.ids), io[case + "quantized_from_ids"].flatten(2), **CLOSE)
    assert not tok.spec.decodes and tok.decoder is None
    with pytest.raises(NotDecodable, match="only encodes"):
        tok.decode(tokens)
    with pytest.raises(NotDecodable, match="only encodes"):
        tok.decode_latents(io[case + "latent"].flatten(2), tokens.grid)
    if case + "quantized" in io:
        assert_close(tok(io[case + "input"]).x_hat, io[case + "quantized"].flatten(2), **CLOSE)


@pytest.mark.parametrize("case", ["s0.", "s1."])
def test_janus(case):
    """It searches latents and codes as they are, and decodes codes of length 1."""
    folder = reference_folder("image", "janus-vq-hf")
    tok, io = load_reference(folder), load_io(folder)
    tokens = check_ids(tok, io, case)
    if case == "s0.":
        assert_close(tok.quantizer.decode(tokens.ids), io["s0.quantized_from_ids"].flatten(2), **CLOSE)
        assert_close(tok.decode(tokens), io["s0.decoded"], **CLOSE)
        assert_close(tok(io["s0.input"]).x_hat, io["s0.forward"], **CLOSE)


@pytest.mark.parametrize("case", ["s0.", "s1."])
def test_inside_a_whole_model(case):
    """Config and keys out of a whole Chameleon in shards."""
    folder = reference_folder("image", "nested-vq-hf")
    whole = json.loads((folder / "config.json").read_text())
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    nested = nested_of(whole)
    names = nested.names(list(index))
    shards = {index[k] for k in names}
    state = {names[k]: v for s in shards for k, v in load_file(folder / s).items() if k in names}
    tok = convert(nested.system, nested.config(whole), state)
    check_ids(tok, load_io(folder), case)


def test_prefixes_of_whole_models():
    keys = ["model.vqmodel.quant_conv.bias", "model.layers.0.weight", "lm_head.weight"]
    assert NESTED["chameleon"].names(keys) == {"model.vqmodel.quant_conv.bias": "quant_conv.bias"}
    assert NESTED["emu3"].names(["vqmodel.quantize.x", "text_model.x"]) == {"vqmodel.quantize.x": "quantize.x"}  # 4.4x
    glm = ["model.visual.a", "model.vqmodel.b", "model.language_model.c"]
    assert NESTED["glm_image"].names(glm) == {"model.visual.a": "visual.a", "model.vqmodel.b": "vqmodel.b"}
    assert NESTED["janus"].config({"vq_config": {"embed_dim": 4}}) == {"embed_dim": 4} and NESTED["janus"].config({}) == {}
    assert nested_of({"model_type": "llama"}) is None


WRITTEN = ["taming-vqgan", "llamagen", "janus_vqgan-hf", "diffusers-vqmodel", "apertus1p5_vision_tokenizer-hf"]


@pytest.mark.parametrize("system", WRITTEN)
def test_networks_that_a_layout_cannot_say_are_refused(system):
    """Before a file is written that would load as another network."""
    layout = converter(system)
    own = layout.own_config(all_sweeps()[system].tiny)
    assert layout.authors_config(dataclasses.replace(own, encoder=dataclasses.replace(own.encoder, dropout=0.2)))
    for change in ({"quant_kernel": 3}, {"network_range": (0.0, 1.0)}, {"encoder": dataclasses.replace(own.encoder, head_kernel=1)}):
        with pytest.raises(ValueError, match="the authors' config cannot express"):
            layout.authors_config(dataclasses.replace(own, **change))
    with pytest.raises(ValueError, match="quantizer is 'lfq'; the authors' class has"):
        layout.authors_config(dataclasses.replace(own, quantizer=LFQConfig(bits=4)))


def test_transformers_reads_what_we_write_for_janus(tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    layout = converter("janus_vqgan-hf")
    own = layout.own_config(all_sweeps()["janus_vqgan-hf"].tiny)
    tok = build_tokenizer("vqgan", own).eval()
    enliven(tok)
    config_name, weights_name = layout.files
    (tmp_path / config_name).write_text(json.dumps(layout.authors_config(own)))
    state = {k: v.contiguous() for k, v in layout.write(tok.state_dict(), own).items()}
    save_file(state, tmp_path / weights_name, metadata={"format": "pt"})
    peer = transformers.JanusVQVAE.from_pretrained(tmp_path).eval()
    x = torch.rand(2, 3, 16, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        ids = peer.encode(x, return_dict=True).image_tokens.view(2, 1, -1)
    assert torch.equal(tok.encode(x).ids, ids) and len(ids.unique()) > 3
