"""UniTok: its codes against the authors' outputs, its encoder against timm. Run: pytest tests/image/unitok/test_unitok.py"""

import json

import pytest
import torch
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.image.unitok.layouts import ENCODER
from tokenzoo.codecs.layers.vitamin import GatedBlock, ViTaminConfig, ViTaminEncoder
from tokenzoo.codecs.layouts.keymap import Rename
from tokenzoo.zoo.convert import convert, converter, load_reference
from torch import nn
from torch.testing import assert_close

CLOSE = {"atol": 2e-5, "rtol": 1e-4}


def test_codes():
    folder = reference_folder("image", "unitok-quantizer")
    tok, io = load_reference(folder), load_io(folder)
    x = io["features"].transpose(1, 2)  # [B, C, L]
    z = tok.encode_latents(x)
    assert_close(z.transpose(1, 2), io["latent"], **CLOSE)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids, io["ids"])
    assert torch.equal(tok.encode(x[:1]).ids, tokens.ids[:1])
    assert_close(tok.quantizer.decode(tokens.ids).transpose(1, 2), io["quantized_from_ids"], **CLOSE)
    assert_close(tok.decode(tokens).transpose(1, 2), io["projected"], **CLOSE)
    out = tok(x)
    assert_close(out.quantized.z_q.transpose(1, 2), io["quantized"], **CLOSE)
    assert_close(out.quantized.loss, io["losses"][0], **CLOSE)


def test_reference():
    folder = reference_folder("image", "unitok")
    tok, io = load_reference(folder), load_io(folder)
    x = io["input"]
    assert_close(tok.encoder(x), io["encoded"], **CLOSE)
    assert_close(tok.encode_latents(x).transpose(1, 2), io["latent"], **CLOSE)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids, io["ids"]) and tokens.grid == (3, 3)
    assert torch.equal(tok.encode(x[:1]).ids, tokens.ids[:1])
    assert_close(tok.semantic(tokens).transpose(1, 2), io["features"], **CLOSE)
    assert_close(tok.semantic(tokens, pooled=True), io["embedding"], **CLOSE)
    y = tok.decode(tokens)
    assert_close(y, io["decoded"], **CLOSE)
    assert_close(tok.decode(tokens[:1]), y[:1], **CLOSE)
    assert_close(tok(x).x_hat, io["decoded"], **CLOSE)


def test_published_file_and_options():
    """The published file's form; a position table that is not zero, and unknown weights, are refused."""
    folder = reference_folder("image", "unitok")
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    file = {"args": config, "trainer": {"unitok": state, "disc": {}}, "epoch": 1}
    tok, x = convert("unitok", config, file), load_io(folder)["input"]
    assert torch.equal(tok.encode(x).ids, load_io(folder)["ids"])
    with pytest.raises(ValueError, match="pos_embed is not zero"):
        convert("unitok", config, state | {"encoder.pos_embed": torch.ones(1, 1, 24)})
    with pytest.raises(ValueError, match="does not know: encoder.head.weight"):
        convert("unitok", config, state | {"encoder.head.weight": torch.ones(1)})
    with pytest.raises(ValueError, match="supported: 'vitamin_base', 'vitamin_large'"):
        convert("unitok", config | {"model": "vitamin_xlarge"}, state)
    linear = {k: v for k, v in state.items() if not k.startswith(("quant_proj", "post_quant_proj"))}
    linear |= {"quant_proj.weight": torch.randn(8, 24), "quant_proj.bias": torch.randn(8)}
    linear |= {"post_quant_proj.weight": torch.randn(24, 8), "post_quant_proj.bias": torch.randn(24)}
    plain = convert("unitok", config | {"quant_proj": "linear"}, dict(linear))
    want = tok.encoder(x) @ linear["quant_proj.weight"].T + linear["quant_proj.bias"]
    assert_close(plain.encode_latents(x).transpose(1, 2), want, **CLOSE)


def test_the_published_model():
    """Its size, from the authors' own settings: 256 positions of 8 ids of 4096."""
    with torch.device("meta"):
        tok = build_tokenizer("unitok", converter("unitok").config({"model": "vitamin_large", "lr": 5e-4}))
    assert tok.config == type(tok.config)()
    assert tok.spec.vocab_sizes == (4096,) * 8 and tok.spec.tokens_per_image() == 256 * 8


def test_dropped_branches_keep_the_mean():
    torch.manual_seed(0)
    block = GatedBlock(8, 2, mlp_ratio=2.0, drop_path=0.25).train()
    branch = torch.ones(20000, 1, 8)
    kept = block._kept(branch)
    assert 0.74 < (kept > 0).float().mean() < 0.76 and float(kept.max()) == pytest.approx(4 / 3)
    with torch.no_grad():
        assert torch.equal(block._kept(branch), branch)


class TanhGeglu(nn.Module):
    """The authors' stand-in for timm's gated MLP."""

    def __init__(self, in_features, hidden_features, **_):
        super().__init__()
        self.norm = nn.LayerNorm(in_features, eps=1e-6)
        self.act = nn.GELU(approximate="tanh")
        self.w0, self.w1 = nn.Linear(in_features, hidden_features), nn.Linear(in_features, hidden_features)
        self.w2 = nn.Linear(hidden_features, in_features)

    def forward(self, x):
        x = self.norm(x)
        return self.w2(self.act(self.w0(x)) * self.w1(x))


@pytest.mark.parametrize("queries", [0, 3])
def test_encoder_equals_timm(queries):
    """timm's own ViTamin, at small widths, built as the authors build it."""
    vitamin = pytest.importorskip("timm.models.vitamin")
    torch.manual_seed(0)
    peer = vitamin._create_vitamin(
        "vitamin_small_224",
        embed_cfg=vitamin.VitCfg(embed_dim=(8, 16, 24), depths=(2, 3, 1), stem_width=12),
        embed_dim=24, depth=2, num_heads=4, mlp_layer=TanhGeglu, mlp_ratio=2.0, class_token=False, global_pool="", fc_norm=False,
        num_classes=0, pos_embed="none", img_size=64, reg_tokens=queries,
    ).eval()  # fmt: skip
    with torch.no_grad():
        for p in peer.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    config = ViTaminConfig(stem_width=12, conv_widths=(8, 16), conv_blocks=(2, 3), width=24, layers=2, heads=4, queries=queries)
    ours = ViTaminEncoder(config).eval()
    state = Rename(ENCODER).read({f"encoder.{k}": v for k, v in peer.state_dict().items()})
    state = {k.removeprefix("encoder."): v for k, v in state.items()}
    if queries:
        state["queries"] = state["queries"][0]
    ours.load_state_dict(state)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert_close(ours(x), peer(x), **CLOSE)
        assert ours(x).shape == (2, queries + 16, 24)
