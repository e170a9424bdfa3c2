"""taming's VQGANs, IBQ and Emu3.5 against the authors' outputs. Run: pytest tests/image/vqgan/test_taming.py"""

import json

import pytest
import torch
from image_cases import check_case
from reference import load_io, reference_folder
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.zoo.convert import convert, converter, load_reference
from torch.testing import assert_close

TOLERANCE = {"taming-vqgan": 5e-5, "taming-gumbel": 2e-4, "ibq": 1e-4, "emu3.5-ibq": 5e-5}


@pytest.mark.parametrize("case", ["s0.", "s1."])
@pytest.mark.parametrize("system", TOLERANCE)
def test_reference(system, case):
    folder = reference_folder("image", system)
    check_case(load_reference(folder), load_io(folder), case, atol=TOLERANCE[system])


@pytest.mark.parametrize("case", ["s0.", "s1."])
def test_gumbel_noise(case):
    folder = reference_folder("image", "taming-gumbel")
    tok, io = load_reference(folder), load_io(folder)
    z = tok.encode_latents(io[case + "input"])
    assert_close(tok.quantizer.logits(z), io[case + "logits"].flatten(2), atol=2e-4, rtol=1e-4)
    ids = tok.quantizer.draw(z, noise=io[case + "gumbel_noise"].flatten(2))
    assert torch.equal(ids[:, 0], io[case + "ids_noisy"].flatten(1))
    z_q = tok.quantizer.decode(ids)
    assert_close(z_q, io[case + "quantized_noisy"].flatten(2), atol=2e-4, rtol=1e-4)
    y = tok.decode_latents(z_q, tuple(io[case + "latent"].shape[-2:]))
    assert_close(y, io[case + "decoded_noisy"], atol=2e-4, rtol=1e-4)


def test_a_checkpoint_of_the_trainer_loads_with_its_averages():
    """Lightning files hold losses, and averaged weights under names without dots; the averages are what is used."""
    folder = reference_folder("image", "ibq")
    config = json.loads((folder / "config.json").read_text())
    from safetensors.torch import load_file

    state = load_file(folder / "weights.safetensors")
    averages = {"model_ema." + k.replace(".", ""): v for k, v in state.items()}
    raw = {k: torch.zeros_like(v) for k, v in state.items()}
    wrapped = {
        "state_dict": {
            **raw,
            **averages,
            "loss.discriminator.main.0.weight": torch.zeros(1),
            "model_ema.decay": torch.zeros(()),
        }
    }
    tok, plain = convert("ibq", config, wrapped), convert("ibq", config, state)
    x = load_io(folder)["s0.input"]
    assert tok.encode(x).equal(plain.encode(x))


@pytest.mark.parametrize("case", ["s0.", "s1."])
def test_ibq_scores_and_losses(case):
    folder = reference_folder("image", "ibq")
    tok, io = load_reference(folder), load_io(folder)
    z, close = io[case + "latent"].flatten(2), {"atol": 1e-4, "rtol": 1e-4}
    logits = torch.einsum("dl,vd->vl", z[0], tok.quantizer.embed)
    assert_close(logits, io[case + "logits"][0].flatten(1), **close)
    metrics = tok.quantizer(z).metrics
    ours = torch.stack([metrics[n] for n in ("code", "position_entropy", "code_entropy", "entropy")])
    assert_close(ours, io[case + "losses"], **close)


def test_strict_both_ways():
    folder = reference_folder("image", "taming-vqgan")
    config = json.loads((folder / "config.json").read_text())
    with pytest.warns(UserWarning, match="norm_kind"):  # taming's encoder swallows what it does not know
        converter("taming-vqgan").own_config({**config, "ddconfig": {**config["ddconfig"], "norm_kind": "batch"}})
    with pytest.raises(ValueError, match="n_embeds"):
        converter("taming-vqgan").own_config({**config, "n_embeds": 4})
    with pytest.raises(ValueError, match="double_z"):
        convert("taming-vqgan", {**config, "ddconfig": {**config["ddconfig"], "double_z": True}}, {})
    with pytest.raises(ValueError, match="remap"):
        convert("taming-vqgan", {**config, "remap": "used.npy"}, {})
    with pytest.raises(CheckpointError, match="encoder.extra"):
        convert("taming-vqgan", config, {"encoder.extra": torch.zeros(1)})
