"""What every image port is asked of its reference outputs: ids equal, latents, codes and pixels close.

Letters: B batch, D latent width, h w grid, K codebooks.
"""

import torch
from torch import Tensor
from torch.testing import assert_close


def check_case(tok, io: dict[str, Tensor], case: str, *, atol: float, ids: str = "ids", clip: str = "") -> None:
    """Run one stored size of a 2-D grid tokenizer.

    Args:
        tok: loaded from the reference folder.
        io: the stored tensors.
        case: their prefix, e.g. "s0.".
        atol: the tolerance that the folder's README recommends.
        ids: the name of stored ids [B, h, w] (one codebook).
        clip: the name of a stored result that is clipped to the value range, where there is one.
    """
    x = io[f"{case}input"]
    z = io[f"{case}latent"]
    close = {"atol": atol, "rtol": 1e-4}
    assert_close(tok.encode_latents(x), z.flatten(2), **close)

    tokens = tok.encode(x)
    assert tokens.grid == tuple(z.shape[-2:]) and tokens.vocab_sizes == tok.spec.vocab_sizes
    assert torch.equal(tokens.ids[:, 0], io[f"{case}{ids}"].flatten(1).long())
    assert_close(tok.quantizer.decode(tokens.ids), io[f"{case}quantized_from_ids"].flatten(2), **close)

    y = tok.decode(tokens)
    assert y.shape == x.shape
    assert_close(y, io[f"{case}decoded"], **close)
    if clip:
        assert_close(y.clamp(*tok.spec.value_range), io[f"{case}{clip}"], **close)
    single = tok.encode(x[:1])
    assert torch.equal(single.ids, tokens.ids[:1])
    assert_close(tok.decode(single), y[:1], **close)
    quantized = tok.quantizer(z.flatten(2))
    if f"{case}quantized" in io:
        assert_close(quantized.z_q, io[f"{case}quantized"].flatten(2), **close)
    if f"{case}quantizer_loss" in io:
        assert_close(quantized.loss, io[f"{case}quantizer_loss"][0], **close)
    if f"{case}forward" in io:
        assert_close(tok(x).x_hat, io[f"{case}forward"], **close)


def lively(state: dict[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """`state` with every matrix and kernel drawn anew at n / sqrt(inputs), so that small random networks tell pictures apart."""
    generator = torch.Generator().manual_seed(seed)
    return {
        k: torch.randn(v.shape, generator=generator) / (v[0].numel() if v.shape[0] > 1 else 1) ** 0.5
        if v.is_floating_point() and v.ndim > 1
        else v
        for k, v in state.items()
    }


def enliven(tok) -> None:
    """`lively` for a whole tokenizer, in place."""
    tok.load_state_dict(lively(tok.state_dict()))


def check_one_dimensional(tok, io: dict[str, Tensor], **close: float) -> None:
    """Compare a tokenizer of ReTok's kind with its stored outputs, step by step; `close` are tolerances."""
    x = io["input"]
    assert_close(tok.encoder(x), io["grid_features"], **close)
    assert_close(tok.encode_latents(x), io["latent"][:, :, 0], **close)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids[:, 0], io["ids"])
    assert torch.equal(tok.encode(x[1:]).ids, tokens.ids[1:])
    z_q = tok.quantizer.decode(tokens.ids)
    assert_close(z_q, io["quantized_from_ids"][:, :, 0], **close)
    assert_close(tok.quantizer(tok.encode_latents(x)).z_q, io["quantized"][:, :, 0], **close)
    grid, features = tok.decode_grid(z_q, want_features=True)
    assert_close(grid, io["decoder_grid"], **close)
    assert_close(features, io["distill_features"], **close)
    assert_close(tok.decode(tokens), io["decoded"], **close)
    assert_close(tok(x).x_hat, io["forward"], **close)
