"""COMiT: crops, messages that go on, places, and what training draws. Run: pytest tests/image/comit/test_comit.py

Equality with the authors' class was checked with random weights; see the cards.
"""

import itertools
import math

import pytest
import torch
from contract_cases import build
from families import TINY
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.image.comit.crops import Crop, drawn_crops, usual_boxes
from tokenzoo.codecs.image.comit.network import MessageTransformer, MessageTransformerConfig, position_table
from torch.testing import assert_close

WHOLE, LEFT, RIGHT, LOW = (0, 0, 16, 16), (0, 0, 16, 8), (0, 8, 16, 8), (8, 4, 8, 8)


def tiny(**changes):
    torch.manual_seed(0)
    return build_tokenizer("comit", TINY["comit"][1] | changes).eval()


@pytest.fixture(scope="module")
def tok():
    return build("comit")


def pictures(count=3, seed=0):
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def written(tok, monkeypatch):
    """The places that `network.write` gets from now on, and whether gradients are recorded."""
    calls, write = [], tok.network.write

    def record(x, message, place):
        calls.append((place, torch.is_grad_enabled()))
        return write(x, message, place)

    monkeypatch.setattr(tok.network, "write", record)
    return calls


# --- crops ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("crop", "message"),
    [
        ((0, 12, 8, 8), "reaches out of the picture: it ends at row 8 and column 20"),
        ((-4, 0, 8, 8), "reaches out of the picture|must not be below 0"),
        ((0, 0, 20, 16), "reaches out of the picture"),
        ((0, 0, 8, 6), "both sides must be multiples of 4"),
        ((0, 0, 0, 8), "both sides must be multiples of 4"),
    ],
)
def test_a_crop_that_cannot_be_read_is_an_error_everywhere(tok, crop, message):
    x = pictures(1)
    with pytest.raises(ValueError, match=message):
        tok.encode(x, crops=[WHOLE, crop])
    with pytest.raises(ValueError, match=message):
        tok.update(tok.encode(x), x, crop)
    relative = tiny(places="relative")
    with pytest.raises(ValueError, match=message):
        relative.decode(relative.encode(x), last_crop=crop)


def test_crops_are_given_as_boxes(tok):
    x = pictures(1)
    for crops, message in (([], "crops is empty"), ([(0, 0, 8)], "crops"), (["left"], "crops"), (3, "crops")):
        with pytest.raises(ValueError, match=message):
            tok.encode(x, crops=crops)
    with pytest.raises(ValueError, match="num_crops"):
        tok.encode(x, num_crops=0)


def test_the_usual_crops_are_the_picture_and_a_grid():
    assert usual_boxes((16, 16), 8, 2) == (WHOLE, (0, 0, 8, 8), (0, 8, 8, 8), (8, 0, 8, 8), (8, 8, 8, 8))
    published = usual_boxes((256, 256), 96, 3)  # 80 pixels apart
    assert len(published) == 10 and published[5] == (80, 80, 96, 96) and published[-1] == (160, 160, 96, 96)


def test_by_default_the_usual_crops_are_read(tok):
    x = pictures()
    assert torch.equal(tok.encode(x).ids, tok.encode(x, crops=tok.config.boxes).ids)
    assert torch.equal(tok.encode(x, num_crops=2).ids, tok.encode(x, crops=tok.config.boxes[:2]).ids)
    assert {"crops", "num_crops"} <= set(tok.spec.encode_options) and "last_crop" in tok.spec.decode_options


def test_pixels_outside_the_crops_do_not_matter(tok):
    x, other = pictures(), pictures(seed=1)
    other[..., :8] = x[..., :8]
    assert torch.equal(tok.encode(x, crops=[LEFT, (8, 0, 8, 8)]).ids, tok.encode(other, crops=[LEFT, (8, 0, 8, 8)]).ids)
    assert not torch.equal(tok.encode(x, crops=[LEFT, RIGHT]).ids, tok.encode(other, crops=[LEFT, RIGHT]).ids)


def test_the_order_and_the_place_of_crops_matter(tok):
    x = pictures()
    assert not torch.equal(tok.encode(x, crops=[LEFT, RIGHT]).ids, tok.encode(x, crops=[RIGHT, LEFT]).ids)
    halves = torch.cat([x[..., :8]] * 2, dim=-1)  # both halves alike: what differs is the place
    z = [tok.read(halves, [Crop.of(box)])[0] for box in (LEFT, RIGHT)]
    assert not torch.allclose(*z)


# --- messages ---------------------------------------------------------------------------------------------------------


def test_one_crop_of_the_whole_picture_is_a_plain_tokenizer(tok):
    x = pictures()
    tokens = tok.encode(x, crops=[WHOLE])
    assert tokens.ids.shape == (3, 1, 6) and not torch.equal(tokens.ids[0], tokens.ids[1])
    assert tok.decode(tokens).shape == x.shape
    assert torch.equal(tokens.ids, tok.encode(x, num_crops=1).ids)


def test_any_first_crops_decode_and_later_ones_change_the_picture(tok):
    x, crops = pictures(), [WHOLE, LEFT, RIGHT, LOW]
    drawn = [tok.decode(tok.encode(x, crops=crops[:k]), steps=2) for k in (1, 2, 3, 4)]
    assert all(y.shape == x.shape for y in drawn)
    assert all(not torch.allclose(a, b, atol=1e-4) for a, b in itertools.pairwise(drawn))


@pytest.mark.parametrize("places", ["absolute", "relative"])
def test_an_update_equals_reading_all_crops_at_once(places):
    tok, x = tiny(places=places), pictures()
    crops, last = [WHOLE, LOW, RIGHT], {}
    tokens = tok.encode(x, crops=crops[:1])
    for before, crop in itertools.pairwise(crops):
        last = {"last_crop": before} if places == "relative" else {}
        part = x[..., crop[0] : crop[0] + crop[2], crop[1] : crop[1] + crop[3]]
        given = tok.update(tokens, part, crop, media_are="crops", **last)
        tokens = tok.update(tokens, list(x), crop, **last)
        assert given == tokens
    whole = tok.encode(x, crops=crops)
    assert tokens == whole
    assert torch.equal(tok.decode(tokens, steps=2), tok.decode(whole, steps=2))


def test_updates_refuse_media_that_do_not_fit(tok):
    x = pictures()
    tokens = tok.encode(x)
    with pytest.raises(ValueError, match="2 media for 3 messages"):
        tok.update(tokens, x[:2], LEFT)
    with pytest.raises(ValueError, match="a crop has 16 x 16 pixels, but .* has 16 x 8"):
        tok.update(tokens, x, LEFT, media_are="crops")
    with pytest.raises(ValueError, match="'pictures', 'crops'"):
        tok.update(tokens, x, LEFT, media_are="parts")


def test_a_batch_with_crops_equals_single_pictures(tok):
    x, crops = pictures(), [LOW, WHOLE]
    together = tok.encode(x, crops=crops)
    for i in range(3):
        assert torch.equal(tok.encode(x[i : i + 1], crops=crops).ids, together.ids[i : i + 1])


def test_seed_and_steps_decide_the_pixels(tok):
    tokens = tok.encode(pictures())
    assert torch.equal(tok.decode(tokens, seed=5, steps=2), tok.decode(tokens, seed=5, steps=2))
    assert not torch.allclose(tok.decode(tokens, seed=5, steps=2), tok.decode(tokens, seed=6, steps=2), atol=1e-3)
    assert not torch.allclose(tok.decode(tokens, steps=2), tok.decode(tokens, steps=3), atol=1e-4)


def test_guidance_leads_away_from_the_first_message(tok):
    tokens = tok.encode(pictures())
    plain, guided = (tok.decode(tokens, steps=2, guidance=g) for g in (1.0, 4.0))
    assert not torch.allclose(plain, guided, atol=1e-4)
    empty = tok.tokens(torch.full((1, 1, 6), tok.spec.vocab_sizes[0] // 2))  # m_0 itself: nothing to lead away from
    assert_close(tok.decode(empty, steps=2, guidance=4.0), tok.decode(empty, steps=2))


# --- places -----------------------------------------------------------------------------------------------------------


def test_relative_places_are_those_of_the_authors(monkeypatch):
    tok, x = tiny(places="relative"), pictures(2)
    calls = written(tok, monkeypatch)
    tok.encode(x, crops=[(0, 0, 8, 8), (8, 4, 8, 8), WHOLE])
    centres = [((left + 4) / 8 - 1, (top + 4) / 8 - 1) for top, left in ((0, 0), (8, 4))] + [(0.0, 0.0)]  # x before y
    expected = [(0.0, 0.0), *((b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(centres))]
    for (place, _), wanted in zip(calls, expected, strict=True):
        assert_close(place, torch.tensor([wanted] * 2))


def test_absolute_places_are_centres(monkeypatch):
    tok = tiny()
    calls = written(tok, monkeypatch)
    tok.encode(pictures(1), crops=[(0, 0, 8, 8), (8, 4, 8, 8)])
    assert_close(torch.cat([place for place, _ in calls]), torch.tensor([[-0.5, -0.5], [0.0, 0.5]]))


def test_decoding_relative_messages_depends_on_the_last_crop():
    x = pictures()
    relative = tiny(places="relative")
    tokens = relative.encode(x)
    usual = relative.decode(tokens, steps=2)
    assert torch.equal(relative.decode(tokens, steps=2, last_crop=relative.config.boxes[-1]), usual)
    assert not torch.allclose(relative.decode(tokens, steps=2, last_crop=LEFT), usual, atol=1e-4)
    absolute = tiny()
    tokens = absolute.encode(x)
    assert torch.equal(absolute.decode(tokens, steps=2, last_crop=LEFT), absolute.decode(tokens, steps=2))


# --- the transformer ----------------------------------------------------------------------------------------------------


def test_positions_against_their_formula():
    table = position_table(8, 3, 5)
    assert table.shape == (1, 8, 3, 5)
    row, column = 2, 4
    expected = [f(n * w) for n in (column, row) for f in (math.sin, math.cos) for w in (1.0, 0.01)]
    assert_close(table[0, :, row, column], torch.tensor(expected))


@pytest.mark.parametrize("query_mask", ["causal", "bias"])
def test_queries_see_earlier_queries(query_mask):
    config = MessageTransformerConfig(width=8, layers=1, heads=2, query_mask=query_mask)
    network = MessageTransformer(config, channels=2, grid=(2, 2), num_tokens=3, latent_dim=2)
    mask = network._mask(torch.zeros(1, 5 + 3 + 3, 8))
    expected = [[column < 8 or 8 <= column <= row for column in range(11)] for row in range(11)]
    assert torch.equal(mask.bool(), torch.tensor(expected)) and mask.is_floating_point() == (query_mask == "bias")


@pytest.mark.parametrize("query_mask", ["causal", "bias"])
def test_the_flow_depends_on_queries_only_where_they_are_seen(query_mask):
    """And so the flow of "causal" runs without them."""
    network = TINY["comit"][1]["network"] | {"query_mask": query_mask}
    tok = tiny(network=network)
    arguments = (torch.randn(1, 3, 8, 8), torch.tensor([0.5]), torch.zeros(1, 3, 6))
    with torch.no_grad():
        before = tok.velocity(*arguments)
        tok.network.query_positions.mul_(-3)
        after = tok.velocity(*arguments)
    assert torch.equal(before, after) == (query_mask == "causal")


def test_adaln_zero_starts_with_one_message_for_all_pictures():
    network = TINY["comit"][1]["network"]
    ids = {zero: tiny(network=network | {"zero_init": zero}).encode(pictures()).ids for zero in (True, False)}
    assert torch.equal(ids[True][0], ids[True][1]) and not torch.equal(ids[False][0], ids[False][1])


# --- training -----------------------------------------------------------------------------------------------------------


def test_training_draws_crops_of_every_number_inside_the_picture():
    torch.manual_seed(0)
    drawn = [drawn_crops(5, (16, 24), side=8, most=3, whole_first=0.5) for _ in range(100)]
    assert {len(crops) for crops in drawn} == {1, 2, 3}
    whole_first = sum(crops[0].size == (16, 24) for crops in drawn)
    assert 30 < whole_first < 70
    corners = torch.cat([crop.corners for crops in drawn for crop in crops if crop.size == (8, 8)])
    assert corners.amin(0).tolist() == [0, 0] and corners.amax(0).tolist() == [8, 16]
    assert all(len(crops[-1].corners.unique(dim=0)) > 1 for crops in drawn if len(crops) > 1)  # each item another place
    for share in (0.0, 1.0):
        firsts = [drawn_crops(2, (16, 16), side=8, most=2, whole_first=share)[0].size for _ in range(20)]
        assert set(firsts) == {(16, 16) if share else (8, 8)}


def test_crops_of_a_batch_are_cut_where_they_lie():
    x = pictures(2)
    crop = Crop(torch.tensor([[0, 4], [8, 2]]), (8, 4))
    assert torch.equal(crop.cut(x), torch.stack([x[0, :, 0:8, 4:8], x[1, :, 8:16, 2:6]]))
    assert_close(crop.centres((16, 16)), torch.tensor([[-0.25, -0.5], [-0.5, 0.5]]))


@pytest.mark.parametrize(("gradient_crops", "expected"), [(1, [False, False, True]), (2, [False, True, True]), (0, [True] * 3)])
def test_gradients_reach_the_last_readings(gradient_crops, expected, monkeypatch):
    tok = tiny(gradient_crops=gradient_crops)
    calls = written(tok, monkeypatch)
    tok.read(pictures(), [Crop.of(WHOLE), Crop.of(LEFT), Crop.of(LOW)])
    assert [recorded for _, recorded in calls] == expected


def test_gradients_flow_through_messages_only_where_they_are_asked_for():
    found = {}
    for gradient_crops in (1, 0):
        tok = tiny(gradient_crops=gradient_crops).train()
        torch.manual_seed(0)
        z, _ = tok.read(pictures(), [Crop.of(WHOLE), Crop.of(LEFT)])
        z.square().mean().backward()
        found[gradient_crops] = tok.network.message_head.weight.grad
    assert not torch.allclose(found[0], found[1])


def test_features_for_losses():
    tok, x = tiny(feature_layer=1).train(), pictures()
    features = tok(x).features
    assert features["velocity"].shape == features["velocity_target"].shape == (3, 3, 8, 8)
    assert features["patches"].shape == (3, 16, 16) and features["message"].shape == (3, 16, 6)
    assert_close(features["summary"][..., 0], features["message"].mean(2))
    assert tiny(feature_layer=None).train()(x).features.keys() == {"velocity", "velocity_target"}
    assert tiny(train_pixels=False).train()(x).x_hat.shape == (3, 3, 8, 8)


def test_items_without_a_message_train_the_guidance():
    x = pictures()
    for share, same in ((1.0, True), (0.0, False)):
        tok = tiny(null_probability=share, sample_posterior=False).train()
        found = []
        for levels in (1.0, -1.0):
            torch.manual_seed(3)
            tok.network.message_head.register_forward_hook(lambda *a, levels=levels: a[2] * levels)
            found.append(tok(x).features["velocity"])
        assert torch.allclose(*found) == same


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_size": 6}, "crop_size"),
        ({"crop_size": 32}, "crop_size"),
        ({"image_size": [18, 16]}, "image_size"),
        ({"train_crops": 0}, "train_crops"),
        ({"gradient_crops": -1}, "gradient_crops"),
        ({"whole_first": 1.5}, "whole_first"),
        ({"feature_layer": 2}, "feature_layer"),
        ({"network": {"width": 18, "heads": 3}}, "width"),
    ],
)
def test_senseless_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(**changes)
