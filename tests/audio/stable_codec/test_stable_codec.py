"""Stable Codec: its blocks against plain formulas, the authors' layout, post-hoc bottlenecks, loudness.

    pytest tests/audio/stable_codec/test_stable_codec.py
"""

import json
import math
import re

import pytest
import torch
import torchaudio.functional as AF
from audio_cases import as_folder, close, shake
from families import TINY
from tokenzoo import build_tokenizer
from tokenzoo.codecs.audio.stable_codec import window_transformer as wt
from tokenzoo.codecs.audio.stable_codec.model import POSTHOC, StableCodec, normalize_lufs
from tokenzoo.codecs.layers import window_attention as window_module
from tokenzoo.codecs.layers.window_attention import window_attention
from tokenzoo.codecs.serialize import load_folder, save_folder
from tokenzoo.zoo.convert import convert, converter

LEVELS = 17


def plain_norm(x, weight, bias=0.0, eps=1e-2):
    return (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + eps) * weight + bias


def plain_attention(p, x, head, window):
    """Position by position and head by head, in float64."""
    qkv = x @ p["attention.qkv.weight"].T  # [L, 3 D]
    width, out = x.shape[1], torch.zeros_like(x)
    for h in range(width // head):
        q, k, v = (qkv[:, i * width + h * head : i * width + (h + 1) * head] for i in range(3))
        turned = []
        for name, y in (("q", q), ("k", k)):
            y = plain_norm(y, p[f"attention.{name}_norm.weight"], p[f"attention.{name}_norm.bias"], 1e-6).clone()
            for n in range(len(y)):
                for i in range(head // 4):  # pairs (i, i + d / 4) of the first d / 2 channels
                    angle = n * 10000.0 ** (-2 * i / (head // 2))
                    a, b = y[n, i].clone(), y[n, i + head // 4].clone()
                    y[n, i] = a * math.cos(angle) - b * math.sin(angle)
                    y[n, i + head // 4] = b * math.cos(angle) + a * math.sin(angle)
            turned.append(y)
        for n in range(len(x)):
            seen = range(max(0, n - window[0]), min(len(x), n + window[1] + 1))
            scores = torch.stack([turned[0][n] @ turned[1][m] for m in seen]) / math.sqrt(head)
            out[n, h * head : (h + 1) * head] = (scores.softmax(0)[:, None] * v[list(seen)]).sum(0)
    return out @ p["attention.out.weight"].T


def plain_block(p, x, head, window):
    silu = torch.nn.functional.silu
    x = x + p["scale_attention.scale"] * plain_attention(p, plain_norm(x, p["norm_attention.weight"]), head, window)
    y = plain_norm(x, p["conformer.norm_in.weight"]) @ p["conformer.map_in.weight"].T
    value, gate = (y @ p["conformer.gated.proj.weight"].T + p["conformer.gated.proj.bias"]).chunk(2, 1)
    y, kernel = torch.nn.functional.pad(value * silu(gate), (0, 0, 8, 8)), p["conformer.conv.weight"][:, 0]  # [D, 17]
    y = torch.stack([(y[n : n + 17] * kernel.T).sum(0) for n in range(len(x))])
    y = silu(plain_norm(y, p["conformer.norm_out.weight"])) @ p["conformer.map_out.weight"].T
    x = x + p["scale_conformer.scale"] * y
    y = plain_norm(x, p["norm_feed_forward.weight"])
    value, gate = (y @ p["feed_forward.0.proj.weight"].T + p["feed_forward.0.proj.bias"]).chunk(2, 1)
    y = (value * silu(gate)) @ p["feed_forward.1.weight"].T + p["feed_forward.1.bias"]
    return x + p["scale_feed_forward.scale"] * y


@torch.no_grad()
def test_block_against_plain_formulas():
    torch.manual_seed(0)
    config = wt.WindowTransformerConfig(width=16, layers=1, head_dim=8, window=(3, 2), layer_scale=0.5, conformer=True)
    stack = shake(wt.WindowTransformer(config)).double()
    p = {k.removeprefix("blocks.0."): v for k, v in stack.state_dict().items()}
    x = torch.randn(1, 16, 13, dtype=torch.float64)
    close(stack(x)[0].T, plain_block(p, x[0].T, 8, (3, 2)), 1e-6)  # the angles are float32


@pytest.mark.parametrize("window", [(3, 2), (0, 5), (-1, 2), (4, -1), (-1, -1), (100, 100)])
@torch.no_grad()
def test_window_in_blocks(window, monkeypatch):
    monkeypatch.setattr(window_module, "QUERY_BLOCK", 7)
    q, k, v = torch.randn(3, 2, 2, 31, 4, generator=torch.Generator().manual_seed(0))
    at = torch.arange(31)
    ahead = at - at[:, None]
    mask = ((ahead >= -window[0]) | (window[0] < 0)) & ((ahead <= window[1]) | (window[1] < 0))
    scores = (q @ k.transpose(2, 3) / 2).masked_fill(~mask, -torch.inf)
    close(window_attention(q, k, v, window), scores.softmax(-1) @ v, 1e-6)


# --- the authors' layout ----------------------------------------------------------------------------------------------

#: In words of the authors' class: what their key ends with, and what ours does.
BLOCK = {
    "norm_attention.weight": "pre_norm.gamma",
    "attention.qkv.weight": "self_attn.to_qkv.weight",
    "attention.out.weight": "self_attn.to_out.weight",
    "attention.q_norm.": "self_attn.q_norm.",
    "attention.k_norm.": "self_attn.k_norm.",
    "scale_attention.scale": "self_attn_scale.scale",
    "norm_feed_forward.weight": "ff_norm.gamma",
    "feed_forward.0.proj.": "ff.ff.0.proj.",
    "feed_forward.1.": "ff.ff.2.",
    "scale_feed_forward.scale": "ff_scale.scale",
    "scale_conformer.scale": "conformer_scale.scale",
    "conformer.norm_in.weight": "conformer.in_norm.gamma",
    "conformer.map_in.weight": "conformer.pointwise_conv.weight",
    "conformer.gated.proj.": "conformer.glu.proj.",
    "conformer.conv.weight": "conformer.depthwise_conv.weight",
    "conformer.norm_out.weight": "conformer.mid_norm.gamma",
    "conformer.map_out.weight": "conformer.pointwise_conv_2.weight",
}


def authors_state(tok: StableCodec) -> dict[str, torch.Tensor]:
    """Our weights under the authors' keys, with weight norm and the buffers that their class saves."""
    out = {}
    for key, value in tok.state_dict().items():
        side, part, *rest = key.split(".")
        depth = len(tok.config.encoder.strides)
        if part != "levels":
            out[f"{side}.layers.{ {'stem': 0, 'act': depth + 1, 'head': depth + 2}[part]}.{rest[-1]}"] = value
            continue
        level, what, *rest = rest
        encoder, units = side == "encoder", 3 if getattr(tok.config, side).units else 0
        if what == "transformer":
            tail = ".".join(rest[2:])
            ours = next(a for a in BLOCK if tail.startswith(a))
            tail = BLOCK[ours] + tail[len(ours) :]
            stem = f"{side}.layers.{int(level) + 1}.layers.{units + 2 if encoder else 0}.{int(rest[1]) + 1}"
            out[f"{stem}.{tail}"] = value[:, :, None] if "pointwise" in tail else value
            out[f"{stem}.rope.inv_freq"] = torch.ones(2)
            out[f"{stem}.pre_norm.beta"] = torch.zeros(8)
        elif what == "units":
            unit = {"act_in": 0, "conv_in": 1, "act_out": 2, "conv_out": 3}[rest[1]]
            number = int(rest[0]) + (0 if encoder else 3)
            out[f"{side}.layers.{int(level) + 1}.layers.{number}.layers.{unit}.{rest[2]}"] = value
        else:
            number = {"act": units, "conv": units + 1} if encoder else {"act": 1, "conv": 2}
            out[f"{side}.layers.{int(level) + 1}.layers.{number[what]}.{rest[0]}"] = value
    for key in [k for k in out if re.fullmatch(r".*\.layers\.\d+\.weight", k)]:  # convolutions carry weight norm
        value = out.pop(key)
        norm = value.flatten(1).norm(dim=1).view(-1, *(1,) * (value.ndim - 1))
        out[key + "_g"], out[key + "_v"] = norm, 3 * value
    return out


def authors_config(tok: StableCodec) -> dict:
    c, model = tok.config, {}
    patch = c.channels * c.patch_samples
    for name, end in (("encoder", "in_channels"), ("decoder", "out_channels")):
        side = getattr(c, name)
        model[name] = {
            "type": "taae",
            "config": {
                end: patch, "channels": side.width, "latent_dim": c.latent_dim, "c_mults": list(side.multiples),
                "strides": list(side.strides), "transformer_depths": list(side.depths), "use_snake": side.snake,
                "sliding_window": list(side.window), "conformer": side.conformer, "use_dilated_conv": side.units,
            },
        }  # fmt: skip
    model |= {
        "pretransform": {"type": "patched", "config": {"channels": c.channels, "patch_size": c.patch_samples}},
        "bottleneck": {"type": "dithered_fsq", "config": {"levels": LEVELS, "dim": c.latent_dim, "noise_dropout": 0.5}},
        "latent_dim": c.latent_dim,
        "downsampling_ratio": c.hop_samples,
        "io_channels": c.channels,
    }
    return {"model_type": "autoencoder", "sample_rate": 16000, "sample_size": 65536, "training": {}, "model": model}


def tiny() -> StableCodec:
    torch.manual_seed(0)
    quantizer = {"kind": "fsq", "levels": [LEVELS] * 4, "convention": "stable", "noise_dropout": 0.5}
    config = TINY["stable_codec"][1] | {"quantizer": quantizer, "normalize": "none"}
    sides = {side: config[side] | {"head_dim": 128} for side in ("encoder", "decoder")}  # fixed in their class
    return shake(build_tokenizer("stable_codec", config | sides))


@torch.no_grad()
def test_authors_layout(tmp_path):
    tok = tiny()
    state, config = authors_state(tok), authors_config(tok)
    again = as_folder(tmp_path, "stable-codec", config | {"source": {"repo": "x"}}, state)
    assert again.spec == tok.spec and again.config.quantizer.noise_dropout == 0.5 and again.config.encoder.conformer
    x = 0.3 * torch.randn(2, 1, 123, generator=torch.Generator().manual_seed(1))
    tokens = again.encode(x)
    assert torch.equal(tokens.ids, tok.encode(x).ids) and tokens.ids.unique().numel() > 4
    close(again.decode(tokens), tok.decode(tokens), 1e-5)
    wrapped = {"state_dict": {f"autoencoder.{k}": v for k, v in state.items()}, "epoch": 3}  # of a training run
    assert torch.equal(convert("stable-codec", config, wrapped).encode(x).ids, tokens.ids)
    with pytest.raises(ValueError, match="surplus"):
        convert("stable-codec", config, state | {"encoder.layers.9.surplus": torch.ones(1)})
    key = next(k for k in state if k.endswith("norm.beta"))
    with pytest.raises(ValueError, match="not zero"):
        convert("stable-codec", config, state | {key: torch.ones(8)})
    key = next(k for k in state if k.endswith("to_qkv.weight"))
    with pytest.raises(ValueError, match="missing"):
        convert("stable-codec", config, {k: v for k, v in state.items() if k != key})


def test_wrong_configurations():
    make, config = converter("stable-codec").config, json.loads(json.dumps(authors_config(tiny())))
    assert make(config)["quantizer"]["noise_dropout"] == 0.5
    preset = make(config | {"posthoc_bottleneck": "4x729_1000bps", "normalize": True})
    assert preset["quantizer"]["num_codebooks"] == 4 and preset["normalize"] == "lufs"
    stages = make(config | {"posthoc_bottleneck": [[[5, 5, 5, 5], 1.0], [[3, 3, 3, 3], 0.25]]})
    assert stages["quantizer"]["scales"] == [1.0, 0.25]
    changes = [
        (("posthoc_bottleneck",), "3x", "posthoc_bottleneck"),
        (("model", "encoder", "type"), "oobleck", "type"),
        (("model", "bottleneck", "config", "dim"), 5, "wide"),
        (("model", "pretransform", "config", "oversampling"), 2, "oversampling"),
        (("model", "downsampling_ratio"), 7, "downsampling_ratio"),
        (("model", "encoder", "config", "mapping_style"), "linear", "mapping_style"),
        (("model", "decoder", "hard_clip"), True, "hard_clip"),
    ]
    for path, value, words in changes:
        wrong = json.loads(json.dumps(config))
        inner = wrong
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        with pytest.raises(ValueError, match=words):
            make(wrong)
    config["model"]["encoder"]["config"]["depth"] = 7  # the authors' class takes what it does not know, and reads none of it
    with pytest.warns(UserWarning, match="depth = 7"):
        make(config)


# --- post-hoc bottlenecks, loudness -----------------------------------------------------------------------------------


@torch.no_grad()
def test_posthoc_bottlenecks_share_the_weights(tmp_path):
    config = TINY["stable_codec"][1] | {"latent_dim": 6, "quantizer": {"kind": "fsq", "levels": [17] * 6, "convention": "stable"}}
    torch.manual_seed(0)
    tok = shake(build_tokenizer("stable_codec", config))
    assert tok.spec.vocab_sizes == (17**4, 17**2)
    x = 0.2 * torch.randn(1, 1, 201, generator=torch.Generator().manual_seed(1))
    for name, sizes in (("1x46656_400bps", (46656,)), ("2x15625_700bps", (15625,) * 2), ("4x729_1000bps", (729,) * 4)):
        other = tok.posthoc(name)
        assert other.spec.vocab_sizes == sizes and other.encoder is tok.encoder and other.config.quantizer == POSTHOC[name]
        tokens = other.encode(x)
        assert torch.equal(tokens.ids, POSTHOC[name].build().encode(tok.encode_latents(x)))
        save_folder(other, tmp_path / name)
        assert torch.equal(load_folder(tmp_path / name).encode(x).ids, tokens.ids)
    assert tok.spec.vocab_sizes == (17**4, 17**2) and tok.encode(x).num_codebooks == 2  # the first one is as it was
    kbps = [tok.posthoc(n).spec.bitrate_kbps / tok.spec.frame_rate_hz * 25 for n in POSTHOC]
    assert [round(k, 1) for k in kbps] == [0.4, 0.7, 1.0]
    with pytest.raises(ValueError, match="1x46656_400bps"):
        tok.posthoc("1x46656")


def test_loudness():
    g = torch.Generator().manual_seed(0)
    quiet = 0.01 * torch.randn(1, 16000, generator=g)
    peaky = quiet.clone()
    peaky[0, 8000] = 0.9
    silent = 1e-4 * quiet
    x = torch.stack([quiet, peaky, silent])
    y, scale = normalize_lufs(x, 16000)
    assert float(AF.loudness(y[0], 16000)) == pytest.approx(-20, abs=0.01)
    assert float(y[1].abs().max()) == pytest.approx(0.95, abs=1e-4)
    assert torch.equal(y[2], x[2]) and float(scale[2]) == 1
    close(y * scale[:, :, None], x, 1e-6)
    alone, _ = normalize_lufs(x[:1], 16000)
    assert torch.equal(alone[0], y[0])
    assert float(normalize_lufs(x[..., :6399], 16000)[1].min()) == 1  # too short to measure
