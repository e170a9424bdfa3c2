"""LongCat-Next's image refiner against the authors' classes, and as an option of `decode`.

Run: pytest tests/image/longcat_next/test_refiner.py
"""

import functools
import json

import pytest
import tokenzoo
import torch
from cli_runs import run
from formula_weights import formula, wave
from image.longcat_next.tiny import TINY
from PIL import Image
from safetensors.torch import save_file
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.image.longcat_next.model import LongCatNext
from tokenzoo.codecs.image.longcat_next.refiner import Refiner, RefinerConfig
from tokenzoo.codecs.image.longcat_next.refiner_keys import refiner_config, refiner_keys
from tokenzoo.codecs.serialize import CheckpointError, load_folder, save_folder
from torch.testing import assert_close

TRANSFORMER = {
    "patch_size": 2, "in_channels": 4, "out_channels": None, "hidden_size": 24, "num_layers": 2, "num_refiner_layers": 1,
    "num_attention_heads": 4, "num_kv_heads": 2, "multiple_of": 8, "ffn_dim_multiplier": None, "norm_eps": 1e-5,
    "axes_dim_rope": [2, 2, 2], "axes_lens": [60, 40, 40], "text_feat_dim": 10, "timestep_scale": 1000.0,
}  # fmt: skip
VAE = {
    "block_out_channels": [4, 8], "down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2,
    "norm_num_groups": 2, "latent_channels": 4, "layers_per_block": 1, "scaling_factor": 0.3611, "shift_factor": 0.1159,
    "use_quant_conv": False, "use_post_quant_conv": False,
}  # fmt: skip


def config(code_dim: int = 10, **change) -> dict:
    """The part of a config.json that describes the refiner, in the authors' terms."""
    decoder = {"codebook_dim": code_dim, "transformer_config": TRANSFORMER | change, "vae_config": VAE, "image_decoder_config": {}}
    decoder["scheduler_config"] = {"num_train_timesteps": 1000, "dynamic_time_shift": True}
    return {"model_type": "longcat_next", "visual_config": {"hidden_size": 16, "visual_decoder_config": decoder}}


def authors_state(module: Refiner) -> dict[str, torch.Tensor]:
    """The authors' names, with weights by the formula."""
    return formula({k: v.shape for k, v in refiner_keys().write(module.state_dict()).items()})


def refiner(code_dim: int = 10, **change) -> Refiner:
    """A small refiner with weights by the formula."""
    module = Refiner(refiner_config(config(code_dim, **change))).eval()
    module.load_state_dict(refiner_keys().read(authors_state(module)))
    return module


def plain() -> LongCatNext:
    torch.manual_seed(0)
    return tokenzoo.build_tokenizer(*TINY["longcat-next"]).eval()


@functools.cache
def refining() -> LongCatNext:
    return plain().set_refiner(refiner(4))


def pictures(count: int, height: int = 8, width: int = 12) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


#: By the width of the codes: every ninth number of the velocity `[4, 8, 6]` that the authors' `Transformer2DModel` returns with and
#: without a picture, and every 67th of the picture `[3, 32, 20]` in 0..1 that their pipeline draws in 3 steps.
VELOCITY = {
    (6, True): [
        0.12688, 1.17675, -0.80816, 0.70397, 0.00641, 0.19757, 0.509, -0.58855, 0.76601, 0.48063, -0.6293, -1.23541, 0.72054,
        -0.47111, 0.66725, -0.32037, -0.40697, -0.94087, -0.36834, -0.26147, 0.80836, -0.85062,
    ],
    (6, False): [
        0.68847, 1.29638, -0.83573, 0.73283, -0.11013, 0.30316, 0.79414, -0.58856, 1.1781, 0.49327, -0.7727, -1.36159, 0.72873,
        -0.48183, 0.90841, -0.3805, -0.53188, -0.99888, -0.42318, -0.26566, 0.92722, -0.73445,
    ],
    (10, True): [
        0.11356, 0.97084, -0.89337, 0.93742, -0.27951, -0.00854, 0.50113, -0.1363, 0.69019, 0.37683, -0.76167, -0.96614, 0.71579,
        -0.29704, 0.34374, 0.00042, -0.40279, -0.67088, -0.63607, -0.06807, 0.85783, -0.41289,
    ],
}  # fmt: skip
DRAWN = {
    6: [
        0.45485, 1.0, 0.92892, 0.92919, 0.61963, 0.61075, 0.43792, 0.60091, 0.524, 0.484, 0.29781, 0.02756, 0.0, 0.26617, 0.49347,
        0.29791, 0.00962, 0.35031, 0.41685, 0.35549, 0.52439, 0.15898, 0.09764, 0.63817, 0.0, 0.3355, 0.48081, 0.55681, 0.0,
    ],
    10: [
        0.5796, 0.32298, 0.29065, 0.08238, 0.0, 0.50641, 0.54357, 0.4659, 1.0, 0.29601, 0.36953, 0.58503, 0.65414, 0.56988, 0.38645,
        0.0, 1.0, 0.16428, 0.15822, 0.44523, 0.4678, 0.8111, 0.43942, 0.45619, 1.0, 0.26317, 0.85161, 0.85327, 0.52946,
    ],
}  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize(("code_dim", "with_picture"), VELOCITY)
def test_velocity_equals_the_authors(code_dim, with_picture):
    module = refiner(code_dim)
    x, z, codes = wave(1, 4, 8, 6, rate=1.3), wave(1, 4, 8, 6, rate=0.9), module.map_code(wave(1, 6, code_dim))
    v = module.transformer(x, torch.tensor([0.3]), codes, z if with_picture else None)
    assert_close(v.flatten()[::9], torch.tensor(VELOCITY[code_dim, with_picture]), atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("code_dim", DRAWN)
def test_pictures_equal_the_authors(code_dim):
    picture = wave(1, 3, 30, 20, rate=0.37) * 0.6 + 0.5  # some values are clipped, the height is resized
    y = refiner(code_dim)(wave(1, 6, code_dim), picture, seed=5, steps=3, image_guidance=2.0)
    assert y.shape == (1, 3, 32, 20)
    assert_close(y.clamp(0, 1).flatten()[::67], torch.tensor(DRAWN[code_dim]), atol=5e-5, rtol=0)


@torch.no_grad()
def test_guidance():
    """Both weights; with that of the picture alone the authors leave the codes out."""
    module, calls = refiner(), []
    module.transformer.register_forward_hook(lambda _, args, __: calls.append((bool(args[2].any()), len(args) > 3)))
    x, codes, picture, t = wave(1, 4, 4, 4), wave(1, 6, 10), wave(1, 4, 4, 4, rate=0.9), torch.tensor([0.5])
    both, base, free = (module.transformer(x, t, *c) for c in ((codes, picture), (codes * 0, picture), (codes * 0,)))
    for weights, want in {(1, 1): both, (2, 1): free + 2 * (both - free), (1, 2): free + 2 * (base - free),
                          (2, 3): free + 3 * (base - free) + 2 * (both - base)}.items():  # fmt: skip
        calls.clear()
        assert_close(module.guided(x, t, codes, picture, *weights), want)
        assert len(calls) == {(1, 1): 1, (2, 1): 2, (1, 2): 2, (2, 3): 3}[weights]


def test_decode():
    tok, x = refining(), pictures(2)
    tokens = tok.encode(x)
    coarse = tok.decode(tokens)
    y = tok.decode(tokens, steps=2, seed=4)
    assert y.shape == x.shape and not torch.allclose(y, coarse, atol=1e-2) and torch.equal(coarse, tok.decode(tokens))
    assert tok.decode(tokens[0], steps=1, original=False).shape == (1, 3, 8, 12)
    assert torch.equal(y, tok.decode(tokens, refine=True, steps=2, seed=4))
    assert not torch.allclose(y, tok.decode(tokens, steps=2, seed=5), atol=1e-3)
    assert not torch.allclose(y, tok.decode(tokens, steps=2, seed=4, image_guidance=4.0), atol=1e-4)
    assert not torch.allclose(y, tok.decode(tokens, steps=2, seed=4, guidance=4.0), atol=1e-4)
    assert_close(tok.decode(tokens[1], steps=2, seed=4)[0], y[1], atol=1e-4, rtol=1e-4)
    noise = torch.randn(2, 4, 4, 6, generator=torch.Generator().manual_seed(1))
    assert_close(tok.decode(tokens[1], steps=1, noise=noise[1:])[0], tok.decode(tokens, steps=1, noise=noise)[1], atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match=r"noise of a picture is \[4, 4, 4\], expected \[4, 4, 6\]"):
        tok.decode(tokens, noise=noise[..., :4])


@pytest.mark.slow
def test_any_size_together():
    """Grids of 4 pixels, refined pictures of multiples of 4, and originals between."""
    tok, xs = refining(), [pictures(1, *size)[0] for size in ((8, 12), (5, 15), (8, 8))]
    tokens = tok.encode(xs)
    for i, (x, y) in enumerate(zip(xs, tok.decode(tokens, steps=1), strict=True)):
        assert y.shape == x.shape
        assert_close(tok.decode(tokens[i], steps=1)[0], y, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_saved_and_in_half_precision(tmp_path):
    tok, tokens = refining(), refining().encode(pictures(1))
    y = tok.decode(tokens, steps=1)
    save_folder(tok, tmp_path)
    again = load_folder(tmp_path)
    assert again.identity == tok.identity == plain().identity  # ids do not depend on it
    assert torch.equal(again.decode(tokens, steps=1), y)
    half = again.to(torch.bfloat16)
    assert half.refiner.vae.net.dtype == torch.float32 and half.refiner.transformer.head.weight.dtype == torch.bfloat16
    assert (half.decode(tokens, steps=1) - y).abs().mean() < 0.1


# --- files as published -------------------------------------------------------------------------------------------------------


def published(folder) -> Refiner:
    """Write config.json and the decoder's file, in which the pixel decoder's weights stand too; returns what they hold."""
    module = refiner(4)
    (folder / "image_decoder").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config(4)))
    state = {f"image_refiner.{k}": v.contiguous() for k, v in authors_state(module).items()}
    save_file(state | {"image_decoder.norm_in.weight": torch.ones(3)}, folder / "image_decoder/image_decoder.safetensors")
    return module


def test_a_folder_is_read_when_it_is_asked_for(tmp_path):
    theirs, tok = published(tmp_path / "hub"), plain()
    tokens = tok.encode(pictures(1))
    tok.decode(tokens)
    assert tok.refiner is None
    with pytest.raises(CheckpointError, match="meituan-longcat/LongCat-Next.*image_decoder/image_decoder.safetensors"):
        tok.decode(tokens, refine=True)
    y = tok.decode(tokens, refiner=str(tmp_path / "hub"), steps=1)
    assert torch.equal(y, plain().set_refiner(theirs).decode(tokens, steps=1))
    assert torch.equal(tok.decode(tokens, steps=1), y)  # it stays
    assert (tok.config.refiner.steps, tok.config.refiner.guidance, tok.config.refiner.image_guidance) == (28, 1.5, 1.5)


@pytest.mark.slow
def test_from_the_command_line(tmp_path):
    published(tmp_path / "hub")
    save_folder(plain(), tmp_path / "model")
    Image.new("RGB", (9, 6), (90, 120, 30)).save(tmp_path / "a.png")
    options = ("-O", f"refiner={tmp_path / 'hub'}", "-O", "steps=1", "-O", "image_guidance=1.2")
    ran = run("reconstruct", tmp_path / "model", tmp_path / "a.png", "-o", tmp_path / "out", *options)
    assert ran.code == 0, ran.err
    assert Image.open(next((tmp_path / "out").glob("*.png"))).size == (9, 6)


def test_what_does_not_fit_is_refused(tmp_path):
    published(tmp_path / "hub")
    with pytest.raises(ConfigError, match="codes of 10 channels, the tokenizer has 4"):
        plain().set_refiner(refiner(10))
    (tmp_path / "hub/image_decoder/image_decoder.safetensors").unlink()
    with pytest.raises(CheckpointError, match="holds no refiner.*download config.json and image_decoder"):
        plain().set_refiner(tmp_path / "hub")
    with pytest.raises(ConfigError, match="axes"):
        RefinerConfig(width=24, heads=4, kv_heads=2, axes=(4, 4, 2))
    with pytest.raises(ConfigError, match="kv_heads"):
        RefinerConfig(width=24, heads=4, kv_heads=3, axes=(2, 2, 2))


def test_published_sizes():
    """The widths that third parties report: 2520 of the transformer; OmniGen2's MLP has 4 times that, in multiples of 256."""
    sizes = {"hidden_size": 2520, "num_layers": 32, "num_refiner_layers": 2, "num_attention_heads": 21, "num_kv_heads": 7,
             "multiple_of": 256, "axes_dim_rope": [40, 40, 40], "text_feat_dim": 3584}  # fmt: skip
    found = refiner_config(config(3584, **sizes))
    assert found == RefinerConfig(vae=found.vae)
    with torch.device("meta"):
        count = sum(p.numel() for p in Refiner(RefinerConfig()).transformer.parameters())
    assert 3.9e9 < count < 4.1e9  # OmniGen2 names its transformer 4B
