"""DualViTok's diffusion decoder against the authors' pipeline, and as an option of `decode`.

Run: pytest tests/image/dualvitok/test_sdxl.py
"""

import functools
import json

import pytest
import tokenzoo
import torch
from cli_runs import run
from formula_weights import formula, wave
from image.dualvitok.tiny import DUALVITOK
from PIL import Image
from safetensors.torch import save_file
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.image.dualvitok import sdxl
from tokenzoo.codecs.image.dualvitok.model import DualViTok
from tokenzoo.codecs.image.dualvitok.sdxl import RESOLUTIONS, SdxlRefiner, SdxlRefinerConfig
from tokenzoo.codecs.serialize import CheckpointError, load_folder, save_folder
from torch.testing import assert_close

CODE = 8  # channels of the merged codes of the tiny form
UNET = {
    "sample_size": 16, "in_channels": 4 + CODE, "out_channels": 4, "layers_per_block": 1, "block_out_channels": [8, 16],
    "norm_num_groups": 4, "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"], "cross_attention_dim": 2048,
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"], "attention_head_dim": 2, "addition_embed_type": "text_time",
    "addition_time_embed_dim": 4, "projection_class_embeddings_input_dim": 1280 + 6 * 4,
}  # fmt: skip
VAE = {
    "block_out_channels": [4, 8], "down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2,
    "norm_num_groups": 2, "latent_channels": 4, "layers_per_block": 1, "scaling_factor": 0.13025,
}  # fmt: skip
STEPS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
SIZES = ((16, 16), (32, 32), (32, 48), (48, 32))


def settings(**change) -> SdxlRefinerConfig:
    given = {"unet": UNET, "vae": VAE, "scheduler": {"kind": "EulerDiscreteScheduler", **STEPS}, "resolutions": SIZES, "steps": 2}
    return SdxlRefinerConfig(**(given | change))


def refiner(**change) -> SdxlRefiner:
    """A small diffusion decoder with weights by the formula, each network for itself."""
    module = SdxlRefiner(settings(**change), CODE).eval()
    for part in (module.unet, module.vae.net):
        part.load_state_dict(formula({k: v.shape for k, v in part.state_dict().items()}))
    return module


@pytest.fixture(scope="module")
def tok() -> DualViTok:
    torch.manual_seed(0)
    made = tokenzoo.build_tokenizer("dualvitok", DUALVITOK).eval()
    return made.set_refiner(refiner())


def plain() -> DualViTok:
    torch.manual_seed(0)
    return tokenzoo.build_tokenizer("dualvitok", DUALVITOK).eval()


def pictures(count: int, height: int = 16, width: int = 16) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


#: Every 199th number of a 3 x 32 x 48 picture in -1..1 that the authors' pipeline draws in 3 steps with these networks.
DRAWN = {
    ("EulerDiscreteScheduler", 2.0): [
        -0.06127, -0.16651, -0.05687, -0.32491, -0.08916, -0.59012, -0.07962, -0.09781, 0.12797, 0.12901, 0.08893, 0.1317, -0.15275,
        0.09194, 0.06372, 0.11621, -0.04551, 0.13667, 0.08684, 0.14604, -0.01998, 0.07058, -0.04422, -0.01917,
    ],
    ("EulerDiscreteScheduler", 1.0): [
        -0.07374, -0.10177, -0.07941, -0.14941, -0.01694, -0.66309, -0.04878, -0.15435, 0.09839, 0.12012, 0.06918, 0.24916, -0.18078,
        -0.00195, 0.03323, 0.11806, -0.02647, 0.07067, 0.03503, 0.18579, -0.02733, 0.03649, -0.04465, 0.00483,
    ],
    ("DDIMScheduler", 2.0): [
        -0.0854, -0.09964, -0.12012, -0.39929, 0.15787, -0.59987, 0.03497, -0.11889, 0.06817, 0.11216, -0.10943, 0.30647, 0.0335,
        -0.04732, -0.13357, 0.14368, -0.09875, 0.04382, 0.11476, 0.22874, -0.06747, 0.2754, -0.13186, -0.13371,
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "guidance"), [pytest.param(*case, marks=pytest.mark.slow if case[0] == "DDIMScheduler" else ()) for case in DRAWN]
)
def test_pictures_equal_the_authors(kind, guidance):
    more = {"prediction_type": "v_prediction", "clip_sample": False} if kind == "DDIMScheduler" else {}
    module = refiner(scheduler={"kind": kind, **STEPS, **more})
    with torch.no_grad():
        y = module(wave(1, CODE, 8, 12), size=(16, 24), noise=wave(1, 4, 16, 24, rate=1.3), steps=3, guidance=guidance)
    assert y.shape == (1, 3, 32, 48)
    assert_close(y.clamp(-1, 1).flatten()[::199], torch.tensor(DRAWN[kind, guidance]), atol=5e-5, rtol=0)


def test_sizes():
    """Twice the tokens' size where the training had it, else the nearest shape."""
    module = refiner(resolutions=RESOLUTIONS)
    sizes = {(256, 256): (512, 512), (512, 512): (1024, 1024), (384, 512): (768, 1024), (1024, 256): (2048, 512),
             (320, 320): (1024, 1024), (480, 320): (1152, 768), (100, 900): (512, 2048)}  # fmt: skip
    assert {s: RESOLUTIONS[module.resolution(*s)] for s in sizes} == sizes


def test_decode(tok):
    x = pictures(2)
    tokens = tok.encode(x)
    coarse = tok.decode(tokens)
    y = tok.decode(tokens, refine=True, seed=4)
    assert y.shape == x.shape and not torch.allclose(y, coarse, atol=1e-2)
    assert tok.decode(tokens, steps=2, original=False).shape == (2, 3, 32, 32)
    assert torch.equal(y, tok.decode(tokens, seed=4, steps=2)) and torch.equal(coarse, tok.decode(tokens))
    assert not torch.allclose(y, tok.decode(tokens, seed=5), atol=1e-3)
    assert not torch.allclose(y, tok.decode(tokens, seed=4, guidance=6.0), atol=1e-4)
    assert not torch.allclose(*tok.decode(tokens, seed=4), atol=1e-4)  # the codes count: both items have the same noise
    assert_close(tok.decode(tokens[1], seed=4)[0], y[1], atol=1e-4, rtol=1e-4)
    noise = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    assert_close(tok.decode(tokens[1], noise=noise[1:])[0], tok.decode(tokens, noise=noise)[1], atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match=r"noise of a picture is \[4, 8, 8\], expected \[4, 16, 16\]"):
        tok.decode(tokens, noise=noise[..., ::2, ::2])
    with pytest.raises(ConfigError, match="refine is false, but steps"):
        tok.decode(tokens, refine=False, steps=2)


@pytest.mark.slow
def test_any_size_together(tok):
    xs = [pictures(1, *size)[0] for size in ((16, 24), (9, 31), (16, 16))]
    tokens = tok.encode(xs)
    for i, (x, y) in enumerate(zip(xs, tok.decode(tokens, refine=True), strict=True)):
        assert y.shape == x.shape
        assert_close(tok.decode(tokens[i], refine=True)[0], y, atol=1e-4, rtol=1e-4)


def test_saved_and_in_half_precision(tok, tmp_path):
    tokens = tok.encode(pictures(1))
    y = tok.decode(tokens, refine=True)
    save_folder(tok, tmp_path)
    again = load_folder(tmp_path)
    assert again.identity == tok.identity == plain().identity  # ids do not depend on it
    assert torch.equal(again.decode(tokens, refine=True), y)
    assert load_folder(tmp_path, part="encoder").encode(pictures(1)).equal(tokens)
    half = again.to(torch.bfloat16)
    assert half.refiner.unet.dtype == torch.bfloat16 and half.refiner.vae.net.dtype == torch.float32
    assert (half.decode(tokens, refine=True) - y).abs().mean() < 0.1


# --- files as published -------------------------------------------------------------------------------------------------------

def published(folder, *, half: bool = False, vae: dict = VAE) -> SdxlRefiner:
    """Write a diffusers pipeline's files; returns what they hold."""
    module = refiner(vae=vae)
    name = f"diffusion_pytorch_model{'.fp16' if half else ''}.safetensors"
    for part, net, own in (("unet", module.unet, UNET), ("vae", module.vae.net, vae)):
        (folder / part).mkdir(parents=True)
        config = {"_class_name": type(net).__name__, "_diffusers_version": "0.30.0", **own}
        (folder / part / "config.json").write_text(json.dumps(config))
        save_file({k: v.half() if half else v for k, v in net.state_dict().items()}, folder / part / name)
    (folder / "scheduler").mkdir()
    steps = {"_class_name": "EulerDiscreteScheduler", "_diffusers_version": "0.30.0", **STEPS}
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(steps))
    return module


def test_a_folder_is_read_when_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(sdxl, "SdxlRefinerConfig", functools.partial(SdxlRefinerConfig, resolutions=SIZES))
    theirs, tok = published(tmp_path / "sdxl"), plain()
    tokens = tok.encode(pictures(1))
    tok.decode(tokens)
    assert tok.refiner is None
    with pytest.raises(CheckpointError, match="ILLUME-MLLM/dualvitok-sdxl-decoder.*unet/, vae/ and scheduler/"):
        tok.decode(tokens, refine=True)
    y = tok.decode(tokens, refiner=str(tmp_path / "sdxl"), steps=1)
    assert torch.equal(y, plain().set_refiner(theirs).decode(tokens, steps=1))
    assert torch.equal(tok.decode(tokens, steps=1), y)  # it stays
    assert tok.config.refiner.steps == 50 and tok.config.refiner.guidance == 2.0


@pytest.mark.slow
def test_from_the_command_line(tmp_path):
    """Pictures of 512 pixels by a VAE of stride 32."""
    sides = {"down_block_types": ["DownEncoderBlock2D"] * 6, "up_block_types": ["UpDecoderBlock2D"] * 6}
    published(tmp_path / "sdxl", half=True, vae=VAE | sides | {"block_out_channels": [2] * 6})
    save_folder(plain(), tmp_path / "model")
    Image.new("RGB", (20, 16), (90, 120, 30)).save(tmp_path / "a.png")
    options = ("-O", f"refiner={tmp_path / 'sdxl'}", "-O", "steps=1", "-O", "seed=2")
    ran = run("reconstruct", tmp_path / "model", tmp_path / "a.png", "-o", tmp_path / "out", *options)
    assert ran.code == 0, ran.err
    assert Image.open(next((tmp_path / "out").glob("*.png"))).size == (20, 16)


def test_what_does_not_fit_is_refused(tmp_path):
    published(tmp_path / "sdxl")
    (tmp_path / "sdxl/vae/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="holds no refiner.*vae/diffusion_pytorch_model.safetensors.*download unet/"):
        plain().set_refiner(tmp_path / "sdxl")
    with pytest.raises(CheckpointError, match="neither a folder"):
        plain().set_refiner("nothing-here")
    with pytest.raises(ConfigError, match="12 channels to 4; 4 of latents and 6 of codes"):
        SdxlRefiner(settings(), 6)
    with pytest.raises(ConfigError, match="EulerAncestralDiscreteScheduler.*allowed: DDIM"):
        settings(scheduler={"kind": "EulerAncestralDiscreteScheduler"})
    with pytest.raises(ValueError, match="SdxlRefiner"):
        plain().set_refiner(torch.nn.Linear(1, 1))
