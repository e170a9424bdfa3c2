"""SongGeneration (LeVo) against the authors' outputs. Run: pytest tests/audio/levo/test_levo.py"""

import json

import pytest
import tokenzoo
import torch
from audio_cases import as_folder, close
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.audio.levo.layouts import DROPPED, MUSICFM
from tokenzoo.codecs.audio.levo.musicfm import MusicFM, MusicFMConfig
from tokenzoo.codecs.layouts.keymap import Rename
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.codecs.tokens import Tokens
from tokenzoo.zoo.convert import convert, load_reference


@pytest.fixture(scope="module")
def case():
    folder = reference_folder("audio", "songgeneration")
    io = load_io(folder)
    tracks = [io[k].float() / 32767 for k in ("track0", "track1")]
    return json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors"), io, tracks, folder


def test_separate_tracks(case):
    _, _, io, tracks, folder = case
    tok = load_reference(folder)
    close(tok.extract_features(*tracks), io["features"], 2e-5)
    tokens = tok.tokenize(*tracks)
    assert torch.equal(tokens.ids, io["ids"])
    assert tokens.names == ("vocal", "accompaniment")
    close(tok.decode(tokens), io["quantized"], 2e-5)
    assert torch.equal(tok.encode(io["features"]).ids, io["ids"])


def test_tracks_have_their_own_tables(case):
    tok = load_reference(case[-1])
    features = case[2]["features"]
    swapped = torch.cat(features.chunk(2, dim=1)[::-1], dim=1)
    assert not torch.equal(tok.encode(swapped).ids, tok.encode(features).ids.flip(1))
    other = features.clone()
    other[:, 16:] = 0
    assert torch.equal(tok.encode(other).ids[:, 0], tok.encode(features).ids[:, 0])


def test_single_token_of_the_mix(case):
    """The other class of the authors: one table, one layer; decoder weights in the file are left out."""
    config, state, io, tracks, _ = case
    left_out = ("layer_vocal", "layer_bgm", "source", "flow", "model")
    one = {k: v for k, v in config.items() if k not in left_out} | {"layer_num": 2}
    weights = {k: v for k, v in state.items() if "bgm" not in k}
    tok = convert("songgeneration", one, weights)
    tokens = tok.tokenize(tracks[0][:, : tracks[0].shape[-1]])
    assert torch.equal(tokens.ids[:, 0], io["ids"][:, 0])
    assert tokens.names == ("mix",)
    assert tok.flow is None and tok.vae is None
    with pytest.raises(ValueError, match="cannot synthesize"):
        tok.synthesize(tokens)
    with pytest.raises(ValueError, match="no flow transformer"):
        convert("songgeneration", one | {"flow": config["flow"]}, weights)
    with pytest.raises(CheckpointError, match="rvq_bestrq_bgm_emb"):
        convert("songgeneration", one, state)


@pytest.mark.parametrize("name", ["short", "long"])
def test_sound_of_separate_tokens(case, name):
    """Shorter than a window, and three windows that overlap."""
    io, tok = case[2], load_reference(case[-1])
    ids = io[f"{name}.ids"]
    tokens = Tokens(ids=ids, vocab_sizes=(64, 64), names=tok.spec.names)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        latents = tok.flow(tok.quantizer.decode(ids), steps=4, guidance=1.5, generator=generator)
    close(torch.cat(latents, dim=2), io[f"{name}.latents"], 2e-5)
    close(tok.synthesize(tokens, steps=4, seed=3)[0], io[f"{name}.sound"], 2e-5)
    assert not torch.equal(tok.synthesize(tokens, steps=4, seed=4)[0], tok.synthesize(tokens, steps=4, seed=3)[0])
    plain = tok.synthesize(tokens, steps=4, seed=3, guidance=1.0)[0]
    assert not torch.allclose(plain, io[f"{name}.sound"], atol=1e-2)


def test_statistics_of_few_latents_are_not_used(case):
    config, state, _, _, _ = case
    tok = convert("songgeneration", config, state | {"normfeat.counts": torch.tensor([5.0])})
    assert tok.flow.mean.tolist() == [0.0] * 6 and tok.flow.deviation.tolist() == [1.0] * 6
    without = {k: v for k, v in config.items() if k not in ("flow", "model")}
    assert convert("songgeneration", without, state).flow is None


def test_the_quantizer_alone(case, tmp_path):
    config, state, io, _, _ = case
    alone = {k.removeprefix("rvq_bestrq_bgm_emb."): v for k, v in state.items() if k.startswith("rvq_bestrq_bgm_emb.")}
    tok = as_folder(tmp_path, "songgeneration", config["rvq"], alone)
    assert torch.equal(tok.encode(io["features"][:, 16:]).ids[:, 0], io["ids"][:, 1])
    with pytest.raises(ValueError, match="no MusicFM"):
        tok.extract_features(torch.zeros(2, 100))


def test_long_tracks_are_heard_in_pieces(case):
    """Pieces of 40 s in the published models, shorter ones here."""
    tok = load_reference(case[-1])
    short = tokenzoo.build_tokenizer("levo", tok.config.__class__(**{**vars(tok.config), "piece_seconds": 1})).eval()
    short.load_state_dict(tok.state_dict())
    x = 0.1 * torch.randn(2, 2 * 48000 + 5000, generator=torch.Generator().manual_seed(0))
    whole = short.extract_features(x, x)
    assert whole.shape == (1, 32, 53)
    first = short.extract_features(x[:, :48000], x[:, :48000])
    close(whole[..., :25], first[..., :25], 1e-5)
    low = short.extract_features((x, 24000), (x, 24000))
    assert low.shape == (1, 32, 106)
    with pytest.raises(ValueError, match="2: vocal, accompaniment"):
        short.extract_features(x)


def test_musicfm_equals_transformers_conformer():
    transformers = pytest.importorskip("transformers")
    from transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer import Wav2Vec2ConformerEncoder

    torch.manual_seed(0)
    config = transformers.Wav2Vec2ConformerConfig(
        hidden_size=24, num_attention_heads=3, intermediate_size=20, num_hidden_layers=3, conv_depthwise_kernel_size=7,
        position_embeddings_type="rotary", rotary_embedding_base=500, num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2, layer_norm_eps=1e-3, hidden_act="swish",
    )  # fmt: skip
    peer = Wav2Vec2ConformerEncoder(config).eval()
    sizes = {"width": 24, "heads": 3, "hidden": 20, "layers": 3, "kernel_size": 7, "rope_base": 500.0, "eps": 1e-3}
    ours = MusicFM(MusicFMConfig(**sizes, conv_width=2, bands=8))
    with torch.no_grad():
        for p in peer.parameters():
            p.add_(0.1 * torch.randn_like(p))
    theirs = Rename(MUSICFM, also_drop=DROPPED).read({f"bestrq.model.conformer.{k}": v for k, v in peer.state_dict().items()})
    own = {k: v for k, v in ours.state_dict().items() if k.startswith(("conv.", "proj."))}
    ours.load_state_dict(own | {k.removeprefix("musicfm."): v for k, v in theirs.items()})
    x = torch.randn(2, 960 * 11 + 5)
    with torch.no_grad():
        want = peer(ours(x, 0).transpose(1, 2)).last_hidden_state
    close(ours(x, 3).transpose(1, 2), want, 1e-5)
    with pytest.raises(ValueError, match="0 to 3"):
        ours(x, 4)
