"""FlexTok against the authors' outputs. Run: pytest tests/image/flextok/test_flextok.py"""

import copy
import json

import pytest
import torch
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.image.flextok.parts import sincos_table
from tokenzoo.codecs.tokens import Tokens
from tokenzoo.zoo.convert import convert, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 2e-5, "rtol": 1e-4}


@pytest.fixture(scope="module")
def case():
    folder = reference_folder("image", "flextok")
    return load_reference(folder), load_io(folder)


def parts():
    folder = reference_folder("image", "flextok")
    return json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")


def test_reference(case):
    tok, io = case
    x, noise = io["input"], io["noise"]
    assert_close(tok.vae_encode(x), io["vae_latents"], **CLOSE)
    assert_close(tok.encode_latents(x).transpose(1, 2), io["latent"], **CLOSE)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids[:, 0], io["ids"])
    assert torch.equal(tok.encode(x[1:]).ids, tokens.ids[1:])
    z_q = tok.quantizer.decode(tokens.ids)
    assert_close(z_q.transpose(1, 2), io["quantized_from_ids"], **CLOSE)
    assert_close(tok.velocity(noise, torch.tensor([1.0, 0.35]), z_q), io["velocity_t1_and_0.35"], **CLOSE)
    assert_close(tok.sample_latents(z_q, noise=noise, steps=4), io["vae_latents_decoded"], **CLOSE)
    assert_close(tok.decode(tokens, noise=noise, steps=4), io["decoded"], **CLOSE)


@pytest.mark.parametrize("positions", [1, 4, 9])
def test_any_prefix_decodes(case, positions):
    tok, io = case
    tokens = tok.encode(io["input"]).first(positions=positions)
    z_q = tok.quantizer.decode(tokens.ids)
    assert_close(tok.sample_latents(z_q, noise=io["noise"], steps=4), io[f"vae_latents_decoded_first{positions}"], **CLOSE)
    assert_close(tok.decode(tokens, noise=io["noise"], steps=4), io[f"decoded_first{positions}"], **CLOSE)


def test_items_of_different_lengths(case):
    tok, io = case
    tokens = tok.encode(io["input"])
    mixed = Tokens.cat([tokens[0].first(positions=1), tokens[1].first(positions=9)])
    assert_close(tok.decode(mixed, noise=io["noise"], steps=4), io["decoded_mixed_lengths"], **CLOSE)


def test_guidance(case):
    tok, io = case
    tokens, noise = tok.encode(io["input"]), io["noise"]
    assert_close(tok.decode(tokens, noise=noise, steps=4, guidance=3.0), io["decoded_cfg"], **CLOSE)
    assert_close(tok.decode(tokens, noise=noise, steps=4, guidance=lambda t: 3.0), io["decoded_cfg"], **CLOSE)
    apg = tok.decode(tokens, noise=noise, steps=4, guidance=3.0, normalized_guidance=True)
    assert_close(apg, io["decoded_apg"], **CLOSE)


def test_the_seed_decides_the_pixels(case):
    tok, io = case
    tokens = tok.encode(io["input"])
    assert torch.equal(tok.decode(tokens, seed=5, steps=2), tok.decode(tokens, seed=5, steps=2))
    assert not torch.allclose(tok.decode(tokens, seed=5, steps=2), tok.decode(tokens, seed=6, steps=2), atol=1e-2)
    assert_close(tok.decode(tokens, seed=5, steps=2)[1], tok.decode(tokens[1], seed=5, steps=2)[0], **CLOSE)


def test_step_names_do_not_matter():
    """Only two step names are fixed by the authors' code: the rest is read by class."""
    config, state = parts()
    io = load_io(reference_folder("image", "flextok"))
    for side in ("encoder", "decoder"):
        steps = config[side]["module_dict"]
        config[side]["module_dict"] = {f"step{i}": v for i, v in enumerate(steps.values())}
        for i, name in enumerate(steps):
            old, new = f"{side}.module_dict.{name}.", f"{side}.module_dict.step{i}."
            state = {k.replace(old, new) if k.startswith(old) else k: v for k, v in state.items()}
    assert torch.equal(convert("flextok", config, state).encode(io["input"]).ids[:, 0], io["ids"])


def test_variants_of_positions_and_order():
    """sincos positions (a table in the checkpoint), no positions on tokens, patches first: all shapes of the authors' steps."""
    config, state = parts()
    decoder = config["decoder"]["module_dict"]
    decoder["dec_posemb"] |= {"posemb_type": "sincos", "posemb_scaling": "interpolate"}
    state["decoder.module_dict.dec_posemb.posembs"] = sincos_table(48, 8, 8)
    del decoder["dec_registers_posemb"], state["decoder.module_dict.dec_registers_posemb.posembs"]
    decoder["dec_seq_packer"]["input_list_read_keys"].reverse()
    tok = convert("flextok", config, state)
    assert tok.config.condition.steps == ("drop", "null") and not tok.config.tokens_first
    x = load_io(reference_folder("image", "flextok"))["input"]
    assert tok.decode(tok.encode(x), steps=2).shape == x.shape


def test_sincos_table_against_its_formula():
    table = sincos_table(8, 3, 5)
    assert table.shape == (1, 8, 3, 5)
    # the flat index runs with the second axis slowest and is then read as (3, 5): entry 7 is second 2, first 1
    flat = table.flatten(2)[0, :, 7]
    omega = torch.tensor([1.0, 0.01])
    expected = torch.cat([(2 * omega).sin(), (2 * omega).cos(), omega.sin(), omega.cos()])
    assert_close(flat, expected)


def test_what_hydra_spells_out_is_read():
    """The classes' own defaults written down, hydra's keys, and a class name at the top (as in the header of the weights' file)."""
    config, state = parts()
    config |= {"_target_": "flextok.flextok_wrapper.FlexTok", "_convert_": "all"}
    norm = {"_target_": "flextok.model.layers.norm.Fp32LayerNorm", "_partial_": True, "bias": False, "elementwise_affine": False}
    steps = config["encoder"]["module_dict"]
    steps["enc_transformer"] |= {"act_layer": {"_target_": "hydra.utils.get_class", "path": "torch.nn.SiLU"}, "norm_layer": norm}
    steps["enc_to_latents"] |= {"norm_layer": norm, "_recursive_": True}
    steps["enc_filter"] = {"_target_": "flextok.model.utils.dict_ops.DictKeyFilter", "allowed_keys": ["enc_latents"]}
    io = load_io(reference_folder("image", "flextok"))
    assert torch.equal(convert("flextok", config, state).encode(io["input"]).ids[:, 0], io["ids"])
    steps["enc_transformer"]["norm_layer"] = norm | {"elementwise_affine": True}
    with pytest.raises(ValueError, match="norm_layer"):
        convert("flextok", config, state)


def test_strict():
    config, state = parts()

    def changed(side, step, **values):
        new = copy.deepcopy(config)
        new[side]["module_dict"][step] |= values
        return new

    with pytest.raises(ValueError, match="scaling_factor"):
        convert("flextok", {**config, "vae": config["vae"] | {"scaling_factor": None}}, state)

    with pytest.raises(ValueError, match="use_mup_readout"):
        convert("flextok", changed("encoder", "enc_to_latents", use_mup_readout=True), state)
    with pytest.raises(ValueError, match="rope_forward_read_key"):
        convert("flextok", changed("decoder", "dec_transformer", rope_forward_read_key="rope"), state)
    with pytest.raises(ValueError, match="mask_mode"):
        convert("flextok", changed("decoder", "dec_seq_packer", mask_mode="causal"), state)
    new = copy.deepcopy(config)
    new["decoder"]["module_dict"]["dec_extra"] = {"_target_": "flextok.model.preprocessors.mask_tokens.MaskTokenModule"}
    with pytest.raises(ValueError, match="MaskTokenModule"):
        convert("flextok", new, state)
