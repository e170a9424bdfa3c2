"""BSQ-ViT against the authors' outputs. Run: pytest tests/image/bsq_vit/test_bsq_vit.py"""

import json

import pytest
import torch
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.zoo.convert import convert, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 2e-5, "rtol": 1e-4}


def parts():
    folder = reference_folder("image", "bsq-vit")
    return json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors"), load_io(folder)


def test_reference():
    folder = reference_folder("image", "bsq-vit")
    tok, io = load_reference(folder), load_io(folder)
    x = io["input"]
    assert_close(tok.encode_latents(x).transpose(1, 2), io["latent"], **CLOSE)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids[:, 0], io["ids"]) and tokens.grid == (4, 4)
    assert torch.equal(tok.encode(x[1:]).ids[:, 0], io["ids"][1:])
    groups = torch.stack([tokens.ids[:, 0] >> 9, tokens.ids[:, 0] & 511], dim=-1)  # two ids of 9 bits
    assert torch.equal(groups, io["group_ids"])
    assert_close(tok.quantizer.decode(tokens.ids).transpose(1, 2), io["quantized_from_ids"], **CLOSE)
    assert_close(tok.decode(tokens), io["decoded"], **CLOSE)
    out = tok(x)
    assert_close(out.x_hat.clamp(-1, 1), io["forward"], **CLOSE)
    assert_close(out.quantized.loss, io["quantizer_loss"][0], **CLOSE)  # with the commitment weight that `beta` does not set
    assert_close(out.quantized.metrics["code_entropy"], io["codebook_entropy"][0], **CLOSE)


def test_codes_of_length_one_or_not():
    """`post_q_l2_norm` false leaves the codes at +-1; the ids stay."""
    config, state, io = parts()
    tok = convert("bsq-vit", {**config, "post_q_l2_norm": False}, state)
    tokens = tok.encode(io["input"])
    assert torch.equal(tokens.ids[:, 0], io["ids"])
    assert_close(tok.quantizer.decode(tokens.ids).transpose(1, 2), io["quantized_from_ids"] * 18**0.5, **CLOSE)


def test_logit_laplace_doubles_the_channels():
    config, state, io = parts()
    config |= {"logit_laplace": True, "clamp_range": [0, 1]}
    state["decoder.conv_out.weight"] = state["decoder.conv_out.weight"].repeat(2, 1)
    state["decoder.conv_out.bias"] = state["decoder.conv_out.bias"].repeat(2)
    tok = convert("bsq-vit", config, state)
    z_q = io["quantized_from_ids"].transpose(1, 2)
    assert_close(tok.decode_raw(z_q)[:, :3], io["decoded"], **CLOSE)
    y = tok.decode_latents(z_q)
    assert_close(y, ((io["decoded"].sigmoid() - 0.1) / 0.8).clamp(0, 1), **CLOSE)


@pytest.mark.parametrize("mask", ["none", "causal", "block-causal"])
def test_masks_bound_what_an_id_sees(mask):
    config, state, io = parts()
    config["vitconfig"] |= {"mask_type": mask, "mask_block_size": 4}
    config["dvitconfig"] |= {"mask_type": mask, "mask_block_size": 4}
    tok = convert("bsq-vit", config, state)
    x = io["input"].clone()
    before = tok.encode_latents(x)
    x[:, :, -8:, -8:] = 0  # the last of 16 patches
    changed = (tok.encode_latents(x) - before).abs().amax(dim=(0, 1)) > 1e-6
    first = {"none": 0, "causal": 15, "block-causal": 12}[mask]
    assert not changed[:first].any() and changed[first:].all()


def test_more_bits_are_more_ids():
    config, state, io = parts()
    config |= {"embed_dim": 36}
    for key in ("quant_embed.weight", "quant_embed.bias"):
        state[key] = torch.cat([state[key]] * 2)
    state["post_quant_embed.weight"] = torch.cat([state["post_quant_embed.weight"]] * 2, dim=1)
    tok = convert("bsq-vit", config, state)
    tokens = tok.encode(io["input"])
    assert tokens.vocab_sizes == (2**18, 2**18)
    assert torch.equal(tokens.ids, io["ids"][:, None].expand(-1, 2, -1))


def test_strict():
    config, state, _ = parts()
    with pytest.raises(ValueError, match="num_frames"):
        convert("bsq-vit", {**config, "vitconfig": {**config["vitconfig"], "num_frames": 8}}, state)
    with pytest.raises(ValueError, match="n_embed"):
        convert("bsq-vit", {**config, "n_embed": 8}, state)
