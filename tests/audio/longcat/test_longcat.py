"""LongCat-Audio-Codec against the authors' outputs, speech tokenizer included, and its 24 kHz decoder in their layer order.

    pytest tests/audio/longcat/test_longcat.py
"""

import json

import pytest
import torch
from audio_cases import as_folder, close, stored
from reference import reference_folder
from safetensors.torch import load_file
from tokenzoo import build_tokenizer
from tokenzoo.codecs.audio.base import pad_to_hop
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.zoo import registry
from tokenzoo.zoo.convert import convert, converter
from torch import nn

ATOL = 1e-4


@torch.no_grad()
def test_stored_cases() -> None:
    for tok, name, want in stored("longcat-audio-codec"):
        x, semantic, width = want["input"], want["ids_semantic"][:, None].long(), tok.semantic_dim
        ids = torch.cat([semantic, want["ids"].long()], dim=1)
        z = tok.encode_latents(x, semantic)
        close(z[:, :width].transpose(1, 2), want["semantic_latent"], ATOL)
        close(z[:, width:], want["latent"], ATOL)
        tokens = tok.encode(x, features=semantic)
        assert torch.equal(tokens.ids, ids), name
        assert torch.equal(tok.quantizer.encode(z), ids)  # the semantic ids come back out of their vectors
        z_q = tok.quantizer.decode(ids)[:, width:]
        close(z_q, want["quantized"], ATOL)
        close(z_q, want["quantized_from_ids"], ATOL)
        first = tok.quantizer.second.levels[0].maps()
        seen = torch.einsum("od,bdl->bol", first.down, z[:, width:]) + first.down_bias[:, None]
        close(seen, want["projected_latents"][:, : seen.shape[1]], ATOL)
        close(tok.decode(ids), want["decoded"], ATOL)
        close(tok.decode(tokens), want["decoded"][..., : x.shape[-1]], ATOL)
        for k in (1, 2):
            part = tok.decode(tokens.first(codebooks=1 + k))
            close(part, want[f"decoded_q{k}"][..., : x.shape[-1]], ATOL)


@torch.no_grad()
def test_a_waveform_gives_all_ids() -> None:
    """Semantic ids first, as many as positions: for odd lengths, batches, and less than one window."""
    for tok, name, want in stored("longcat-audio-codec-speech"):
        x, semantic = want["input"].float() / 32767, want["ids_semantic"].long()[:, None]
        ids = torch.cat([semantic, want["ids"][:, :2].long()], dim=1)
        close(tok.speech.features(pad_to_hop(x, 960)), want["features"], ATOL)
        tokens = tok.encode(x)
        assert torch.equal(tokens.ids, ids), name
        assert tokens.names == ("semantic", "acoustic 1", "acoustic 2")
        assert torch.equal(tok.encode(x, num_codebooks=1).ids, semantic)
        assert torch.equal(tok.encode(x, features=semantic).ids, ids)
        assert torch.equal(tok.encode([clip[0] for clip in x]).ids, ids)
        if "decoded" in want:
            close(tok.decode(ids)[..., : want["decoded"].shape[-1]], want["decoded"], 2e-5)
        assert tok.decode(tokens).shape[-1] == -(-x.shape[-1] * 3 // 2) and tok.spec.decoded_rate_hz == 24000


#: Bytes of the published files, as their pages say them.
PUBLISHED = {
    "longcat-audio-codec-16khz": ("2.19 GB", "650 MB"),
    "longcat-audio-codec-24khz": ("2.19 GB", "604 MB"),
    "longcat-audio-codec-24khz-2codebooks": ("2.19 GB", "603 MB"),
}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_sizes_are_those_of_the_published_files(name: str) -> None:
    card, layout = registry.card(name), converter("longcat-audio-codec")
    own = layout.own_config(card.config_overrides)
    with torch.device("meta"):
        state = layout.write(build_tokenizer("longcat", own).state_dict(), own)
    encoder, decoder = (4 * sum(v.numel() for k, v in state.items() if k.startswith(p)) for p in ("enc.", "dec."))
    assert (f"{encoder / 1e9:.2f} GB", f"{decoder / 1e6:.0f} MB") == PUBLISHED[name]


def test_statistics_of_the_encoders_own_file_win() -> None:
    folder = reference_folder("audio", "longcat-audio-codec-speech")
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    tok = convert("longcat-audio-codec", config, state)
    stem = "enc.semantic_tokenizer.feature_extractor."
    own = {stem + "cmvn.cmvn_mean": tok.speech.mean + 1, stem + "cmvn.cmvn_scale": tok.speech.scale, stem + "fbank.eps": torch.ones(())}
    again = convert("longcat-audio-codec", config, state | own)
    assert torch.equal(again.speech.mean, tok.speech.mean + 1) and torch.equal(again.speech.scale, tok.speech.scale)
    without = {k: v for k, v in state.items() if k != "cmvn"}
    assert torch.equal(convert("longcat-audio-codec", config, without | own).speech.mean, again.speech.mean)
    with pytest.raises(CheckpointError, match=r"cmvn\.npy"):
        convert("longcat-audio-codec", config, without)
    given = {k: v for k, v in config.items() if k != "semantic_tokenizer"}
    assert convert("longcat-audio-codec", given, state).speech is None
    assert not any(p.requires_grad for p in tok.speech.parameters())


@torch.no_grad()
def test_output_rates_are_the_authors_whatever_the_strides() -> None:
    """20 samples a position, played at 24 kHz: as long as the positions say, not as the clip lasted."""
    folder = reference_folder("audio", "longcat-audio-codec-speech")
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    layout = converter("longcat-audio-codec")
    config["decoder"] |= {"decoder_rates": [5, 4], "decoder_dim": 19}
    own = layout.own_config(config)
    fresh = build_tokenizer("longcat", own)
    state = {k: v for k, v in state.items() if not k.startswith("dec.decoder.model.")}
    state |= {k: v for k, v in layout.write(fresh.state_dict(), own).items() if k.startswith("dec.decoder.model.")}
    tok = convert("longcat-audio-codec", config, state)
    assert tok.spec.decoded_rate_hz == 24000 and tok.decoder.head.in_channels == 4
    x = 0.1 * torch.randn(1, 960 * 7 + 3)
    tokens = tok.encode(x)
    assert tok.decode(tokens).shape == (1, 1, 7 * 20 + 1)
    assert tok.decode(tok.encode((x, 8000))).shape[-1] == 2 * (7 * 20) + 1
    assert tok(x[None]).x_hat.shape == (1, 1, 141)


class _Unit(nn.Module):
    def __init__(self, block: nn.Sequential) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.block(x)


class _Sine(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.rand(1, width, 1) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.sin(self.alpha * x) ** 2 / (self.alpha + 1e-9)


def _peer(dim: int, width: int, strides: list[int]) -> nn.Sequential:
    """The 24 kHz decoder's layers in their numbering: zeros on the left are layers of their own."""
    layers: list[nn.Module] = [nn.Conv1d(dim, width, 7, padding=3)]
    for s in strides:
        half = width // 2
        units = []
        for d in (1, 3, 9):
            pad, conv = nn.ConstantPad1d((6 * d, 0), 0.0), nn.Conv1d(half, half, 7, dilation=d)
            units.append(_Unit(nn.Sequential(_Sine(half), pad, conv, _Sine(half), nn.Conv1d(half, half, 1))))
        level = nn.Module()
        level.block = nn.Sequential(_Sine(width), nn.ConvTranspose1d(width, half, s, stride=s), *units)
        level.forward = level.block.forward
        layers.append(level)
        width = half
    return nn.Sequential(*layers, _Sine(width), nn.ConstantPad1d((6, 0), 0.0), nn.Conv1d(width, 1, 7), nn.Tanh())


@torch.no_grad()
def test_the_24khz_decoder(tmp_path) -> None:
    """Other strides and one codebook, so that the rate changes and encoder levels are left over."""
    folder = reference_folder("audio", "longcat-audio-codec")
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    config["decoder"] |= {"decoder_type": "24k", "decoder_rates": [4, 3, 3], "n_codebooks": 1}
    torch.manual_seed(0)
    peer = _peer(44, 48, [4, 3, 3])
    state = {k: v for k, v in state.items() if not k.startswith("dec.decoder.model.")}
    state |= {f"dec.decoder.model.{k}": v for k, v in peer.state_dict().items()}
    left = tuple(f"dec.acoustic_quantizer.quantizers.{k}." for k in (1, 2))
    state = {k: v for k, v in state.items() if not k.startswith(left)}
    tok = as_folder(tmp_path, "longcat-audio-codec", config, state)
    assert tok.spec.decoded_rate_hz == 24000 and tok.spec.num_codebooks == 2
    x, semantic = 0.3 * torch.randn(2, 1, 24 * 9 + 5), torch.randint(100, (2, 1, 10))
    tokens = tok.encode(x, features=semantic)
    z_q = tok.quantizer.decode(tokens.ids)
    close(tok.decode(tokens.ids), peer(tok.memory(z_q)), 1e-5)
    assert tok.decode(tokens).shape[-1] == -(-x.shape[-1] * 3 // 2)
    state["dec.acoustic_quantizer.quantizers.0.codebook_a.weight"] += 1
    with pytest.raises(CheckpointError, match="do not belong together"):
        convert("longcat-audio-codec", config, state)


def test_wrong_inputs() -> None:
    make = converter("longcat-audio-codec").config
    with pytest.raises(ValueError, match="latent_dim"):
        make({"acoustic_encoder": {"encoder_dim": 32}, "decoder": {}})
    with pytest.raises(ValueError, match="decoder_type"):
        make({"acoustic_encoder": {}, "decoder": {"decoder_type": "48k"}})
    tok, _, want = next(stored("longcat-audio-codec"))
    with pytest.raises(ValueError, match="semantic ids"):
        tok.encode(want["input"])
    with pytest.raises(ValueError, match="do not belong together"):
        tok.encode(want["input"], features=torch.zeros(1, 1, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="integer"):
        tok.encode(want["input"], features=torch.zeros(1, 1, 30))
