"""DetailFlow against what the authors' class gave for weights of a formula. Run: pytest tests/image/detailflow/test_detailflow.py

The numbers are of `VQModel` of ByteFlow-AI/DetailFlow @ c5f06cdc99, with transformers' SigLIP 2 made as small as `SWEEPS` has it.
"""

import dataclasses

import pytest
import torch
from image.detailflow.options import SWEEPS
from tiny_parts import RVQ
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.image.detailflow.model import CorrectionConfig, DetailFlowConfig, group_mask, reduced
from tokenzoo.zoo.convert import convert, converter
from torch.testing import assert_close

THEIRS = SWEEPS["detailflow"].tiny
IDS = [[20, 7, 22, 6, 22, 12, 19, 8], [2, 16, 11, 6, 18, 11, 19, 0]]
#: tokens -> side, mean, deviation, first and last value of the pictures that the authors decode from the ids above
DECODED = {
    8: (32, 0.01209, 1.38639, -0.15056, -1.40263),
    4: (24, -0.0411, 1.3846, -0.12309, -1.77622),
    1: (8, 0.05243, 1.42965, 1.56545, -1.9393),
}


def wave(shape, start):
    n = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return 0.5 * (n**1.5 * 0.37 + start).sin().reshape(shape).float()


def formula(name, shape, number):
    return wave(shape, number) * (0.02 if name.endswith("bias") else 1) + ("norm" in name and name.endswith("weight"))


@pytest.fixture(scope="module")
def tok():
    layout = converter("detailflow")
    own = layout.own_config(THEIRS)
    state = layout.write(build_tokenizer("detailflow", own).state_dict(), own)
    state = {k: formula(k, state[k].shape, i) for i, k in enumerate(sorted(state))}
    extra = {
        "encoder.refined_tokens": torch.zeros(8, 24),
        "quantize.codebook_used": torch.zeros(5),
        "refine_conv.weight": torch.zeros(4, 4),
    }
    return convert("detailflow", THEIRS, {"model": state | extra, "ema": {}, "optimizer": {}})


def test_ids_and_pictures_are_the_authors(tok):
    tokens = tok.encode(2 * wave((2, 3, 32, 32), 0))
    assert tokens.ids[:, 0].tolist() == IDS
    for count, (side, *numbers) in DECODED.items():
        x = tok.decode(tokens.ids[..., :count])
        assert x.shape == (2, 3, side, side)
        assert_close(torch.stack([x.mean(), x.std(), x[0, 0, 0, 0], x[1, 2, -1, -1]]), torch.tensor(numbers), atol=3e-5, rtol=0)


def test_sides_follow_the_power_law():
    c = DetailFlowConfig(encoder=dataclasses.replace(DetailFlowConfig().decoder), num_tokens=8, group_size=2, first_tokens=2,
                         image_size=32, patch_size=8)  # fmt: skip
    counts = (1, 2, 4, 6, 8)
    assert [c.exact_side(n) for n in counts] == [1, 7, 18, 27, 32]
    assert [c.side(n) for n in counts] == [8, 8, 24, 32, 32]
    assert [c.whole(n) for n in range(1, 9)] == [1, 2, 2, 4, 4, 6, 6, 8]
    assert [dataclasses.replace(c, first_tokens=4).whole(n) for n in (3, 4, 5)] == [3, 4, 4]


def test_a_token_does_not_depend_on_later_groups(tok):
    mask = group_mask(1, 6, group=2, first=2, cells_see=False, tokens_see=True)[1:, 1:]
    assert mask.int().tolist() == [[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]] + 2 * [[1, 1, 1, 1, 0, 0]] + 2 * [[1] * 6]
    x = 2 * wave((1, 3, 32, 32), 0)
    z = tok.encode_latents(x)
    kept, queries = tok.encoder.queries, tok.encoder.queries.clone()
    queries[..., 4:, :] *= -1
    try:
        tok.encoder.queries = torch.nn.Parameter(queries)
        changed = tok.encode_latents(x)
    finally:
        tok.encoder.queries = kept
    assert_close(changed[..., :4], z[..., :4])
    assert not torch.isclose(changed[..., 4:], z[..., 4:]).all()


def test_a_part_of_a_group_adds_nothing(tok):
    ids = torch.tensor(IDS)[:, None]
    assert torch.equal(tok.decode(ids[..., :5]), tok.decode(ids[..., :4]))


def test_training_steps_may_leave_tokens_out():
    from image.detailflow.tiny import TINY

    family, config = TINY["detailflow"]
    tok = build_tokenizer(family, config | {"cut_probability": 1.0}).train()
    x, seen = torch.rand(2, 3, 16, 16), set()
    torch.manual_seed(0)
    for _ in range(12):
        out = tok(x)
        assert out.x_hat.shape == x.shape and out.features["picture"].shape == out.features["picture_target"].shape
        seen.add(out.features["picture"].shape[-1])
    assert len(seen) > 2
    assert tok.eval()(x).features["picture"].shape == x.shape
    half = reduced(x, 8, 8)
    assert_close(half, torch.nn.functional.avg_pool2d(x, 2))


def corrected(**more):
    from image.detailflow.tiny import TINY

    torch.manual_seed(0)
    family, config = TINY["detailflow"]
    return build_tokenizer(family, config | {"cut_probability": 0.0, "correction": {"share": 0.5, "neighbours": 3}} | more).train()


def test_corrected_codes_follow_a_noisy_group():
    """Codes before the noisy group stay, those of the group are near ones, those behind come from the encoder that has read them."""
    tok, x, seen, starts = corrected(), torch.rand(4, 3, 16, 16), [], set()
    tok.encoder.register_forward_pre_hook(lambda module, args: seen.append(args[1] if len(args) > 1 else None))
    for _ in range(20):
        seen.clear()
        quantized = tok.quantizer(tok.encode_latents(x))
        out = tok.corrected(x, quantized, 8)
        assert torch.equal(out.z_q[2:], quantized.z_q[2:]) and torch.equal(out.ids, quantized.ids)
        codes = seen[-1].transpose(1, 2)  # [2, D, end]
        start, end = codes.shape[2] - (1 if codes.shape[2] <= 2 else 2), codes.shape[2]
        starts.add(start)
        assert torch.equal(out.z_q[:2, :, :end], codes)
        assert torch.equal(codes[:, :, :start], quantized.z_q[:2, :, :start])
        near = tok.quantizer.neighbours(0, quantized.ids[:2, 0, start:end].flatten(), 3)
        allowed = tok.quantizer.decode(near[None].transpose(1, 2).flatten(1)[:, None])[0].t().unflatten(0, (3, -1))  # [3, n, D]
        drawn = codes[:, :, start:].permute(0, 2, 1).flatten(0, 1)
        assert bool((allowed == drawn).all(-1).any(0).all())
        anew = tok.quantizer(tok.to_code(tok.encoder(x[:2], codes.transpose(1, 2))[:, end:]).transpose(1, 2))
        assert_close(out.z_q[:2, :, end:], anew.z_q)
        rows = 4 * 8, 2 * (8 - end)
        assert_close(out.loss, (quantized.loss * rows[0] + anew.loss * rows[1]) / sum(rows))
    assert starts == {0, 1, 2, 4}  # single first tokens, then whole groups with one behind them


def test_correction_trains_its_own_weights_and_leaves_encoding_alone():
    tok, x = corrected(), 2 * torch.rand(4, 3, 16, 16) - 1
    for _ in range(10):
        tok(x).x_hat.square().mean().backward()
    for weight in (tok.encoder.refined_queries, tok.encoder.from_code.weight):
        assert weight.grad is not None and bool(weight.grad.abs().sum() > 0)
    plain = corrected(correction=None)
    plain.load_state_dict({k: v for k, v in tok.state_dict().items() if k in plain.state_dict()})
    assert torch.equal(plain.encode(x).ids, tok.encode(x).ids)
    with pytest.raises(ConfigError, match="one codebook"):
        corrected(quantizer=RVQ)


def test_the_published_file_holds_what_correction_needs():
    layout = converter("detailflow")
    own = dataclasses.replace(layout.own_config(THEIRS), correction=CorrectionConfig())
    state = layout.write(build_tokenizer("detailflow", own).state_dict(), own)
    assert {"encoder.refined_tokens", "refine_conv.weight", "refine_conv.bias"} <= state.keys()
    assert "encoder.from_code.weight" in layout.read(state, own)
