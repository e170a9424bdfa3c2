"""SFTok against the authors' outputs. Run: pytest tests/image/sftok/test_sftok.py"""

import dataclasses
import json

import pytest
import torch
from PIL import Image
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.image.sftok.model import SFTokConfig
from tokenzoo.codecs.image.titok.model import TextConfig
from tokenzoo.zoo.convert import convert, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 5e-5, "rtol": 1e-4}


@pytest.fixture(scope="module")
def folder():
    return reference_folder("image", "sftok")


@pytest.fixture(scope="module")
def tok(folder):
    return load_reference(folder)


def gumbel(u):
    """The authors' noise of uniform draws."""
    return -(-u.clamp(min=1e-20).log()).clamp(min=1e-20).log()


def test_ids_are_those_of_each_picture_alone(folder, tok):
    """The authors' ids of a picture change with the pictures beside it; ours are theirs in a batch of one."""
    io = load_io(folder)
    x = io["input"]
    assert_close(tok.encode_latents(x), io["latent"][:, :, 0], **CLOSE)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids, io["single.ids"]) and not torch.equal(tokens.ids, io["ids"])
    for i in range(2):
        assert torch.equal(tok.encode(x[i]).ids, tokens.ids[i : i + 1])


def test_a_training_step_plans_over_the_batch_as_the_authors(folder):
    tok, io = load_reference(folder).train(), load_io(folder)
    assert torch.equal(tok(io["input"]).quantized.ids, io["ids"])
    assert torch.equal(tok.encode(io["input"]).ids, io["single.ids"])


def test_decoding_step_by_step(folder, tok):
    io = load_io(folder)
    z_q = tok.quantizer.decode(io["ids"])
    assert_close(z_q, io["quantized_from_ids"][:, :, 0], **CLOSE)
    assert_close(tok.logits_of(z_q).flatten(2).transpose(1, 2), io["logits_all_masked"], **CLOSE)
    noise = [(gumbel(io[f"uniform.{i}.logits"]).transpose(1, 2), gumbel(io[f"uniform.{i}.confidence"])) for i in range(4)]
    codes, logits = tok.reveal(z_q, noise=noise)
    assert torch.equal(codes, io["code_ids"])
    assert_close(logits.flatten(2).transpose(1, 2), io["code_logits"], **CLOSE)
    assert_close(tok.decode_latents(z_q, noise=noise), io["decoded"], **CLOSE)


def test_pictures_do_not_depend_on_their_neighbours(folder, tok):
    tokens = tok.encode(load_io(folder)["input"])
    both = tok.decode(tokens, seed=3)
    assert_close(tok.decode(tokens[1:], seed=3), both[1:], **CLOSE)
    assert not torch.allclose(tok.decode(tokens, seed=4), both, **CLOSE)
    still = tok.decode(tokens, temperature=0.0)
    assert_close(tok.decode(tokens, temperature=0.0, seed=4), still, **CLOSE)
    assert not torch.allclose(tok.decode(tokens, temperature=0.0, steps=1), still, **CLOSE)


def test_bytes_lie_in_0_to_1(folder, tok):
    x = (load_io(folder)["input"] * 255).round().to(torch.uint8)
    picture = Image.fromarray(x[0].permute(1, 2, 0).numpy())
    assert torch.equal(tok.encode(picture).ids, tok.encode(x[:1].float() / 255).ids)


def test_training_reveals_what_its_stage_allows(folder):
    """First stage: every code is hidden. Later ones: a share of the network's own codes of a first pass, the rest hidden."""
    tok, x = load_reference(folder).train(), load_io(folder)["input"]
    seen = []
    tok.decoder.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    tok.config = dataclasses.replace(tok.config, revealed="none")
    out = tok(x)
    mask = tok.decoder.mask_id
    assert len(seen) == 1 and bool((seen[0] == mask).all()) and bool((out.features["hidden"] == 1).all())
    tok.config = dataclasses.replace(tok.config, revealed="own")
    seen.clear()
    out = tok(x)
    first, ids = tok.logits_of(out.quantized.z_q).flatten(2).argmax(1), seen[1]
    assert len(seen) == 3 and seen[0] is None and 0 < int((ids == mask).sum()) < ids.numel()
    assert torch.equal(ids[ids != mask], first[ids != mask]) and torch.equal(out.features["hidden"] == 1, ids == mask)


@pytest.mark.parametrize(("name", "value"), [("prefix", True), ("text", TextConfig()), ("output", "pixels")])
def test_settings_of_titok_that_it_does_not_have_are_refused(name, value):
    with pytest.raises(ValueError, match=f"sftok predicts codes from whole sequences of tokens. Leave {name} "):
        dataclasses.replace(SFTokConfig(), **{name: value})


def test_older_files_and_the_hubs_form_of_the_config(folder):
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    state["decoder.embedding_positional_embedding"] = state.pop("decoder.learnable_embedding_positional_embedding")
    x = load_io(folder)["input"]
    assert torch.equal(convert("sftok", {"config": config}, state).encode(x).ids, load_io(folder)["single.ids"])
