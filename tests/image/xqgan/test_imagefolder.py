"""ImageFolder (XQ-GAN) and RobusTok against the authors' outputs. Run: pytest tests/image/xqgan/test_imagefolder.py"""

import json

import pytest
import torch
from image.xqgan.options_imagefolder import TINY
from layout_options import merged
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.image.xqgan.model import PerturbationConfig
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.zoo.convert import convert, converter, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 2e-5, "rtol": 1e-4}
SCALES = (1, 1, 2, 3, 3, 5)


def parts(system):
    folder = reference_folder("image", system)
    return json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")


def flat(latent):
    """Stored `[B, branches, C, g, g]` as `[B, branches C, g g]`."""
    return latent.flatten(3).flatten(1, 2)


@pytest.mark.parametrize("system", ["imagefolder", "robustok"])
def test_reference(system):
    folder = reference_folder("image", system)
    tok, io = load_reference(folder), load_io(folder)
    x = io["input"]
    assert_close(tok.encode_latents(x), flat(io["latent"]), **CLOSE)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids, io["ids"])
    assert torch.equal(tok.encode(x[1:]).ids, tokens.ids[1:])
    z_q = tok.quantizer.decode(tokens.ids, grid=tok.grid)
    assert_close(z_q, io["quantized"].flatten(2), **CLOSE)
    y = tok.decode(tokens)
    assert_close(y, io["decoded"], **CLOSE)
    assert_close(y.clamp(-1, 1), io["decoded_clamped"], **CLOSE)
    assert_close(tok(x).x_hat, io["decoded"], **CLOSE)


@pytest.mark.parametrize("scale", range(6))
def test_sums_after_every_scale(scale):
    folder = reference_folder("image", "imagefolder")
    tok, io = load_reference(folder), load_io(folder)
    tokens = tok.encode(io["input"]).first(positions=sum(n * n for n in SCALES[: scale + 1]))
    z_q = tok.quantizer.decode(tokens.ids, grid=tok.grid)
    for branch, part in enumerate(z_q.chunk(2, dim=1)):
        assert_close(part, io[f"f_hat.branch{branch}.scale{scale}"].flatten(2), **CLOSE)
    if f"decoded.first{scale + 1}scales" in io:
        assert_close(tok.decode(tokens), io[f"decoded.first{scale + 1}scales"], **CLOSE)


def test_latent_perturbation():
    folder = reference_folder("image", "robustok")
    tok, io = load_reference(folder), load_io(folder)
    z = tok.encode_latents(io["input"])
    z_q = tok.quantizer.decode(tok.encode(io["input"]).ids)
    draws = {"uniform": io["perturb.rand"].view(2, 36), "choice": io["perturb.randint"].view(2, 36)}
    for amount in (0.5, 1.0):
        out = tok.perturb(z, z_q, PerturbationConfig(rate=amount, share=amount, neighbours=10), **draws)
        assert_close(out, io[f"perturbed.alpha{amount}.beta{amount}.delta10"].flatten(2), **CLOSE)


def test_product_of_single_tables():
    """VP2: two branches, one table each; a branch of its own is RobusTok's single one."""
    config, state = parts("robustok")
    io = load_io(reference_folder("image", "robustok"))
    config |= {"product_quant": 2}
    state = {k.replace("quantize.", "quantizes.0."): v for k, v in state.items()}
    state["quantizes.1.embedding.weight"] = state["quantizes.0.embedding.weight"].flip(0)
    state["encoder.latent_tokens"] = torch.cat([state["encoder.latent_tokens"]] * 2, dim=1)
    state["encoder.lvl_embed.weight"] = torch.cat([state["encoder.lvl_embed.weight"], state["encoder.lvl_embed.weight"][1:]])
    state["post_quant_conv.weight"] = torch.cat([state["post_quant_conv.weight"]] * 2, dim=1)
    tok = convert("robustok", config, state)
    tokens = tok.encode(io["input"])
    assert tokens.ids.shape == (2, 2, 36)
    assert torch.equal(tokens.ids[:, 0], 127 - tokens.ids[:, 1])  # equal branches over a table in the opposite order


def test_teachers_are_dropped():
    config, state = parts("imagefolder")
    extra = {"semantic_model.blocks.0.norm1.weight": torch.ones(4), "detail_model.cls_token": torch.ones(4)}
    tok = convert("imagefolder", config, {"ema": {**state, **extra}})
    io = load_io(reference_folder("image", "imagefolder"))
    assert torch.equal(tok.encode(io["input"]).ids, io["ids"])


@pytest.mark.parametrize("count", [0, 1, 3])
def test_shared_convolutions_of_every_kind(count):
    """`share_quant_resi`: 0 one a scale, 1 one for all, otherwise so many."""
    config, state = parts("imagefolder")
    kept = {k: v for k, v in state.items() if ".quant_resi." not in k}
    for branch in range(2):
        for i in range(len(SCALES) if count == 0 else count):
            name = {0: f"quant_resi.{i}", 1: "quant_resi.qresi"}.get(count, f"quant_resi.qresi_ls.{i}")
            for end in ("weight", "bias"):
                kept[f"quantizes.{branch}.{name}.{end}"] = state[f"quantizes.{branch}.quant_resi.qresi_ls.{i % 4}.{end}"]
    tok = convert("imagefolder", {**config, "share_quant_resi": count}, kept)
    x = load_io(reference_folder("image", "imagefolder"))["input"]
    assert tok.encode(x).ids.shape == (2, 2, 49)
    assert len(set(tok.quantizer.branches[0].phis.of_scale)) == (count or len(SCALES))


def test_strict():
    config, state = parts("imagefolder")
    with pytest.raises(ValueError, match="codebook_size must be"):
        convert("imagefolder", {**config, "lfq": True, "scale": 0.5}, state)
    with pytest.raises(ValueError, match="enc_type"):
        convert("imagefolder", {**config, "enc_type": "cnn"}, state)
    with pytest.raises(ValueError, match="must form a square"):
        convert("imagefolder", {**config, "num_latent_tokens": 24}, state)
    with pytest.raises(ValueError, match="tuning"):
        convert("imagefolder", {**config, "tuning": "lora"}, state)


LFQ = {
    "plain": {"codebook_l2_norm": False},
    "shrinking": {"codebook_l2_norm": False, "scale": 0.5, "share_quant_resi": 1},
    "growing": {"codebook_l2_norm": False, "scale": 1.5, "share_quant_resi": 0},
    "unit": {"codebook_l2_norm": True},
    "unit-shrinking": {"scale": 0.5, "share_quant_resi": 2},
}
LFQ_SCALES = [1, 2, 3, 5]


def lfq(case):
    """A whole tokenizer around the quantizer of one stored case, and its tensors."""
    io = load_io(reference_folder("image", "imagefolder-lfq"))
    io = {k.removeprefix(f"{case}."): v for k, v in io.items() if k.startswith(f"{case}.")}
    own = {"lfq": True, "codebook_size": 64, "codebook_embed_dim": 6, "v_patch_nums": LFQ_SCALES, "num_latent_tokens": 25}
    config, layout = merged(TINY, {**own, **LFQ[case]}), converter("imagefolder")
    settings = layout.own_config(config)
    state = layout.write(build_tokenizer("xqgan", settings).state_dict(), settings)
    state = {k: v for k, v in state.items() if not k.startswith("quantize.")}
    return config, state | {k.replace("weights.", "quantize."): v for k, v in io.items() if k.startswith("weights.")}, io


@pytest.mark.parametrize("case", LFQ)
def test_signs_of_every_size(case):
    config, state, io = lfq(case)
    tok, z = convert("imagefolder", config, {"model": state}), io["input"].flatten(2)
    ids = tok.quantizer.encode(z, grid=(5, 5))
    assert torch.equal(ids[:, 0], io["ids"])
    assert_close(tok.quantizer.decode(ids, grid=(5, 5)), io["f_hat.scale3"].flatten(2), **CLOSE)
    assert_close(tok.quantizer(z, grid=(5, 5)).z_q, io["f_hat.scale3"].flatten(2), **CLOSE)
    for scale, positions in enumerate((1, 5, 14)):
        assert_close(tok.quantizer.decode(ids[..., :positions], grid=(5, 5)), io[f"f_hat.scale{scale}"].flatten(2), **CLOSE)


def test_signs_of_another_size_than_the_file_says_are_refused():
    config, state, _ = lfq("shrinking")
    with pytest.raises(CheckpointError, match="scaler"):
        convert("imagefolder", {**config, "scale": 0.25}, state)
    with pytest.raises(CheckpointError, match="lfq is false"):
        convert("imagefolder", {**config, "lfq": False}, {**state, "quantize.embedding.weight": torch.ones(64, 6)})


@pytest.mark.parametrize("system", ["imagefolder", "robustok"])
def test_averaged_weights_are_used(system):
    """A training checkpoint as the authors' script saves it; their scripts read `ema` first."""
    config, state = parts(system)
    raw = {k: torch.randn_like(v) if v.is_floating_point() else v for k, v in state.items()}
    checkpoint = {"model": raw, "optimizer": {}, "discriminator": {"a": torch.ones(1)}, "steps": 3, "args": object(), "ema": state}
    io = load_io(reference_folder("image", system))
    assert torch.equal(convert(system, config, checkpoint).encode(io["input"]).ids, io["ids"])
    without = {k: v for k, v in checkpoint.items() if k != "ema"}
    assert not torch.equal(convert(system, config, without).encode(io["input"]).ids, io["ids"])


def test_multiscale_signs_by_hand():
    """MSBR: latents of length 1, then at each scale signs / sqrt(b), bicubic to full size, half of it convolved, subtracted."""
    from tokenzoo.codecs.quantizers import build
    from torch.nn import functional as F

    sides = (1, 2, 2, 4)
    settings = {"bit_order": "lsb", "upsample": "bicubic", "phi_ratio": 0.5, "phi_count": 0, "unit_input": True}
    q = build("multiscale_bsq", bits=5, scales=[[n, n] for n in sides], **settings)
    z = torch.randn(2, 5, 4, 4)
    left, total, ids = F.normalize(z, dim=1), torch.zeros(2, 5, 4, 4), []
    for side, phi in zip(sides, q.phis, strict=True):
        bits = F.adaptive_avg_pool2d(left, side) > 0
        ids.append((bits.flatten(2) * 2 ** torch.arange(5)[:, None]).sum(1))
        h = (bits.float() * 2 - 1) / 5**0.5
        h = h if side == 4 else F.interpolate(h, size=(4, 4), mode="bicubic")
        h = (h + phi(h)) / 2
        left, total = left - h, total + h
    found = q.encode(z.flatten(2))
    assert torch.equal(found[:, 0], torch.cat(ids, dim=1))
    assert_close(q.decode(found), total.flatten(2))
    assert_close(q(z.flatten(2)).z_q, total.flatten(2))
