"""LongCat-Audio-Codec against the authors' outputs, and its 24 kHz decoder in their layer order.

    pytest tests/zoo/convert/test_longcat.py
"""

import pytest
import torch
from audio_cases import as_folder, close, stored
from reference import reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.serialize import CheckpointError
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
        close(tok.decode_batch(ids, None), want["decoded"], ATOL)
        close(tok.decode(tokens), want["decoded"][..., : x.shape[-1]], ATOL)
        for k in (1, 2):
            part = tok.decode(tokens.first(codebooks=1 + k))
            close(part, want[f"decoded_q{k}"][..., : x.shape[-1]], ATOL)


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
    import json

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
    close(tok.decode_batch(tokens.ids, None), peer(tok.memory(z_q)), 1e-5)
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
