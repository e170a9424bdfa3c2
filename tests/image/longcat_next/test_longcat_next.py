"""LongCat-Next's visual tokenizer: codes and pixel decoder against the authors' outputs, tower against transformers.

Run: pytest tests/image/longcat_next/test_longcat_next.py
"""

import json

import pytest
import torch
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.zoo.convert import convert, load_reference
from torch import Tensor
from torch.testing import assert_close

CLOSE = {"atol": 1e-5, "rtol": 1e-4}


def test_codes_reference():
    folder = reference_folder("image", "longcat-next-rq")
    tok, io = load_reference(folder), load_io(folder)
    x = io["features"].t()  # [C, L]
    assert_close(tok.encode_latents(x[None])[0].t(), io["latent"], **CLOSE)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids[0].t(), io["ids"])
    assert_close(tok.decode(tokens)[0].t(), io["quantized_from_ids"], **CLOSE)
    for k, want in enumerate(io["cumulative"], 1):
        assert_close(tok.decode(tokens.first(codebooks=k))[0].t(), want, **CLOSE)
    out = tok(x[None])
    assert_close(out.x_hat, io["quantized"][:, :, 0], **CLOSE)
    assert_close(out.quantized.loss, io["commitment_loss"][0], **CLOSE)
    # as a grid, and in ragged parts
    grid = tok.encode(x.unflatten(1, (5, 10))[None])
    assert grid.grid == (5, 10) and torch.equal(grid.ids, tokens.ids)
    parts = tok.encode([x[:, :13], x[:, 13:]])
    assert torch.equal(torch.cat([parts[0].ids, parts[1].ids], dim=2), tokens.ids)


def test_codes_options():
    folder = reference_folder("image", "longcat-next-rq")
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    own = {k: v.roll(int(k.split(".")[2]), 0) if k.endswith(".embed") else v for k, v in state.items() if "quantize" in k}
    tok = convert("longcat-next-rq", {**config, "shared_codebook": False, "quant_conv": False, "in_channels": 24}, own)
    x = load_io(folder)["latent"].t()
    ids, rest = tok.encode(x).ids[0], x.t()
    for k in range(4):  # the plain definition, level by level
        table = own[f"quantize.codebooks.{k}.embed"][:-1]
        assert torch.equal(ids[k], torch.cdist(rest, table).argmin(1))
        rest = rest - table[ids[k]]
    with pytest.raises(CheckpointError, match="several"):
        convert("longcat-next-rq", {**config, "quant_conv": False, "in_channels": 24}, own)
    for change in ({"quantizer_type": "vq"}, {"decay": [0.9] * 4}, {"heads": 2}):
        with pytest.raises(ValueError, match=next(iter(change))):
            convert("longcat-next-rq", {**config, **change}, state)


# --- the whole --------------------------------------------------------------------------------------------------------------

WIDTH, CODE = 16, 6
VISUAL = {
    "model_type": "longcat_next_visual", "hidden_size": WIDTH, "depth": 3, "num_heads": 2, "intermediate_size": 12, "patch_size": 2,
    "window_size": 8, "fullatt_block_indexes": [1], "out_hidden_size": 10, "image_pad_token_id": 131108,
    "vq_config": {
        "depth": 3, "codebook_size": 32, "codebook_dim": CODE, "in_channels": 10, "shared_codebook": True, "quant_conv": True,
        "quantizer_type": "rq", "commit_loss_ratio": 0.25, "codebook_sizes": [32, 32, 32],
    },
    "visual_decoder_config": {"transformer_config": {"width": 1}, "weight_path": "image_decoder.safetensors"},
}  # fmt: skip
PIXEL_DECODER = {
    "hidden_size": WIDTH, "patch_size": 2, "spatial_merge_size": 2, "codebook_dim": CODE, "temporal_patch_size": 2,
    "layer_norm_eps": 1e-5, "num_hidden_layers": 2, "num_attention_heads": 2, "attention_dropout": 0.0, "intermediate_size": 12,
    "hidden_act": "gelu", "k_bias": False,
}  # fmt: skip


def config(**change) -> dict:
    decoder = VISUAL["visual_decoder_config"] | {"image_decoder_config": PIXEL_DECODER | change}
    return {"hidden_size": 8, "visual_config": VISUAL | {"visual_decoder_config": decoder}}


def pixel_decoder_state(*, gated: bool, norms: bool) -> dict[str, Tensor]:
    """The authors' `VisionTransformerDecoder`, filled by a formula, in the order of its sorted names."""
    w, shapes = WIDTH, {"post_quant_conv.weight": (WIDTH, CODE), "post_quant_conv.bias": (WIDTH,)}
    for name in ("post_quant_norm", "patch_unmerger.ln_q", "norm_in", "norm_out"):
        shapes[f"{name}.weight"] = (w,)
    linear = {"patch_unmerger.mlp.0": (4 * w, w), "patch_unmerger.mlp.2": (4 * w, 4 * w)}
    linear |= {"decoder_head.0": (12, w), "decoder_head.2": (3 * 2 * 2 * 2, 12)}
    for i in range(2):
        stem = f"encoder.layers.{i}"
        names = ["layer_norm1", "layer_norm2"] + ["self_attn.inner_attn_ln"] * norms
        shapes |= {f"{stem}.{n}.weight": (w,) for n in names}
        shapes |= {f"{stem}.mlp.ffn_ln.weight": (12,)} if norms else {}
        linear |= {f"{stem}.self_attn.{n}_proj": (w, w) for n in ("q", "k", "v", "out")}
        mlp = {"w1": (12, w), "w2": (12, w), "w3": (w, 12)} if gated else {"fc1": (12, w), "fc2": (w, 12)}
        linear |= {f"{stem}.mlp.{n}": s for n, s in mlp.items()}
    for name, shape in linear.items():
        shapes[f"{name}.weight"] = shape
        if not name.endswith("k_proj"):
            shapes[f"{name}.bias"] = shape[:1]
    out = {}
    for i, (name, shape) in enumerate(sorted(shapes.items())):
        size = torch.Size(shape).numel()
        v = torch.sin(torch.arange(size, dtype=torch.float64) * (1.7 + 0.31 * i) + i).view(shape)
        if len(shape) == 1:
            v = 1 + 0.2 * v if name.endswith("weight") else 0.1 * v
        else:
            v = v * 1.5 / shape[1] ** 0.5
        out[f"image_decoder.{name}"] = v.float()
    return out


def encoder_state(tower=None) -> dict[str, Tensor]:
    """Tower, map behind it and quantizer in the authors' keys; random but for a given transformers' tower."""
    g = torch.Generator().manual_seed(0)
    tower = tower or reference_tower()
    out = {}
    for key, value in tower.state_dict().items():
        stem = "visual_bridge_model.bridge." if key.startswith("merger.") else "visual_model."
        out[stem + key.removeprefix("merger.")] = value
    shapes = {"0.weight": (10,), "0.bias": (10,), "1.weight": (10, 10), "1.bias": (10,), "3.weight": (CODE, 10), "3.bias": (CODE,)}
    out |= {f"visual_bridge_model.quantizer.quant_conv.{k}": torch.randn(s, generator=g) for k, s in shapes.items()}
    table = torch.randn(33, CODE, generator=g)
    for k in range(3):
        stem = f"visual_bridge_model.quantizer.quantize.codebooks.{k}."
        out |= {stem + "embed": table, stem + "embed_ema": table[:-1], stem + "cluster_size_ema": torch.ones(32)}
    out["visual_embedding_layer.pre_buffer.mlp.up_proj.weight"] = torch.ones(1)
    return {f"model.visual_tokenizer.{k}": v for k, v in out.items()} | {"model.layers.0.weight": torch.ones(1)}


def reference_tower():
    """The vision tower of transformers' Qwen2.5-VL with its merger, random weights."""
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

    keys = ("model_type", "image_pad_token_id", "vq_config", "visual_decoder_config")
    own = Qwen2_5_VLVisionConfig(**{k: v for k, v in VISUAL.items() if k not in keys})
    torch.manual_seed(0)
    tower = Qwen2_5_VisionTransformerPretrainedModel._from_config(own, attn_implementation="sdpa").eval()
    with torch.no_grad():
        for p in tower.parameters():  # lively weights: those of the start are near zero
            p.copy_(1 + 0.2 * torch.randn_like(p) if p.ndim == 1 else torch.randn_like(p) / p[0].numel() ** 0.5)
    return tower


def patches(x: Tensor, *, patch: int = 2, merge: int = 2) -> Tensor:
    """A picture `[3, H, W]` as Qwen's processor hands it over: patches of two equal frames, merged ones together."""
    h, w = x.shape[1] // patch // merge, x.shape[2] // patch // merge
    y = torch.stack([x, x]).reshape(2, 3, h, merge, patch, w, merge, patch)
    return y.permute(2, 5, 3, 6, 1, 0, 4, 7).reshape(h * w * merge**2, -1)


@pytest.mark.parametrize("size", [(16, 16), (24, 20), (4, 36), (12, 8)])
def test_tower_equals_transformers(size):
    """Windows of 4 x 4 patches that fit, that are cut off on either side, and pictures smaller than one."""
    tower = reference_tower()
    tok = convert("longcat-next", config(swiglu=True), encoder_state(tower) | pixel_decoder_state(gated=True, norms=False))
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    ours = tok.features(x)
    for i in range(2):
        grid = torch.tensor([[1, size[0] // 2, size[1] // 2]])
        theirs = tower(patches((x[i] - tok.pixel_mean) / tok.pixel_std), grid).pooler_output
        assert_close(ours[i].flatten(1).t(), theirs, atol=2e-5, rtol=1e-4)


#: Every ninth number of a 3 x 8 x 12 picture that the authors' class decodes with `pixel_decoder_state` from sin(0.7 n), float32.
#: "gated", "plain": their GPU path; "once": the other one, with SwiGLU.
PAINTED = {
    "gated": [
        0.171105, 0.044902, 0.147962, -0.166897, 0.184745, 0.071325, 0.161012, 0.371523, 0.175395, -0.097302, 0.091447, 0.246243,
        0.1339, 0.252787, 0.191543, 0.001975, 0.240816, 0.11459, 0.24074, -0.190237, 0.191058, 0.117953, 0.228976, -0.000829,
        0.166381, -0.009608, -0.016579, -0.039169, -0.027111, 0.059501, 0.129111, 0.118253,
    ],
    "plain": [
        0.059909, -0.156163, 0.175205, -0.161535, -0.053655, -0.068186, 0.17898, -0.054968, 0.034732, -0.167625, 0.127329,
        -0.187141, -0.065306, -0.029268, 0.249303, -0.047522, 0.007635, -0.183915, 0.272494, -0.192753, -0.118007, -0.06653,
        0.201565, 0.094468, 0.049959, -0.10525, -0.026439, -0.082396, -0.030603, 0.093351, 0.129712, 0.091678,
    ],
    "once": [
        0.17791, 0.036331, 0.167883, -0.153113, 0.212189, 0.063265, 0.183342, 0.376435, 0.202878, -0.109467, 0.086255, 0.270112,
        0.150798, 0.248584, 0.19731, 0.030902, 0.262328, 0.115613, 0.249778, -0.190475, 0.23609, 0.095174, 0.2517, -0.006115,
        0.172034, -0.015069, -0.019035, -0.032175, -0.024909, 0.063431, 0.127413, 0.119172,
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", PAINTED)
def test_pixel_decoder_equals_the_authors(kind):
    gated = kind != "plain"
    state = encoder_state() | pixel_decoder_state(gated=gated, norms=not gated)
    tok = convert("longcat-next", config(swiglu=gated, subln=not gated), state)
    if kind == "once":
        for block in tok.pixel_decoder.blocks:
            block.scale = (WIDTH / 2) ** -0.5
    z_q = torch.sin(torch.arange(36, dtype=torch.float64) * 0.7).view(6, CODE).t().unflatten(1, (2, 3))[None].float()
    painted = tok.pixel_decoder(z_q)[0]
    assert painted.shape == (3, 8, 12)
    assert_close(painted.flatten()[::9], torch.tensor(PAINTED[kind]), atol=2e-6, rtol=1e-5)
    pixels = tok.decode_latents(z_q.flatten(2), (2, 3))[0]
    assert_close((pixels - tok.pixel_mean) / tok.pixel_std, painted, **CLOSE)


def test_any_size():
    tok = convert("longcat-next", config(swiglu=True), encoder_state() | pixel_decoder_state(gated=True, norms=False))
    xs = [torch.rand(3, h, w, generator=torch.Generator().manual_seed(h)) for h, w in ((15, 9), (8, 24), (3, 5))]
    tokens = tok.encode(xs)
    assert tokens.grids.tolist() == [[4, 3], [2, 6], [1, 2]] and tok.spec.vocab_sizes == (32, 32, 32)
    for i, (x, y) in enumerate(zip(xs, tok.decode(tokens), strict=True)):
        alone = tok.encode(x)
        assert y.shape == x.shape and torch.equal(tokens[i].ids, alone.ids)
        assert_close(tok.decode(alone)[0], y, **CLOSE)
        assert tok.decode(alone.first(codebooks=1)).shape == (1, *x.shape)


def test_strict():
    state = encoder_state() | pixel_decoder_state(gated=True, norms=False)
    with pytest.raises(ValueError, match="visual_config"):
        convert("longcat-next", {"hidden_size": 1}, state)
    with pytest.raises(ValueError, match="'codebook_dim' is 5|codebook_dim is 5"):
        convert("longcat-next", config(swiglu=True, codebook_dim=5), state)
    with pytest.raises(ValueError, match="hidden_act"):
        convert("longcat-next", config(hidden_act="relu"), state)
    with pytest.raises(CheckpointError, match="visual_model.extra"):
        convert("longcat-next", config(swiglu=True), state | {"model.visual_tokenizer.visual_model.extra": torch.ones(1)})
    with pytest.raises(CheckpointError):
        convert("longcat-next", config(swiglu=True), {k: v for k, v in state.items() if "ln_q" not in k})
