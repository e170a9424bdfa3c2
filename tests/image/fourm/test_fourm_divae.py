"""4M's DiVAE against the authors' outputs, its schedules against diffusers. Run: pytest tests/image/fourm/test_fourm_divae.py"""

import json

import pytest
import torch
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.image.fourm.diffusion import NoiseScheduleConfig, Schedule
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.zoo.convert import convert, converter, load_reference
from torch import Tensor
from torch.testing import assert_close

CLOSE = {"atol": 2e-5, "rtol": 1e-4}


def parts():
    folder = reference_folder("image", "4m-divae")
    return json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")


def test_reference():
    folder = reference_folder("image", "4m-divae")
    tok, io = load_reference(folder), load_io(folder)
    x, noise = io["input"], io["noise"]
    z = tok.encode_latents(x)
    assert_close(z, io["latent"].flatten(2), **CLOSE)
    tokens = tok.encode(x)
    assert tokens.grid == (4, 4) and torch.equal(tokens.ids[:, 0], io["ids"].flatten(1))
    assert torch.equal(tok.encode(x[:1]).ids, tokens.ids[:1])
    assert_close(tok.quantizer.decode(tokens.ids), io["quantized_from_ids"].flatten(2), **CLOSE)
    assert_close(tok.quantizer(z).z_q, io["quantized"].flatten(2), **CLOSE)
    assert_close(tok.schedule.alphas, io["alphas_cumprod"], atol=1e-6, rtol=0)
    assert tok.schedule.steps(4) == io["timesteps"].tolist()
    out = tok.predict(noise, torch.tensor([999, 300]), io["quantized_from_ids"])
    assert_close(out, io["model_output_t999_t300"], **CLOSE)
    y = tok.decode(tokens, noise=noise, steps=4)
    assert_close(y, io["decoded"], **CLOSE)
    assert_close(tok.decode(tokens[1], noise=noise[1:], steps=4)[0], y[1], **CLOSE)


def test_other_sizes_and_seeds():
    """Sizes that the U-Net cannot halve are padded; the seed decides the pixels, whatever else is in the batch."""
    folder = reference_folder("image", "4m-divae")
    tok, x = load_reference(folder), load_io(folder)["input"]
    xs = [x[0, :, :17, :30], x[1, :, :24, :16], x[0]]
    tokens = tok.encode(xs)
    assert tok.size_multiple == 8 and tokens.grids.tolist() == [[3, 4], [3, 2], [4, 4]]
    ys = tok.decode(tokens, steps=2, seed=3)
    assert [y.shape for y in ys] == [x.shape for x in xs]
    for i, y in enumerate(ys):
        assert_close(tok.decode(tok.encode(xs[i]), steps=2, seed=3)[0], y, **CLOSE)
    assert not torch.allclose(tok.decode(tokens, steps=2, seed=4)[0], ys[0], atol=1e-2)
    noise = [torch.randn(3, 24, 32), torch.randn(3, 24, 16), torch.randn(3, 32, 32)]
    again = tok.decode(tokens, steps=2, noise=noise)
    assert_close(tok.decode(tokens[1], steps=2, noise=noise[1:2])[0], again[1], **CLOSE)
    with pytest.raises(ValueError, match="expected"):
        tok.decode(tokens, steps=2, noise=noise[::-1])
    with pytest.raises(ValueError, match="1 to 1000"):
        tok.decode(tokens, steps=1001)


def test_training_step():
    folder = reference_folder("image", "4m-divae")
    tok, x = load_reference(folder).train(), load_io(folder)["input"]
    out = tok(x[..., :30])
    assert out.x_hat.shape == x[..., :30].shape
    assert torch.equal(out.features["prediction_target"], torch.cat([x[..., :30], x[..., 29:30].expand(-1, -1, -1, 2)], dim=3))
    assert_close(out.x_hat, out.features["prediction"][..., :30])  # this one predicts the picture itself


# --- other U-Nets -----------------------------------------------------------------------------------------------------------


def unet_state(options: dict, *, channels: int, codes: int) -> dict[str, Tensor]:
    """The authors' `PatchedUNetCondCat`, filled by a formula, in the order of its sorted names."""
    w, mults = options["model_channels"], options["channel_mult"]
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(name, *shape):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]

    def norm(name, c):
        layer(name, c)

    def res(name, c, out):
        norm(f"{name}.in_layers.0", c)
        layer(f"{name}.in_layers.2", out, c, 3, 3)
        layer(f"{name}.emb_layers.1", out * (1 + options.get("use_scale_shift_norm", False)), 4 * w)
        norm(f"{name}.out_layers.0", out)
        layer(f"{name}.out_layers.3", out, out, 3, 3)
        if c != out:
            layer(f"{name}.skip_connection", out, c, 1, 1)

    def attention(name, c):
        norm(f"{name}.norm", c)
        layer(f"{name}.qkv", 3 * c, c, 1)
        layer(f"{name}.proj_out", c, c, 1)

    folded = channels * options["patch_size"] ** 2
    layer("time_embed.0", 4 * w, w)
    layer("time_embed.2", 4 * w, 4 * w)
    layer("input_blocks.0.0", w * mults[0], folded + codes, 3, 3)
    now, skips, n = w * mults[0], [w * mults[0]], 1
    for level, mult in enumerate(mults):
        for _ in range(options["num_res_blocks"]):
            res(f"input_blocks.{n}.0", now, w * mult)
            now = w * mult
            if 2**level in options["attention_resolutions"]:
                attention(f"input_blocks.{n}.1", now)
            skips, n = [*skips, now], n + 1
        if level < len(mults) - 1:
            if options.get("resblock_updown"):
                res(f"input_blocks.{n}.0", now, now)
            elif options.get("conv_resample", True):
                layer(f"input_blocks.{n}.0.op", now, now, 3, 3)
            skips, n = [*skips, now], n + 1
    res("middle_block.0", now, now)
    attention("middle_block.1", now)
    res("middle_block.2", now, now)
    n = 0
    for level in reversed(range(len(mults))):
        for i in range(options["num_res_blocks"] + 1):
            res(f"output_blocks.{n}.0", now + skips.pop(), w * mults[level])
            now, at = w * mults[level], 1
            if 2**level in options["attention_resolutions"]:
                attention(f"output_blocks.{n}.1", now)
                at = 2
            if level and i == options["num_res_blocks"]:
                if options.get("resblock_updown"):
                    res(f"output_blocks.{n}.{at}", now, now)
                elif options.get("conv_resample", True):
                    layer(f"output_blocks.{n}.{at}.conv", now, now, 3, 3)
            n += 1
    norm("out.0", now)
    layer("out.2", folded, now, 3, 3)
    out = {}
    for i, (name, shape) in enumerate(sorted(shapes.items())):
        size = torch.Size(shape).numel()
        v = torch.sin(torch.arange(size, dtype=torch.float64) * (1.7 + 0.31 * i) + i).view(shape)
        if len(shape) == 1:
            v = 1 + 0.2 * v if name.endswith("weight") else 0.1 * v
        else:
            v = v * 1.5 / (size / shape[0]) ** 0.5
        out[f"decoder.{name}"] = v.float()
    return out


SMALL = {"model_channels": 32, "num_res_blocks": 1, "attention_resolutions": [1, 2], "channel_mult": [1, 2], "patch_size": 2}
ALL = {
    "resblock_updown": True, "conv_resample": False, "use_scale_shift_norm": True, "num_heads": 2, "channel_mult": [1, 2, 2],
    "num_res_blocks": 2,
}  # fmt: skip
#: Every 53rd number of what the authors' class, so filled, says of two one-channel pictures of 16 x 24 pixels sin(0.37 n) at
#: times 999 and 30 under codes sin(0.7 n), in float32.
SAID = [
    ({"num_heads": 4}, [
        0.107536, -0.011771, 0.038893, -0.028565, 0.212142, -0.568136, 0.194069, 0.202349, 0.359859, 0.02887, -0.054244, -0.113621,
        -0.041848, -0.388674, -0.040592,
    ]),
    (ALL, [
        0.031133, -0.290724, -0.664464, -0.820413, -0.705869, -2.92738, -0.801225, -0.878207, -1.068933, 1.162196, -2.10915, 0.35384,
        -0.208079, -0.264613, -0.437631,
    ]),
]  # fmt: skip


@pytest.mark.parametrize("options, said", SAID)
def test_other_unets(options, said):
    config, state = parts()
    options = SMALL | options
    state = {k: v for k, v in state.items() if not k.startswith("decoder.")} | unet_state(options, channels=1, codes=12)
    state["encoder.proj.weight"] = state["encoder.proj.weight"][:, :1]
    tok = convert("4m-divae", {**config, "n_channels": 1, "unet": options}, state)
    x = torch.sin(torch.arange(2 * 16 * 24) * 0.37).view(2, 1, 16, 24)
    codes = torch.sin(torch.arange(2 * 12 * 2 * 3) * 0.7).view(2, 12, 2, 3)
    out = tok.predict(x, torch.tensor([999, 30]), codes)
    assert_close(out.flatten()[::53], torch.tensor(said), atol=5e-5, rtol=1e-4)
    # one channel: the colours of a picture come out equal
    tokens = tok.encode(x.expand(-1, 3, -1, -1))
    y = tok.decode(tokens, steps=2)
    assert y.shape == (2, 3, 16, 24) and torch.equal(y[:, 0], y[:, 2])


def test_attention_with_heads_of_a_width():
    """Rows of queries, keys and values stand head by head there; the first head's queries are those of the first rows."""
    config, state = parts()
    options = SMALL | {"num_head_channels": 8}
    state = {k: v for k, v in state.items() if not k.startswith("decoder.")} | unet_state(options, channels=3, codes=12)
    tok = convert("4m-divae", {**config, "unet": options}, state)
    theirs, ours = state["decoder.middle_block.1.qkv.weight"][:, :, 0], tok.unet.middle[0].attention.qkv.weight
    assert torch.equal(theirs[:8], ours[:8]) and torch.equal(theirs[8:16], ours[64:72]) and torch.equal(theirs[24:32], ours[8:16])
    with pytest.raises(ValueError, match="use_new_attention_order"):
        convert("4m-divae", {**config, "unet": options | {"use_new_attention_order": True}}, state)


# --- schedules ---------------------------------------------------------------------------------------------------------------

BETAS = {"linear": "linear", "scaled_linear": "scaled_linear", "cosine": "squaredcos_cap_v2", "sigmoid": "sigmoid"}


@pytest.mark.parametrize("betas", BETAS)
@pytest.mark.parametrize("zero", [True, False])
def test_alphas_equal_diffusers(betas, zero):
    import diffusers

    theirs = diffusers.DDPMScheduler(beta_schedule=BETAS[betas], rescale_betas_zero_snr=zero)
    ours = Schedule(NoiseScheduleConfig(betas=betas, zero_terminal_snr=zero)).alphas
    if zero:  # diffusers puts a tiny number in place of the last zero
        assert ours[-1] == 0
        ours, theirs.alphas_cumprod = ours[:-1], theirs.alphas_cumprod[:-1]
    assert_close(ours, theirs.alphas_cumprod, atol=1e-6, rtol=1e-5)


def test_shifted_cosine_against_its_formula():
    alphas = Schedule(NoiseScheduleConfig(betas="shifted_cosine", shift=0.5)).alphas
    t = torch.tensor([100, 500, 900])
    ratio = (torch.tan(torch.pi / 2 * t.double() / 999) * 0.5) ** -2  # signal over noise
    assert_close(alphas[t], (ratio / (1 + ratio)).float())
    assert alphas[-1] == 0 and (alphas.diff() <= 0).all()


def network(x: Tensor, t: Tensor) -> Tensor:
    """Something that depends on picture and time."""
    return torch.tanh(x * 1.3 + t[:, None, None, None] / 700 - 0.5)


@pytest.mark.parametrize("prediction", ["sample", "epsilon", "velocity"])
@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_steps_equal_diffusers(prediction, clip, sampler):
    import diffusers

    ours = Schedule(NoiseScheduleConfig(zero_terminal_snr=False, prediction=prediction, clip=clip, sampler=sampler))
    kind, spacing = (diffusers.DDIMScheduler, "trailing") if sampler == "ddim" else (diffusers.DDPMScheduler, "leading")
    name = {"velocity": "v_prediction"}.get(prediction, prediction)
    theirs = kind(prediction_type=name, clip_sample=clip, timestep_spacing=spacing)
    theirs.set_timesteps(8)
    assert ours.steps(8) == theirs.timesteps.tolist()
    x = start = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 1.5
    generator = torch.Generator().manual_seed(1)
    for t in theirs.timesteps:
        x = theirs.step(network(x, t[None]), t, x, generator=generator).prev_sample
    y = ours.sample(start, network, steps=8, generator=torch.Generator().manual_seed(1))
    assert_close(y, x, atol=2e-5, rtol=1e-4)


def test_strides_that_do_not_divide():
    """The authors' DDIM goes in whole strides of T // steps, and so takes one more step where there is a rest."""
    assert Schedule(NoiseScheduleConfig()).steps(3) == [999, 666, 333, 0]
    assert Schedule(NoiseScheduleConfig(sampler="ddpm")).steps(3) == [666, 333, 0]


@pytest.mark.parametrize("prediction", ["sample", "epsilon", "velocity"])
def test_noise_comes_off_again(prediction):
    s = Schedule(NoiseScheduleConfig(prediction=prediction))
    x, noise = torch.rand(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    t = torch.tensor([700, 30])
    noised, target = s.noised(x, noise, t)
    assert_close(s.estimate(noised, target, t), (x, noise), atol=1e-3, rtol=1e-3)


def test_strict():
    config, state = parts()
    tok = convert("4m-divae", {**config, "scheduler": "ddpm", "thresholding": True, "beta_schedule": "shifted_cosine:0.5"}, state)
    own = tok.config.schedule
    assert (own.sampler, own.clip, own.betas, own.shift) == ("ddpm", True, "shifted_cosine", 0.5)
    for change in ({"dec_type": "uvit_x_p4_f16"}, {"beta_schedule": "cosine"}, {"n_labels": 9}, {"dec_type": "vit_b_dec"}):
        with pytest.raises(ValueError, match=next(iter(change))):
            convert("4m-divae", {**config, **change}, state)
    with pytest.raises(ValueError, match="unet_nano"):
        convert("4m-divae", {k: v for k, v in config.items() if k != "unet"}, state)
    with pytest.raises(CheckpointError, match="decoder.extra"):
        convert("4m-divae", config, {**state, "decoder.extra": torch.ones(1)})
    with pytest.raises(CheckpointError):
        convert("4m-divae", config, {k: v for k, v in state.items() if k != "decoder.out.2.bias"})


# --- U-ViTs ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["4m-uvit", "4m-uvit-xattn"])
def test_uvit(name):
    folder = reference_folder("image", name)
    tok, io = load_reference(folder), load_io(folder)
    x = io["input"].expand(-1, 3, -1, -1)
    assert tok.layout == "4m-divae"
    assert_close(tok.encode_latents(x), io["latent"].flatten(2), **CLOSE)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids[:, 0], io["ids"].flatten(1))
    codes = tok.quantizer.decode(tokens.ids).unflatten(2, tokens.grid)
    assert_close(codes, io["quantized_from_ids"], **CLOSE)
    assert_close(tok.predict(io["noise"], io["times"], codes), io["model_output"], **CLOSE)
    y = tok.decode(tokens, noise=io["noise"], steps=4)
    assert_close(y, io["decoded"].expand(-1, 3, -1, -1), **CLOSE)


def test_the_halving_convolution_has_two_names():
    """diffusers keeps it under both; a file that leaves copies out holds one of them."""
    folder = reference_folder("image", "4m-uvit")
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    plain, odd = "decoder.downsample_mid.conv.", "decoder.downsample_mid.Conv2d_0."
    assert all(odd + e in state and plain + e in state for e in ("weight", "bias"))
    for name in (plain, odd):
        less = {k: v for k, v in state.items() if not k.startswith(name)}
        tok = convert("4m-divae", config, less)
        assert torch.equal(tok.unet.before_middle.conv.weight, state[plain + "weight"])
        assert set(converter("4m-divae").write(tok.state_dict(), tok.config)) >= {plain + "weight", odd + "weight"}


KINDS = {
    "uvit_b_p4_f16": ((128, 256), 768, 12, True, False),
    "uvit_l_p4_f16": ((128, 256), 1024, 24, True, False),
    "uvit_h_p4_f16": ((128, 256), 1280, 32, True, False),
    "uvit_b_p4_f16_longskip": ((128, 256), 768, 13, True, True),
    "uvit_l_p4_f16_longskip": ((128, 256), 1024, 25, True, True),
    "uvit_b_p4_f8": ((128, 256), 768, 12, False, False),
    "uvit_l_p4_f8": ((128, 256), 1024, 24, False, False),
    "uvit_b_p4_f16_extraconv": ((128, 256, 512), 768, 12, False, False),
    "uvit_l_p4_f16_extraconv": ((128, 256, 512), 1024, 24, False, False),
}


@pytest.mark.parametrize("name", KINDS)
def test_named_uvits(name):
    """All that their module names, with the sizes it passes; position tables of 32 x 32 whatever the picture's size."""
    for said, condition in (("concat", "add"), ("xattn", "cross")):
        own = converter("4m-divae").own_config({"dec_type": name, "conditioning": said, "n_channels": 1, "image_size": 512})
        c = own.uvit
        assert (c.channels, c.width, c.layers, c.halve_before_middle, c.long_skips) == KINDS[name]
        assert (own.unet_patch, c.blocks, c.position_grid, c.groups, c.condition) == (4, 2, 32, 32, condition)
    for wrong in ({"dec_type": "uvit_h_p4_f8"}, {"dec_type": "uvit_b_p8_f16"}, {"dec_type": name, "conditioning": "add"}):
        with pytest.raises(ValueError, match="conditioning" if "conditioning" in wrong else "dec_type"):
            converter("4m-divae").own_config(wrong)
