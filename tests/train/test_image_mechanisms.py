"""What training mechanisms of image tokenizers do, each against the same run without it.

    pytest -m "slow or not slow" tests/train/test_image_mechanisms.py
"""

import pytest
import torch
from small_runs import error, held_out, start, trained, write_photo
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.image.flextok import parts as flextok_parts
from tokenzoo.codecs.image.xqgan.model import PerturbationConfig

SIZE = {"width": 64, "layers": 1, "heads": 2}
CODES = {"kind": "vq", "codebook_size": 128, "normalize": True, "returns": "normalized", "update": "gradient"}
PIXELS = {"pixel": {"distance": "l2", "weight": 10.0}, "quantizer": {}}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photo(tmp_path_factory.mktemp("photo"))


def test_tail_token_drop_puts_the_picture_into_the_first_tokens(photos, tmp_path):
    """One-D-Piece (arXiv 2501.10064): the first tokens of 8 reconstruct better; all of them pay for it."""
    config = {
        "image_size": 16, "encoder_patch_size": 4, "decoder_patch_size": 4, "encoder": SIZE, "decoder": SIZE, "num_latents": 8,
        "latent_dim": 8, "quantizer": CODES,
    }  # fmt: skip
    x, errors = held_out(96, 16), {}
    for drop in (True, False):
        tokenizer = trained(start("titok", config | {"prefix": drop}), photos, tmp_path / str(drop), PIXELS, steps=900)
        reader = build_tokenizer("titok", config | {"prefix": True}).eval()  # decodes prefixes whatever was trained
        reader.load_state_dict(tokenizer.state_dict())
        tokens = reader.encode(x)
        errors[drop] = {n: error(reader.decode(tokens.first(positions=n)), x) for n in (1, 2, 8)}
    assert errors[True][1] < 0.75 * errors[False][1] and errors[True][2] < 0.75 * errors[False][2], errors
    assert errors[True][8] < errors[True][1], errors


def test_nested_dropout_of_registers_lets_the_first_ones_guide_the_flow(photos, tmp_path, monkeypatch):
    """FlexTok (arXiv 2502.13967): the velocity under one of 8 tokens is nearer to the true one."""
    down, up = ["DownEncoderBlock2D"] * 2, ["UpDecoderBlock2D"] * 2
    stages = {"down_block_types": down, "up_block_types": up, "block_out_channels": [16, 32]}
    size = {"width": 64, "layers": 1, "head_width": 32}
    config = {
        "image_size": [16, 16],
        "vae": stages | {"layers_per_block": 1, "norm_num_groups": 8, "latent_channels": 4},
        "vae_scale": 4.0,
        "sample_posterior": False,
        "train_pixels": False,
        "zero_init": False,
        "encoder": size,
        "decoder": size,
        "num_registers": 8,
        "latent_dim": 8,
        "quantizer": CODES,
        "condition": {"null_probability": 0.1, "drop_sampling": "uniform"},
    }
    flow = {"flow": {"kind": "own_feature", "feature": "velocity", "target": "velocity_target", "along": "mse"}, "quantizer": {}}
    x, errors, sample = held_out(48, 16, (-1.0, 1.0)), {}, flextok_parts.TokenCondition._sample
    for drop in (True, False):
        monkeypatch.setattr(flextok_parts.TokenCondition, "_sample", sample if drop else lambda self, n: n)
        tokenizer = trained(start("flextok", config), photos, tmp_path / str(drop), flow, steps=600)
        errors[drop] = {n: velocity_error(tokenizer, x, n) for n in (1, 8)}
    assert errors[True][1] < errors[False][1] - 0.01, errors
    assert errors[False][8] < errors[False][1] - 0.01, errors  # else the tokens said nothing


@torch.no_grad()
def velocity_error(tokenizer, x, count):
    """Mean square error over three times of the flow, with the first `count` tokens as condition."""
    clean = tokenizer.vae_encode(x)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(5))
    z_q = tokenizer.quantizer.decode(tokenizer.encode(x).ids)[:, :, :count]
    times = (0.3, 0.6, 0.9)
    found = [tokenizer.velocity(t * noise + (1 - t) * clean, torch.full((len(x),), t), z_q) for t in times]
    return sum(error(v, noise - clean) for v in found) / len(times)


def test_latent_perturbation_makes_the_decoder_forgive_wrong_ids(photos, tmp_path):
    """RobusTok (arXiv 2503.08354, 2509.12474): with any code in the place of every second one, less of the picture is lost."""
    config = {"image_size": 16, "patch_size": 4, "encoder": SIZE, "decoder": SIZE, "grid_size": 4, "latent_dim": 8, "quantizer": CODES}
    x, lost = held_out(96, 16, (-1.0, 1.0)), {}
    wrong = PerturbationConfig(rate=0.5, share=1.0, neighbours=128)
    adam = {"lr": 4e-3, "betas": [0.9, 0.95], "schedule": {"kind": "cosine", "warmup_steps": 30}}
    for perturbation in ({"rate": 0.5, "share": 0.7, "neighbours": 128}, None):
        tokenizer = start("xqgan", config | {"perturbation": perturbation})
        trained(tokenizer, photos, tmp_path / str(bool(perturbation)), PIXELS, steps=600, optimizer=adam)
        with torch.no_grad():
            z = tokenizer.encode_latents(x)
            z_q = tokenizer.quantizer(z).z_q
            torch.manual_seed(1)
            lost[bool(perturbation)] = (
                error(tokenizer.decode_latents(z_q), x),
                error(tokenizer.decode_latents(tokenizer.perturb(z, z_q, wrong)), x),
            )
    assert lost[True][1] < 0.85 * lost[False][1], lost
    assert lost[False][0] < 0.5 * lost[False][1], lost  # else no id was wrong enough to see
