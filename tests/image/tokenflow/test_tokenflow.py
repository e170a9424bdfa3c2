"""TokenFlow against the authors' outputs, its towers also against their peers. Run: pytest tests/image/tokenflow/test_tokenflow.py"""

import json

import image.tokenflow.options as options
import pytest
import torch
from image_cases import lively
from layout_options import merged
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.layers.vision_tower import CLIP_MEAN, CLIP_STD
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.zoo.convert import convert, converter, load_reference
from tokenzoo.zoo.registry import card
from torch.testing import assert_close

CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.mark.parametrize(("system", "prefixes"), [("tokenflow", ((1, 1), (3, 14))), ("tokenflow-clipb", ((3, 21), (5, 95)))])
def test_reference(system, prefixes):
    folder = reference_folder("image", system)
    tok, io = load_reference(folder), load_io(folder)
    x = io["input"]
    z = tok.encode_latents(x)
    assert_close(z, io["latent"].flatten(2), **CLOSE)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids[:, 0], io["ids"])
    assert torch.equal(tok.encode(x[:1]).ids, tokens.ids[:1])
    z_q = tok.quantizer.decode(tokens.ids, grid=tokens.grid)
    assert_close(z_q, io["quantized"].flatten(2), **CLOSE)
    assert_close(tok.quantizer.codebook.vectors(tokens.ids[:, 0]), io["code_vectors"], **CLOSE)
    assert_close(tok.decode(tokens, original=False), io["decoded"], **CLOSE)
    assert_close(tok.semantic(tokens).transpose(1, 2), io["decoded_semantic"], **CLOSE)
    for scales, positions in prefixes:
        part = tokens.first(positions=positions)
        assert_close(tok.decode(part, original=False), io[f"decoded.first{scales}scales"], **CLOSE)
        assert_close(tok.semantic(part).transpose(1, 2), io[f"decoded_semantic.first{scales}scales"], **CLOSE)
    out = tok(x)
    assert_close(out.x_hat, io["forward"], **CLOSE)
    assert_close(out.features["semantic"].transpose(1, 2), io["forward_semantic"], **CLOSE)


def parts(system):
    folder = reference_folder("image", system)
    return json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors"), load_io(folder)


def with_tower(config, state):
    """A tokenizer of `config` whose tower has the weights `state`, in the authors' keys behind `encoder_vqkd.`."""
    layout = converter("tokenflow")
    own = layout.own_config(config)
    full = lively(layout.write(build_tokenizer("tokenflow", own).state_dict(), own))
    full = {k: v for k, v in full.items() if not k.startswith("encoder_vqkd.")}
    return convert("tokenflow", config, {"ema": full | {f"encoder_vqkd.{k}": v for k, v in state.items()}})


def shaken(peer):
    with torch.no_grad():
        for p in peer.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    return peer.eval()


def test_averaged_weights_are_used():
    """The authors' scripts read `ema` first."""
    config, state, io = parts("tokenflow-clipb")
    raw = {k: torch.randn_like(v) if v.is_floating_point() else v for k, v in state.items()}
    assert torch.equal(convert("tokenflow", config, {"model": raw, "ema": state}).encode(io["input"]).ids[:, 0], io["ids"])
    assert not torch.equal(convert("tokenflow", config, {"model": raw}).encode(io["input"]).ids[:, 0], io["ids"])


def test_what_lies_behind_the_features_is_left_out():
    """A published file holds SigLIP whole, under transformers 4's names: its last layer, pooling and norm too."""
    config, state, io = parts("tokenflow")
    old = {k.replace("encoder_vqkd.", "encoder_vqkd.vision_model."): v for k, v in state.items()}
    assert any(".layers.2." in k for k in old) and any("head.probe" in k for k in old)
    assert torch.equal(convert("tokenflow", config, {"ema": old}).encode(io["input"]).ids[:, 0], io["ids"])


def test_siglip_equals_transformers():
    """Another configuration: SigLIP's own class, with random weights."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = options.SWEEPS["tokenflow"].tiny
    peer = shaken(transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**config["teacher_config"])))
    tok = with_tower(config, peer.state_dict())
    side = config["teacher_config"]["image_size"]
    x = torch.rand(2, 3, side, side) * 2 - 1
    with torch.no_grad():
        assert_close(tok.tower(tok._for_tower(x)), peer(x, output_hidden_states=True).hidden_states[-2], **CLOSE)


def test_clip_equals_transformers():
    """The CLIP kind's tower at its own size: transformers' class under OpenAI's names."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.CLIPVisionConfig(
        hidden_size=24, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2, image_size=8, patch_size=2
    )
    peer = shaken(transformers.CLIPVisionModel(config))
    theirs = {k.removeprefix("vision_model."): v for k, v in peer.state_dict().items()}
    state = {
        "conv1.weight": theirs["embeddings.patch_embedding.weight"],
        "class_embedding": theirs["embeddings.class_embedding"],
        "positional_embedding": theirs["embeddings.position_embedding.weight"],
    }
    for end in ("weight", "bias"):
        state |= {f"ln_pre.{end}": theirs[f"pre_layrnorm.{end}"], f"ln_post.{end}": theirs[f"post_layernorm.{end}"]}
        for i in range(2):
            old, new = f"encoder.layers.{i}", f"transformer.resblocks.{i}"
            state[f"{new}.attn.in_proj_{end}"] = torch.cat([theirs[f"{old}.self_attn.{p}_proj.{end}"] for p in "qkv"])
            names = (("attn.out_proj", "self_attn.out_proj"), ("ln_1", "layer_norm1"), ("ln_2", "layer_norm2"))
            for a, b in (*names, ("mlp.c_fc", "mlp.fc1"), ("mlp.c_proj", "mlp.fc2")):
                state[f"{new}.{a}.{end}"] = theirs[f"{old}.{b}.{end}"]
    tok = with_tower(merged(options.SWEEPS["tokenflow"].tiny, options.CLIP), state)
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        want = peer.post_layernorm if hasattr(peer, "post_layernorm") else peer.vision_model.post_layernorm
        assert_close(tok.tower(tok._for_tower(x)), want(peer(x).last_hidden_state)[:, 1:], **CLOSE)


def test_vitamin_equals_timm():
    """timm's class as the authors make it (mean pooling, so that no norm stands behind the blocks; head taken out)."""
    vitamin = pytest.importorskip("timm.models.vitamin")
    torch.manual_seed(0)
    peer = shaken(vitamin._create_vitamin(
        "vitamin_xlarge_256", embed_cfg=vitamin.VitCfg(embed_dim=(8, 16, 24), depths=(2, 3, 1), stem_width=12), embed_dim=24, depth=2,
        num_heads=2, mlp_layer=vitamin.GeGluMlp, mlp_ratio=2.0, class_token=False, global_pool="avg", pos_embed="none", img_size=32,
    ))  # fmt: skip
    del peer.head, peer.fc_norm
    tok = with_tower(merged(options.SWEEPS["tokenflow"].tiny, options.VITAMIN), peer.state_dict())
    x = torch.randn(2, 3, 32, 32)
    mean, std = torch.tensor(CLIP_MEAN)[:, None, None], torch.tensor(CLIP_STD)[:, None, None]
    with torch.no_grad():
        want = peer.forward_features((((x + 1) * 127.5).clamp(0, 255) / 255 - mean) / std)
        assert_close(tok.tower(tok._for_tower(x)), want, **CLOSE)
    assert tok.encode(x.clamp(-1, 1)).ids.shape == (2, 1, 5)


@pytest.mark.parametrize(("name", "entries", "gigabytes"), [("tokenflow-clipb-32k", 649, 0), ("tokenflow-siglip-32k", 0, 2.22)])
def test_names_and_sizes_are_those_of_the_published_files(name, entries, gigabytes):
    """A copy of the CLIP file says how many entries it has; of the SigLIP file the size is known."""
    layout = converter("tokenflow")
    own = layout.own_config(card(name).config_overrides)
    with torch.device("meta"):
        state = layout.write(build_tokenizer("tokenflow", own).state_dict(), own)
    if entries:
        assert len(state) == entries - 1  # without the buffer of recent ids
        return
    width, hidden = own.tower.width, own.tower.hidden
    mlp, norm, attention = 2 * width * hidden + hidden + width, 2 * width, 4 * (width * width + width)
    behind = (attention + mlp + 2 * norm) + norm + (width + attention + norm + mlp)  # last layer, norm, pooling
    assert abs(4e-9 * (sum(v.numel() for v in state.values()) + behind) - gigabytes) < 0.005


def test_strict():
    config, state, _ = parts("tokenflow")
    with pytest.raises(CheckpointError, match="scaling_layer"):
        convert("tokenflow", config, {**state, "scaling_layer.shift": torch.full((1, 3, 1, 1), 0.4)})
    with pytest.raises(ValueError, match="clipb_224"):
        convert("tokenflow", {**config, "teacher": "clipl_336"}, state)
