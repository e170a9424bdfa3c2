"""QLIP against what the authors' class gave for weights of a formula. Run: pytest tests/image/qlip/test_qlip.py

The numbers are of `QLIPVisionTransformer` and `QLIPVisionTransformerDecoder` of NVlabs/QLIP @ cf86fcc513, made as small as `SWEEPS`
has them.
"""

import pytest
import torch
from image.qlip.options import SWEEPS, published
from layout_options import merged
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.image.qlip.model import angles
from tokenzoo.codecs.layouts.systems import system_of_config
from tokenzoo.zoo.convert import convert, converter
from torch.testing import assert_close

THEIRS = SWEEPS["qlip"].tiny


def wave(shape, start):
    n = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return 0.5 * (n**1.5 * 0.37 + start).sin().reshape(shape).float()


def formula(name, shape, number):
    norm = ("norm" in name or "_ln" in name) and name.endswith("weight")
    return wave(shape, number) * (0.02 if name.endswith("bias") else 1) + norm


#: changes of the config -> group indices of 14 bits, and mean, deviation, first and last value of the pictures that the authors decode
AUTHORS = {
    "as it is": (
        [
            [
                [5476, 3132, 5726, 13406, 6012, 854, 10946, 7367, 5412, 5412, 13430, 327, 2123, 1860, 11041, 580],
                [5445, 2774, 5452, 5443, 5389, 12205, 10920, 8787, 4695, 13061, 5443, 15153, 11186, 11149, 11001, 11663],
            ],
            [
                [2383, 7521, 5591, 5174, 13886, 7543, 11169, 2884, 3492, 10948, 10836, 5726, 836, 8772, 4948, 13946],
                [15028, 1233, 12369, 13587, 13610, 12913, 3065, 10925, 11231, 11247, 12431, 13583, 15117, 15119, 15629, 13578],
            ],
        ],
        (0.45701, 0.32811, 0.06245, 0.2237),
    ),
    "a decoder of its own": (
        [
            [
                [3169, 11513, 12797, 1636, 5731, 15530, 7661, 8872, 1641, 3297, 10336, 14306, 14194, 1137, 292, 5747],
                [10450, 13831, 14133, 14732, 12546, 5747, 14085, 11580, 12490, 2774, 14534, 14093, 13578, 14418, 14756, 12618],
            ],
            [
                [13286, 12003, 12459, 11365, 11854, 5225, 6005, 4197, 14059, 12002, 4333, 2164, 7404, 13417, 15338, 4329],
                [6137, 14430, 9651, 10454, 11002, 1362, 13785, 1446, 13688, 12794, 9606, 10928, 5958, 4562, 13865, 9638],
            ],
        ],
        (0.44633, 0.37285, -0.1037, 0.05609),
    ),
}


def loaded(change):
    """A tokenizer of the weights of a formula, read from a file like the published ones."""
    layout, theirs = converter("qlip"), merged(THEIRS, SWEEPS["qlip"].options[change])
    own = layout.own_config(theirs)
    state = layout.write(build_tokenizer("qlip", own).state_dict(), own)
    state = {k: formula(k, state[k].shape, i) for i, k in enumerate(sorted(state))}
    return convert("qlip", theirs, published(state))


@pytest.mark.parametrize("change", AUTHORS)
def test_ids_and_pictures_are_the_authors(change):
    tok = loaded(change)
    ids, numbers = AUTHORS[change]
    tokens = tok.encode(0.5 + wave((2, 3, 16, 16), 0))
    assert tokens.ids.tolist() == ids
    x = tok.decode(tokens)
    assert_close(torch.stack([x.mean(), x.std(), x[0, 0, 0, 0], x[1, 2, -1, -1]]), torch.tensor(numbers), atol=3e-5, rtol=0)


def test_codes_of_two_lengths_have_the_same_ids_and_other_pictures():
    tok = loaded("codes of 1 and -1")
    tokens = tok.encode(0.5 + wave((2, 3, 16, 16), 0))
    assert tokens.ids.tolist() == AUTHORS["as it is"][0]
    assert_close(tok.decode(tokens).mean(), torch.tensor(0.40324), atol=3e-5, rtol=0)


def test_positions_of_any_grid_lie_within_sixteen_cells():
    cos, sin = angles(32, 8, 1)
    coarse, _ = angles(16, 8, 0)
    assert cos.shape == sin.shape == (1 + 32 * 32, 8)
    assert_close(cos[0], torch.ones(8))
    assert_close(sin[0], torch.zeros(8))
    assert_close(cos[1:].unflatten(0, (32, 32))[::2, ::2].flatten(0, 1), coarse)
    assert_close(sin[2], torch.tensor([0, 0, 0, 0, 0.5, 0.5, 0.005, 0.005]).sin())  # row 0, column 1 of half a cell


def test_a_config_is_recognised_by_its_class_and_not_by_clip():
    assert system_of_config(THEIRS) == "qlip"
    assert system_of_config({"architectures": ["CLIPModel"], "model_type": "clip"}) is None
