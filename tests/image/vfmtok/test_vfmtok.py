"""VFMTok against what the authors' class gave for weights of a formula. Run: pytest tests/image/vfmtok/test_vfmtok.py

The numbers are of `VQModel` of CVMI-Lab/VFMTok @ 828c780898, made as small as `SWEEPS` has it, with the authors' plain form of
deformable attention in place of their kernel.
"""

import dataclasses

import pytest
import torch
from image.vfmtok.options import SWEEPS, published
from layout_options import merged
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.image.vfmtok.model import DeformableAttention
from tokenzoo.zoo.convert import convert, converter
from torch.testing import assert_close

#: option -> ids, and mean, deviation, first and last value of the pictures that the authors decode from them
AUTHORS = {
    "one layer": ([[0, 0, 6, 13], [10, 10, 3, 15]], (-0.22555, 3.48561, -0.79716, 2.9041)),
    "more samples": ([[11, 11, 11, 11], [12, 12, 12, 22]], (0.08099, 3.37327, -0.69553, -3.5963)),
}


def wave(shape, start):
    n = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return 0.5 * (n**1.5 * 0.37 + start).sin().reshape(shape).float()


def formula(name, shape, number):
    gain = ("norm" in name and name.endswith("weight")) or "mlp.1.weight" in name or "mlp.4.weight" in name or name.endswith("gamma")
    return wave(shape, number) * (0.02 if name.endswith("bias") and "offsets" not in name else 1) + gain


def loaded(option):
    """A tokenizer of the weights of a formula, read from files like the published ones."""
    layout, theirs = converter("vfmtok"), merged(SWEEPS["vfmtok"].tiny, SWEEPS["vfmtok"].options[option])
    own = layout.own_config(theirs)
    state = layout.write(build_tokenizer("vfmtok", own).state_dict(), own)
    state = {k: formula(k, state[k].shape, i) for i, k in enumerate(sorted(state))}
    return convert("vfmtok", theirs, published(state))


@pytest.mark.parametrize("option", AUTHORS)
def test_ids_and_pictures_are_the_authors(option):
    tok = loaded(option)
    ids, numbers = AUTHORS[option]
    x = 2 * wave((2, 3, 16, 16), 0)
    tokens = tok.encode(x)
    assert tokens.ids[:, 0].tolist() == ids
    y = tok.decode(tokens)
    assert_close(torch.stack([y.mean(), y.std(), y[0, 0, 0, 0], y[1, 2, -1, -1]]), torch.tensor(numbers), atol=2e-4, rtol=0)


def test_a_sample_is_read_where_its_offset_points():
    attention = DeformableAttention(2, maps=1, heads=1, points=1)
    with torch.no_grad():
        for layer in (attention.value, attention.out):
            layer.weight.copy_(torch.eye(2))
            layer.bias.zero_()
        attention.offsets.bias.copy_(torch.tensor([1.0, -1.0]))  # a cell to the right, a cell up
        ramp = torch.stack([torch.arange(4.0).expand(4, 4), torch.arange(4.0)[:, None].expand(4, 4)])[None]
        centre = torch.tensor([[0.375, 0.625]])  # the cell in column 1, row 2
        assert_close(attention(torch.zeros(1, 1, 2), centre, [ramp]), torch.tensor([[[2.0, 1.0]]]))


def test_a_token_does_not_depend_on_later_queries_nor_training_on_the_tower():
    tok = loaded("one layer")
    z = tok.encode_latents(2 * wave((2, 3, 16, 16), 0))
    with torch.no_grad():
        tok.encoder.queries[2:] *= -1
    changed = tok.encode_latents(2 * wave((2, 3, 16, 16), 0))
    assert_close(changed[..., :2], z[..., :2])
    assert not torch.isclose(changed[..., 2:], z[..., 2:]).all()
    assert not any(p.requires_grad for p in tok.tower.parameters())


def test_a_second_pass_of_the_decoder_predicts_the_towers_states():
    """Against the pass written out, with the weights of the published file's names; the picture does not change."""
    layout, theirs = converter("vfmtok"), SWEEPS["vfmtok"].tiny
    own = layout.own_config(theirs)
    with pytest.raises(ConfigError, match="side of the tower's grid"):
        dataclasses.replace(own, predicts_features=True)
    own = dataclasses.replace(own, table=own.image_size // own.tower.patch_size)
    plain = build_tokenizer("vfmtok", own)
    more = dataclasses.replace(own, predicts_features=True)
    tok = build_tokenizer("vfmtok", more)
    state = layout.write(tok.state_dict(), more)
    named = {"decode_transformer.mask_dino", "decode_transformer.norm_post2.weight", "decode_transformer.proj.bias"}
    assert named <= state.keys()
    tok.load_state_dict(layout.read(state, more))
    plain.load_state_dict(layout.read(state, own))
    x = 2 * wave((2, 3, 16, 16), 0)
    assert not plain.train()(x).features and not tok.eval()(x).features
    out, before = tok.train()(x), plain(x)
    assert torch.equal(out.quantized.ids, before.quantized.ids) and torch.equal(out.x_hat, before.x_hat)
    r = tok.reader
    codes = r.norm_in(tok.from_code(out.quantized.z_q.transpose(1, 2)) + r.token_positions)
    cells = torch.cat([r.class_token + r.positions[:1], r.feature_mask + r.positions[1:]])
    y = torch.cat([codes, r.feature_norm(cells).expand(2, -1, -1)], dim=1)
    for layer in r.layers:
        y = layer(y, torch.ones(y.shape[1], y.shape[1]).tril().bool())
    assert_close(out.features["semantic"], r.to_features(y[:, own.num_tokens + 1 :]).transpose(1, 2))
    assert_close(out.features["semantic_target"], tok.states(x)[-1].transpose(1, 2))
