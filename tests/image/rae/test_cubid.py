"""CubiD's autoencoder against the authors' outputs. Run: pytest tests/image/rae/test_cubid.py"""

import json

import pytest
import torch
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.image.rae.model import sine_positions
from tokenzoo.codecs.quantizers import build
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.zoo.convert import convert, converter, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 1e-4, "rtol": 1e-4}


def test_reference():
    folder = reference_folder("image", "cubid")
    tok, io = load_reference(folder), load_io(folder)
    x = io["input"]
    z = tok.encode_latents(x)
    assert_close(z, io["latent"].flatten(2), **CLOSE)
    tokens = tok.encode(x)
    assert tokens.grid == (4, 4) and torch.equal(tokens.ids, io["ids"].flatten(2))
    assert_close(tok.quantizer.decode(tokens.ids), io["dequantized"].flatten(2), **CLOSE)
    assert_close(tok.decode(tokens), io["decoded"], **CLOSE)
    assert_close(tok.decode_latents(z, tokens.grid), io["decoded_unquantized"], **CLOSE)
    assert torch.equal(tok.encode(x[:1]).ids, tokens.ids[:1])
    assert_close(sine_positions(4, 64), tok.positions, atol=1e-6, rtol=0)


def test_grid_of_values():
    io = load_io(reference_folder("image", "cubid"))
    q = build("dimension_wise", dim=1, levels=8, low=-9.0, high=9.0)
    ids = q.encode(io["grid"][None, None])
    assert torch.equal(ids[0, 0], io["grid_ids"])
    assert_close(q.decode(ids)[0, 0], io["grid_dequantized"], **CLOSE)
    assert_close(q.table, io["reconstruction_values"], **CLOSE)


TINY = {
    "encoder_size": 20, "decoder_dim": 32, "decoder_depth": 1, "decoder_heads": 2, "decoder_patch_size": 4, "decoder_mlp_dim": 64,
    "encoder_config": {
        "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "mlp_ratio": 3, "image_size": 20, "patch_size": 5,
    },
}  # fmt: skip


def test_tower_equals_transformers():
    """Other sides, also such as no whole patches cover: the peer's own class, with random weights under its own names."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    peer = transformers.Dinov2WithRegistersModel(transformers.Dinov2WithRegistersConfig(**TINY["encoder_config"])).eval()
    with torch.no_grad():
        for p in peer.parameters():
            p.add_(torch.randn_like(p) * 0.1)
        peer.layernorm.weight.fill_(1.0), peer.layernorm.bias.zero_()  # the authors take both out
    layout = converter("cubid")
    for side in (20, 35, 33, 24, 21):
        config = {**TINY, "encoder_size": side}
        own = layout.own_config(config)
        state = layout.write(build_tokenizer("rae", own).state_dict(), own)
        state = {k: v for k, v in state.items() if not k.startswith("encoder.")}
        tok = convert("cubid", config, state | {f"encoder.encoder.{k}": v for k, v in peer.state_dict().items()})
        assert tok.spec.image_size == (side // 5 * 4,) * 2
        x = torch.rand(2, 3, side, side)
        with torch.no_grad():
            theirs = peer((x - tok.pixel_mean) / tok.pixel_std).last_hidden_state[:, 5:]
            assert_close(tok.encode_latents(x), (theirs / (1 + 1e-5) ** 0.5).transpose(1, 2), **CLOSE)
            assert tok.decode(tok.encode(torch.rand(2, 3, 16, 16))).shape == (2, 3, 16, 16)


#: Names of the authors' class, and of the decoder's file that it reads them from.
PUBLISHED = (
    ("decoder.norm.", "decoder.decoder_norm."),
    (".attn.proj.", ".attention.output.dense."),
    (".attn.qkv.", ".attention.attention.qkv."),
    (".fc1.", ".intermediate.dense."),
    (".fc2.", ".output.dense."),
    (".norm1.", ".layernorm_before."),
    (".norm2.", ".layernorm_after."),
    ("decoder.blocks.", "decoder.decoder_layers."),
    ("decoder.cls_token", "decoder.trainable_cls_token"),
    ("decoder.pred.", "decoder.decoder_pred."),
)


def test_files_as_they_were_published():
    """Decoder and statistics are files of their own, the tower is transformers': all under the authors' class's prefixes."""
    folder = reference_folder("image", "cubid")
    tok, io, layout = load_reference(folder), load_io(folder), converter("cubid")
    state = {}
    for key, value in layout.write(tok.state_dict(), tok.config).items():
        for old, new in PUBLISHED:
            key = key.replace(old, new) if key.startswith("decoder.") else key
        if ".attention.attention.qkv." in key:
            parts = zip(("query", "key", "value"), value.chunk(3), strict=True)
            state |= {key.replace("qkv", name): part.clone() for name, part in parts}
            continue
        for short, name in (("q", "query"), ("k", "key"), ("v", "value")):
            key = key.replace(f".attention.{short}_proj.", f".attention.attention.{name}.")
        state[key.replace(".attention.o_proj.", ".attention.output.dense.")] = value
    assert "decoder.decoder_layers.1.attention.attention.query.bias" in state and "decoder.trainable_cls_token" in state
    assert "encoder.encoder.encoder.layer.0.attention.attention.key.weight" in state
    state["latent_mean"] = state["latent_mean"][0]  # [D, h, w], as the file of statistics holds it
    config = json.loads((folder / "config.json").read_text())
    extra = {"decoder.mask_token": torch.ones(1, 1, 64), "encoder.encoder.layernorm.weight": torch.ones(48)}
    assert torch.equal(convert("cubid", config, {**state, **extra}).encode(io["input"]).ids, io["ids"].flatten(2))
    state["latent_var"] = torch.full((48, 1), 2.0)  # one a channel
    assert bool((convert("cubid", config, state).latent_var == 2.0).all())


def test_strict():
    folder = reference_folder("image", "cubid")
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    with pytest.raises(CheckpointError, match="encoder_mean"):
        convert("cubid", config, {**state, "encoder_mean": torch.full((1, 3, 1, 1), 0.5)})
    with pytest.raises(ValueError, match="normalize_latents"):
        convert("cubid", {**config, "normalize_latents": False}, state)
    with pytest.raises(ValueError, match="less than one patch"):
        convert("cubid", {**config, "encoder_size": 6, "image_size": 0}, state)
