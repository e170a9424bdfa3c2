"""MagiCodec in its authors' terms: their formulas from their keys, what windows reach, long clips, settings.

    pytest tests/audio/magicodec/test_magicodec.py
"""

import math

import pytest
import torch
import torch.nn.functional as F
from audio.magicodec.options import SWEEPS
from audio_cases import close, noise
from families import TINY
from tokenzoo import build_tokenizer
from tokenzoo.codecs.audio.magicodec.model import MagiCodecConfig
from tokenzoo.codecs.config import ConfigError
from tokenzoo.zoo.convert import converter


def tiny():
    torch.manual_seed(0)
    return build_tokenizer(*TINY["magicodec"]).eval()


def rms(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def turned(x: torch.Tensor) -> torch.Tensor:
    """Neighbouring channels of `[L, H, d]` as complex numbers, turned by their positions."""
    length, _, d = x.shape
    angles = torch.outer(torch.arange(length).double(), 10000.0 ** -(torch.arange(0, d, 2).double() / d))
    z = torch.view_as_complex(x.double().unflatten(-1, (-1, 2))) * torch.polar(torch.ones_like(angles), angles)[:, None]
    return torch.view_as_real(z).flatten(-2)


def authors_stack(x: torch.Tensor, state: dict[str, torch.Tensor], side: str, heads: int, window: tuple[int, int]) -> torch.Tensor:
    """One side's transformer over `[L, W]`, from tensors with the authors' names."""
    at = torch.arange(len(x))
    ahead = at[None] - at[:, None]
    seen = (ahead >= -window[0]) & (ahead <= window[1])
    for i in range(2):
        w = {k.split(f"layers.layers.{i}.")[1]: v for k, v in state.items() if f"{side}.transformer.layers.layers.{i}." in k}
        q, k, v = (rms(x, w["norm1.weight"], 1e-6) @ w["mixer.Wqkv.weight"].T).unflatten(-1, (3, heads, -1)).unbind(1)
        q, k = turned(rms(q, w["mixer.q_norm.weight"], 1e-8)), turned(rms(k, w["mixer.k_norm.weight"], 1e-8))
        scores = torch.einsum("ihd,jhd->hij", q, k) / math.sqrt(q.shape[-1])
        mixed = torch.einsum("hij,jhd->ihd", scores.masked_fill(~seen, -torch.inf).softmax(-1), v)
        x = x + mixed.flatten(1) @ w["mixer.out_proj.weight"].T
        value, gate = (rms(x, w["norm2.weight"], 1e-6) @ w["mlp.fc1.weight"].T).chunk(2, dim=-1)
        x = x + (value * F.silu(gate)) @ w["mlp.fc2.weight"].T
    return rms(x, state[f"{side}.transformer.layers.ln_f.weight"], 1e-6)


@torch.no_grad()
def test_the_authors_formulas() -> None:
    """Ids and waveform as their class computes them, written out once more; itself, it needs a GPU's kernels."""
    layout = converter("magicodec")
    own = layout.own_config(SWEEPS["magicodec"].tiny)
    torch.manual_seed(0)
    tok = build_tokenizer("magicodec", own).double().eval()
    for p in tok.parameters():
        p.add_(0.3 * torch.randn_like(p))
    s = {k: v.double() for k, v in layout.write(tok.state_dict(), own).items()}
    x = noise(1, 1, 320 * 40 + 7).double()
    patches = F.pad(x[0, 0], (0, 313)).view(-1, 320)
    z = patches @ s["encoder.linear_1.weight"].T @ s["encoder.linear_2.weight"].T + s["encoder.linear_2.bias"]
    z = authors_stack(z, s, "encoder", own.heads, (32, 0)) @ s["encoder.linear_out.weight"].T + s["encoder.linear_out.bias"]
    close(tok.encode_latents(x)[0].T, z, 1e-5)
    codes = s["quantizer.codebook.weight"] @ s["quantizer.codebook_proj.weight"].T + s["quantizer.codebook_proj.bias"]
    ids = torch.cdist(z, codes).argmin(1)
    assert ids.unique().numel() > 8, "ids tell positions apart"
    assert torch.equal(tok.quantizer.encode(tok.encode_latents(x))[0, 0], ids)
    y = codes[ids] @ s["decoder.linear_in.weight"].T + s["decoder.linear_in.bias"]
    y = authors_stack(y, s, "decoder", own.heads, (32, 2)) @ s["decoder.linear_1.weight"].T + s["decoder.linear_1.bias"]
    close(tok.decode_latents(codes[ids].T[None])[0, 0], (y @ s["decoder.linear_2.weight"].T).flatten(), 1e-5)


@torch.no_grad()
def test_what_a_position_depends_on() -> None:
    """Encoder: 2 layers of 3 positions back and none ahead. Decoder: 2 layers of 1 position ahead."""
    tok, hop = tiny(), 20
    x = noise(1, 1, 30 * hop)
    other = x.clone()
    other[..., 10 * hop : 11 * hop] += 0.5
    moved = (tok.encode_latents(x) - tok.encode_latents(other)).abs().amax(1)[0].nonzero().flatten().tolist()
    assert moved == list(range(10, 17))
    z = torch.randn(1, 4, 30)
    changed = z.clone()
    changed[..., 10] += 1
    moved = (tok.decode_latents(z) - tok.decode_latents(changed)).view(30, hop).abs().amax(1).nonzero().flatten().tolist()
    assert moved == list(range(8, 17))
    assert (tok.encoder_context_frames, tok.context_frames) == (6, 6) and not tok.spec.causal


@torch.no_grad()
def test_long_clips_go_in_pieces() -> None:
    tok = tiny()
    x = noise(1, 1, 20 * 200 + 3)
    whole = tok.encode(x)
    tok.piece_positions = 50
    pieces = tok.encode(x)
    assert torch.equal(pieces.ids, whole.ids)
    y = tok.decode(pieces)
    tok.piece_positions = None
    close(y, tok.decode(whole), 1e-5)


def test_wrong_settings() -> None:
    for change, message in (
        ({"hop_samples": 0}, "hop_samples is 0"),
        ({"width": 24, "heads": 8}, "even number"),
        ({"decoder_window": (3, -2)}, "decoder_window"),
    ):
        with pytest.raises(ConfigError, match=message):
            MagiCodecConfig(**change)
