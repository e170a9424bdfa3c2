"""DualToken against the authors' outputs. Run: pytest tests/image/dualtoken/test_dualtoken.py"""

import json

import pytest
import torch
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.coding import NoMeaning
from tokenzoo.zoo.convert import convert, converter, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 2e-5, "rtol": 1e-4}


@pytest.fixture(scope="module")
def folder():
    return reference_folder("image", "dualtoken")


def stack(io, name):
    """`[B, h, w, depth]` to `[B, depth, L]`."""
    return io[name].flatten(1, 2).transpose(1, 2)


def test_reference(folder):
    tok, io = load_reference(folder), load_io(folder)
    x = io["input"]
    z = tok.encode_latents(x)
    assert_close(z[:, :8], stack(io, "sem.latent"), **CLOSE)
    assert_close(z[:, 8:], stack(io, "pix.latent"), **CLOSE)

    tokens = tok.encode(x)
    assert tokens.names == ("semantic",) * 3 + ("pixel",) * 3 and tokens.grid == (6, 6)
    assert torch.equal(tokens.track("semantic").ids, stack(io, "sem.ids"))
    assert torch.equal(tokens.track("pixel").ids, stack(io, "pix.ids"))
    assert torch.equal(tok.encode(x[:1]).ids, tokens.ids[:1])

    z_q = tok.quantizer.decode(tokens.ids)
    assert_close(z_q[:, :8], stack(io, "sem.quantized_from_ids"), **CLOSE)
    assert_close(z_q[:, 8:], stack(io, "pix.quantized_from_ids"), **CLOSE)
    by_level = zip(tok.quantizer.second.levels, tokens.track("pixel").ids.unbind(1), strict=True)
    by_depth = [level.decode_rows(at.flatten()) for level, at in by_level]
    assert_close(torch.stack(by_depth, 1), io["pix.code_embeddings_by_depth"].flatten(0, 2), **CLOSE)
    assert_close(tok.decode(tokens, original=False), io["decoded"], **CLOSE)
    semantic, last, pooled = tok.decode_features(z_q)
    assert_close(semantic, io["sem.projected"], **CLOSE)
    assert_close(last, io["last_hidden_state"], **CLOSE)
    assert_close(pooled, io["pooler_output"], **CLOSE)
    assert_close(tok.semantic(tokens).transpose(1, 2), semantic, **CLOSE)
    assert_close(tok.semantic(tokens, pooled=True), pooled, **CLOSE)

    out = tok(x)
    assert_close(out.quantized.z_q[:, 8:], io["pix.quantized"].transpose(1, 2), **CLOSE)
    assert_close(out.quantized.loss, io["quantizer_losses"].sum(), **CLOSE)
    assert_close(out.x_hat, io["decoded"], **CLOSE)
    assert_close(out.features["pooled"][..., 0], io["pooler_output"], **CLOSE)


def authors_fold(x, f):
    """`[B, N, d]` to the authors' `[B, h, w, f f d]`."""
    b, n, d = x.shape
    side = int(n**0.5) // f
    return x.reshape(b, side, f, side, f, d).permute(0, 1, 3, 2, 4, 5).reshape(b, side, side, -1)


def test_cells_of_several_positions_and_own_tables(folder):
    """Codes over 2 x 2 positions, tables of different sizes, no shortcut, no pooling."""
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    plain = load_reference(folder)
    generator = torch.Generator().manual_seed(0)
    for name, sizes in (("sem", [20, 30]), ("pix", [40, 10])):
        vq = config[f"vq_{name}"]
        config[f"vq_{name}"] = vq | {"code_shape": [3, 3, 2], "n_embed": sizes, "shared_codebook": False, "decay": [0.9, 0.9]}
        state = {k: v for k, v in state.items() if not k.startswith(f"quantizer_{name}.")}
        for i, size in enumerate(sizes):
            key = f"quantizer_{name}.codebooks.{i}."
            state |= {key + "weight": torch.randn(size + 1, 32, generator=generator)}
            state |= {key + "cluster_size_ema": torch.ones(size), key + "embed_ema": torch.zeros(size, 32)}
    config |= {"layer_shortcut": None, "weight_shortcut": None}
    config["siglip"]["vision"]["vision_use_head"] = False
    state = {k: v for k, v in state.items() if not k.startswith(("prequant_shortcut", "siglip_model.vision_model.head"))}
    tok, x = convert("dualtoken", config, state), load_io(folder)["input"]
    assert tok.spec.vocab_sizes == (20, 30, 40, 10)
    z = tok.encode_latents(x)
    latent = plain.to_semantic(after_layers(plain, x, 3))  # [B, N, d]
    assert_close(z[:, :32], authors_fold(latent, 2).flatten(1, 2).transpose(1, 2), **CLOSE)
    pixel = plain.to_pixel(after_layers(plain, x, 2))
    assert_close(z[:, 32:], authors_fold(pixel, 2).flatten(1, 2).transpose(1, 2), **CLOSE)
    assert_close(tok._unfolded(z[:, 32:], 8), pixel, **CLOSE)
    tokens = tok.encode(x)
    assert tokens.grid == (3, 3) and tok.semantic(tokens).shape == (len(x), tok.spec.semantic_dim, 36)
    with pytest.raises(NoMeaning, match="pooled"):
        tok.semantic(tokens, pooled=True)
    table = state["quantizer_pix.codebooks.0.weight"][:-1]
    assert torch.equal(tokens.ids[:, 2], torch.cdist(z[:, 32:].transpose(1, 2), table).argmin(-1))
    assert tok.decode(tokens).shape == x.shape


def after_layers(tok, x, count):
    y = tok.tower.embed(x)
    for block in tok.tower.blocks[:count]:
        y = block(y)
    return y


def test_the_authors_configs():
    """Both published configurations, with the tower from the name of its checkpoint."""
    vq = {"bottleneck_type": "rq", "ckpt_path": None, "code_shape": [16, 16, 4], "decay": 0.99, "embed_dim": 32,
          "latent_shape": [16, 16, 32], "n_embed": 16384, "restart_unused_codes": True, "shared_codebook": True}  # fmt: skip
    dd = {"attn_resolutions": [16], "ch": 128, "ch_mult": [1, 1, 4, 4, 8], "decoder_in_channels": 1024, "double_z": False,
          "dropout": 0.0, "in_channels": 3, "num_res_blocks": 2, "out_ch": 3, "resolution": 256}  # fmt: skip
    inner = {"architectures": ["RQVAESiglip"], "layer_recon": 6, "layer_sem": 26, "layer_shortcut": 4, "weight_shortcut": 0.6,
             "model_type": "rqvaesiglip_model", "hidden_size": 1152, "ddconfig": dd, "decoder_latent_shape": [16, 16],
             "checkpointing": True, "ignore_keys": None, "vq_sem": vq | {"bottleneck_type": "rq_ema"}, "vq_pix": vq,
             "pretrained_model": "models/siglip2-so400m-patch16-256", "torch_dtype": "float32"}  # fmt: skip
    own = converter("dualtoken").config({"hidden_size": 1152, "rqvaesiglip": inner})
    assert own["tower"]["layers"] == 27 and own["tower"]["hidden"] == 4304 and own["tower"]["image_size"] == 256
    assert own["decoder"]["attention_levels"] == [4] and own["decoder"]["widths"] == [128, 128, 512, 512, 1024]
    with pytest.raises(ValueError, match="must end like"):
        converter("dualtoken").config({"rqvaesiglip": inner | {"pretrained_model": "clip-large"}})


def test_shared_tables_that_differ_are_refused(folder):
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    state["quantizer_sem.codebooks.1.weight"] = state["quantizer_sem.codebooks.1.weight"] + 1
    with pytest.raises(ValueError, match="differs from level 0"):
        convert("dualtoken", config, state)
