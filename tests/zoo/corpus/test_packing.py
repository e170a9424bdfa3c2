"""Packing patterns: exact inverses, labels, and broken generations. Run: pytest tests/zoo/corpus/test_packing.py"""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packing_cases import CASES, SCALES, batch, config_of
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.tokens import Tokens
from tokenzoo.zoo.corpus import packing as P
from tokenzoo.zoo.corpus.packing.bits import split_sizes
from tokenzoo.zoo.corpus.vocabulary import Books, Vocabulary

quick = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 10**6)


def simple(cls: type, sizes: tuple[int, ...], **settings_of_kind: object) -> P.Packing:
    """A packing over a vocabulary of nothing but the specials (ids 0..9) and one tokenizer (ids from 10)."""
    books = Books(name="x", modality="audio", vocab_sizes=sizes)
    return cls(tokenizer="x", vocabulary=Vocabulary(media=(books,)), **settings_of_kind).build()


def content(packing: P.Packing, tokens: Tokens) -> list[int]:
    """Ids between begin and end token of one item."""
    row = packing.pack(tokens).input_ids[0].tolist()
    assert row[0] == packing.begin_id and row[-1] == packing.end_id
    return row[1:-1]


# --- exact inverses -------------------------------------------------------------------------------------------------


def test_every_kind_has_a_case():
    assert {config_of(c).kind for c in CASES} == set(P.PATTERNS.names())


@pytest.mark.parametrize("case", CASES)
@quick
@given(seed=seeds, items=st.integers(1, 4), end=st.booleans(), learn_begin=st.booleans())
def test_unpack_inverts_pack(case, seed, items, end, learn_begin):
    config = config_of(case, end=end, learn_begin=learn_begin)
    tokens = batch(case, config, seed, items)
    packing = config.build()
    back = packing.unpack(packing.pack(tokens))
    assert back.tokens.equal(tokens)
    assert not back.problems
    assert all(back.ended)


@pytest.mark.parametrize("case", [c for c in CASES if not c.startswith("bpe")])
@quick
@given(seed=seeds, items=st.integers(1, 4), missing=st.integers(0, 3))
def test_logits_come_back_to_the_tokens_that_they_predict(case, seed, items, missing):
    config = config_of(case)
    tokens = batch(case, config, seed, items)
    packing = config.build()
    packed = packing.pack(tokens)
    # logits that predict every next id without doubt, and say at which step they stood
    sure = torch.nn.functional.one_hot(packed.input_ids, packing.vocabulary.size).float()[..., 1:, :]
    sure = sure[..., : sure.shape[-2] - missing, :]
    logits, mask = packing.at_positions(sure, packed.side)
    want = packing.vocabulary.to_ids("x", packing._split(tokens.ids))  # [B, K, L]
    assert logits.shape == (items, packing.vocabulary.size, *want.shape[1:])
    assert torch.equal(logits.argmax(1)[mask], want[mask]) and not logits.sum(1)[~mask].any()
    inside = torch.arange(want.shape[-1]) < tokens.lengths[:, None]
    assert not mask[~inside[:, None].expand_as(mask)].any()
    if not missing:
        assert torch.equal(mask, inside[:, None].expand_as(mask))


def test_logits_of_a_delay_pattern():
    packing = simple(P.DelayConfig, (4, 4))
    tokens = Tokens(ids=torch.tensor([[[0, 1, 2], [3, 2, 1]]]), vocab_sizes=(4, 4))
    steps = torch.arange(6.0).expand(1, 2, 6)[..., None]  # begin, 0, 1, 2, end; begin, empty, 3, 2, 1, end
    logits, mask = packing.at_positions(steps, packing.pack(tokens).side)
    assert logits[0, 0].tolist() == [[0, 1, 2], [1, 2, 3]] and mask.all()
    with pytest.raises(ValueError, match=r"expected \['B', 2, 'S', 'V'\]"):
        packing.at_positions(steps[:, 0], packing.pack(tokens).side)


@pytest.mark.parametrize("case", CASES)
@quick
@given(seed=seeds, items=st.integers(1, 4))
def test_ids_alone_give_ids_lengths_and_grids_back(case, seed, items):
    config = config_of(case)
    tokens = batch(case, config, seed, items)
    packing = config.build()
    back = packing.unpack(packing.pack(tokens).input_ids).tokens
    assert torch.equal(back.ids, tokens.ids)
    assert torch.equal(back.lengths, tokens.lengths)
    if "raster" in case or "clips" in case:
        assert [t.grid for t in back] == [t.grid for t in tokens]


@pytest.mark.parametrize("case", CASES)
@quick
@given(seed=seeds)
def test_an_item_does_not_depend_on_its_batch(case, seed):
    config = config_of(case)
    tokens = batch(case, config, seed, 3)
    packing = config.build()
    whole = packing.pack(tokens)
    for b in range(3):
        alone = packing.pack(tokens[b]).input_ids[0]
        assert torch.equal(alone, whole.input_ids[b, ..., : int(whole.lengths[b])])
        assert (whole.input_ids[b, ..., int(whole.lengths[b]) :] == packing.pad_id).all()


@pytest.mark.parametrize("case", CASES)
def test_empty_batches_and_empty_sequences(case):
    config = config_of(case)
    packing = config.build()
    none = batch(case, config, 0, 2)[:0]
    assert packing.unpack(packing.pack(none)).tokens.equal(none)
    shape = (len(packing.vocab_sizes), 0) if case in ("delay", "moshi", "parallel") else (0,)
    read = packing.unpack(torch.zeros(shape, dtype=torch.int64))
    assert read.tokens.ids.shape[2] == 0


@pytest.mark.parametrize("case", CASES)
def test_ids_of_a_step_belong_to_one_codebook_of_this_tokenizer(case):
    config = config_of(case)
    packing = config.build()
    packed = packing.pack(batch(case, config, 5, 3))
    labelled = packed.input_ids[packed.loss_mask]
    owners = {config.vocabulary.describe(i).split(" ")[0] for i in labelled.tolist()}
    assert owners <= {"x", "special", *(["gap"] if case.startswith("bpe") else [])}


# --- orders, by hand ------------------------------------------------------------------------------------------------


def test_interleaved_order():
    packing = simple(P.InterleavedConfig, (4, 4))
    assert content(packing, Tokens(torch.tensor([[[0, 1], [2, 3]]]), (4, 4))) == [10, 16, 11, 17]


def test_clips_go_frame_after_frame():
    tokens = Tokens(torch.arange(8)[None, None], (8,), grid=(2, 2, 2), sizes=torch.tensor([[5, 16, 16]]))
    plain, closed = simple(P.ClipsConfig, (8,)), simple(P.ClipsConfig, (8,), row_ends=True)
    row = closed.special["end_row"]
    assert content(plain, tokens) == list(range(10, 18))
    assert content(closed, tokens) == [10, 11, row, 12, 13, row, row, 14, 15, row, 16, 17, row]
    picture = Tokens(torch.arange(4)[None, None], (8,), grid=(1, 2, 2))
    rows = simple(P.RasterConfig, (8,), row_ends=True)
    assert content(closed, picture) == content(rows, picture), "a clip of one step is a picture"
    with pytest.raises(ValueError, match="Clips of several steps take the packing 'clips'"):
        rows.pack(tokens)
    with pytest.raises(ValueError, match=r"set for clips of grid \(3, 2, 2\), got \(2, 2, 2\)"):
        simple(P.ClipsConfig, (8,), grid=(3, 2, 2)).pack(tokens)
    with pytest.raises(ConfigError, match="clips packing takes K=1 codebook"):
        simple(P.ClipsConfig, (8, 8))
    with pytest.raises(ConfigError, match="give three positive numbers"):
        simple(P.ClipsConfig, (8,), grid=(0, 2, 2))


def test_a_clip_that_was_cut_off_keeps_whole_frames():
    tokens = Tokens(torch.arange(12)[None, None], (12,), grid=(3, 2, 2))
    for packing in (simple(P.ClipsConfig, (12,), row_ends=True), simple(P.ClipsConfig, (12,), grid=(3, 2, 2))):
        ids, steps = packing.pack(tokens).input_ids, packing.steps_of(12, (3, 2, 2))[0]
        for positions, grid in ((3, (1, 1, 2)), (7, (1, 2, 2)), (10, (2, 2, 2))):
            back = packing.unpack(ids[:, : int(steps[positions])]).tokens
            assert back.grid == grid and back.ids.flatten().tolist() == list(range(math.prod(grid)))


def test_coarse_first_order():
    packing = simple(P.CoarseFirstConfig, (4, 4, 4), groups=(1, 2))
    tokens = Tokens(torch.tensor([[[0, 1], [0, 1], [2, 3]]]), (4, 4, 4))
    assert content(packing, tokens) == [10, 11, 14, 20, 15, 21]


def test_multi_rate_orders():
    ids = torch.tensor([[[0, 0, 0, 0], [1, 1, 2, 2], [3, 4, 5, 6]]])
    tokens = Tokens(ids, (8, 8, 8), strides=(4, 2, 1))
    depth = simple(P.MultiRateConfig, (8, 8, 8), strides=(4, 2, 1))
    level = simple(P.MultiRateConfig, (8, 8, 8), strides=(4, 2, 1), order="level")
    assert content(depth, tokens) == [10, 19, 29, 30, 20, 31, 32]  # the order of SNAC's users: 0 1 2 2 1 2 2
    assert content(level, tokens) == [10, 19, 20, 29, 30, 31, 32]


def test_per_dimension_order():
    packing = simple(P.PerDimensionConfig, (4, 4, 4), order=(2, 0, 1))
    tokens = Tokens(torch.tensor([[[0, 1], [1, 2], [2, 3]]]), (4, 4, 4))
    assert content(packing, tokens) == [20, 10, 15, 21, 11, 16]


def test_delay_drawing():
    packing = simple(P.DelayConfig, (4, 4, 4))
    tokens = Tokens(torch.tensor([[[0, 1], [0, 1], [0, 1]]]), (4, 4, 4))
    e, b, z = packing.end_id, packing.begin_id, packing.empty_id
    want = [[b, 10, 11, e, z, z], [b, z, 14, 15, e, z], [b, z, z, 18, 19, e]]
    assert packing.pack(tokens).input_ids[0].tolist() == want


def test_bits_are_most_significant_first():
    packing = simple(P.BitsConfig, split_sizes((2**6,), 4), vocab_sizes=(2**6,), bits=4)
    tokens = Tokens(torch.tensor([[[0b1011_01]]]), (2**6,))
    assert content(packing, tokens) == [10 + 0b1011, 10 + 16 + 0b01]
    assert split_sizes((2**8,) * 16, 1) == (2,) * 128


@quick
@given(seed=seeds, bits=st.sampled_from([1, 3, 8]))
def test_codes_of_128_bits_come_back(seed, bits):
    """2^128 values as 16 groups of 2^8, the most that ids of 64 bits could not hold."""
    sizes = (2**8,) * 16
    packing = simple(P.BitsConfig, split_sizes(sizes, bits), vocab_sizes=sizes, bits=bits)
    ids = torch.randint(0, 2**8, (2, 16, 3), generator=torch.Generator().manual_seed(seed))
    tokens = Tokens(ids, sizes)
    packed = packing.pack(tokens)
    assert packed.input_ids.shape[1] == 2 + 3 * 16 * -(-8 // bits)
    assert packing.unpack(packed.input_ids).tokens.equal(tokens)


def test_scale_of_steps():
    packing = config_of("multi_scale").build()
    assert packing.scale_of_steps(8).tolist() == [-1, 0, 0, 1, 1, 1, 1, 1]
    total = 2 * sum(h * w for h, w in SCALES)
    assert packing.scale_of_steps(total + 2).tolist()[-3:] == [2, 2, -1]


def test_prefix_cuts_and_draws_allowed_lengths():
    config = config_of("prefix")
    packing = config.build()
    tokens = Tokens.cat([t for s in range(40) if (t := batch("prefix", config, s, 1)).ids.shape[2] == 8][:3])
    short = packing.cut(tokens, [1, 4, 8])
    assert short.lengths.tolist() == [1, 4, 8]
    assert torch.equal(short.ids[1, :, :4], tokens.ids[1, :, :4]) and not short.ids[0, :, 1:].any()
    drawn = [packing.draw(tokens, torch.Generator().manual_seed(s)).lengths.tolist() for s in range(20)]
    assert {n for ns in drawn for n in ns} == {1, 2, 4, 8}
    with pytest.raises(ValueError, match="length 3"):
        packing.cut(tokens, [3, 4, 8])


# --- labels and the end rule ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("learn_begin", [False, True])
def test_end_counts_and_padding_does_not(case, learn_begin):
    config = config_of(case, learn_begin=learn_begin)
    packing = config.build()
    packed = packing.pack(batch(case, config, 7, 4))
    ids, mask = packed.input_ids, packed.loss_mask
    rows = ids.shape[1] if ids.ndim == 3 else 1
    never = (ids == packing.pad_id) | (ids == packing.special["empty"])
    begin = ids == packing.begin_id
    assert int((ids == packing.end_id).sum()) == 4 * rows
    assert mask[ids == packing.end_id].all()
    assert not mask[never].any()
    assert (mask[begin] == learn_begin).all() and int(begin.sum()) == 4 * rows
    assert mask[~never & ~begin].all()
    assert torch.equal(packed.labels, torch.where(mask, ids, -100))
    assert packed.attention_mask.sum(1).tolist() == packed.lengths.tolist()
    inputs, targets, counts = packed.shifted()
    assert torch.equal(inputs[..., 1:], ids[..., 1:-1]) and torch.equal(targets, packed.labels[..., 1:])
    assert torch.equal(counts, mask[..., 1:])


def test_padding_is_masked_also_where_pad_and_end_share_an_id():
    """Text tokenizers often pad with their end token: the mask follows the lengths, never the ids."""
    vocabulary = Vocabulary(text_size=4, text_specials={"pad": 0}, media=(Books(name="x", modality="audio", vocab_sizes=(4,)),))
    packing = P.InterleavedConfig(tokenizer="x", vocabulary=vocabulary).build()
    packed = packing.pack(Tokens(torch.zeros(2, 1, 3, dtype=torch.int64), (4,), lengths=torch.tensor([1, 3])))
    assert packed.loss_mask.tolist() == [[False, True, True, False, False], [False, True, True, True, True]]


def test_without_end_there_is_no_end_token():
    config = config_of("parallel", end=False)
    packing = config.build()
    tokens = batch("parallel", config, 1, 1)
    ids = packing.pack(tokens).input_ids
    assert ids.shape[2] == 1 + tokens.ids.shape[2] and not (ids == packing.end_id).any()


# --- broken generations ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
@quick
@given(seed=seeds, data=st.data())
def test_an_id_out_of_place_is_found_and_the_prefix_kept(case, seed, data):
    config = config_of(case)
    packing = config.build()
    tokens = batch(case, config, seed, 1)
    ids = packing.pack(tokens).input_ids
    labelled = packing.pack(tokens).loss_mask & (ids != packing.end_id)
    at = data.draw(st.sampled_from(labelled.nonzero().tolist()))
    ids[tuple(at)] = data.draw(st.sampled_from([-5, 0, packing.special["separator"], 10**9]))
    back = packing.unpack(ids)
    assert (at[-1], at[1] if len(at) == 3 else 0) in {(p.position, p.stream) for p in back.problems}
    n = int(back.tokens.lengths[0])
    assert n < int(tokens.lengths[0])
    assert packing.decodable(n) == n
    assert torch.equal(back.tokens.ids, tokens.ids[:, :, :n])


@pytest.mark.parametrize("case", CASES)
@quick
@given(seed=seeds, data=st.data())
def test_a_generation_that_was_cut_off_keeps_its_prefix(case, seed, data):
    config = config_of(case)
    packing = config.build()
    tokens = batch(case, config, seed, 1)
    ids = packing.pack(tokens).input_ids
    cut = data.draw(st.integers(0, ids.shape[-1] - 1))
    back = packing.unpack(ids[..., :cut])
    n = int(back.tokens.lengths[0])
    assert back.ended == (False,)
    assert n <= int(tokens.lengths[0]) and packing.decodable(n) == n
    assert torch.equal(back.tokens.ids, tokens.ids[:, :, :n])


@pytest.mark.parametrize("case", CASES)
@quick
@given(seed=seeds, shape=st.integers(0, 40))
def test_noise_never_raises_and_gives_valid_tokens(case, seed, shape):
    config = config_of(case)
    packing = config.build()
    rows = (3,) if case in ("delay", "moshi", "parallel") else ()
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(-2, config.vocabulary.size + 5, (2, *rows, shape), generator=generator)
    back = packing.unpack(ids).tokens
    sizes = torch.tensor(packing.vocab_sizes)[:, None]
    assert ((back.ids >= 0) & (back.ids < sizes)).all()
    assert all(packing.decodable(n) == n for n in back.lengths.tolist())


def test_prefix_length_is_exact_for_every_flat_position():
    """One broken id at step s of an interleaved item leaves s // K positions, not one fewer."""
    packing = simple(P.InterleavedConfig, (4, 4, 4))
    tokens = Tokens(torch.randint(0, 4, (1, 3, 5)), (4, 4, 4))
    clean = packing.pack(tokens).input_ids
    for s in range(15):
        ids = clean.clone()
        ids[0, 1 + s] = packing.special["separator"]
        back = packing.unpack(ids)
        assert int(back.tokens.lengths[0]) == s // 3
        assert [p.position for p in back.problems] == [1 + s]


def test_messages_name_what_was_expected_and_found():
    packing = simple(P.InterleavedConfig, (4, 6))
    problem = packing.unpack([packing.begin_id, 10, 11, packing.end_id]).problems[0]
    assert (problem.position, problem.found) == (2, 11)
    assert problem.message == "expected x codebook 1, found x codebook 0 id 1"


def test_an_end_inside_a_frame_is_a_problem_and_a_missing_end_is_not():
    packing = simple(P.InterleavedConfig, (4, 4))
    ended = packing.unpack([packing.begin_id, 10, 14, 11, packing.end_id])
    assert [p.position for p in ended.problems] == [4] and ended.ended == (True,)
    assert ended.tokens.ids.tolist() == [[[0], [0]]]
    cut = packing.unpack([packing.begin_id, 10, 14, 11])
    assert not cut.problems and cut.ended == (False,) and cut.tokens.ids.tolist() == [[[0], [0]]]


def test_prompt_before_begin_and_ids_after_end_are_left_out():
    packing = simple(P.InterleavedConfig, (4, 4))
    row = [packing.special["begin"], 11, packing.begin_id, 10, 14, packing.end_id, 12, 12]
    back = packing.unpack(row)
    assert back.tokens.ids.tolist() == [[[0], [0]]] and not back.problems


def test_coarse_first_keeps_what_all_codebooks_have():
    packing = simple(P.CoarseFirstConfig, (4, 4))
    back = packing.unpack([packing.begin_id, 10, 11, 12, 14, 15])
    assert back.tokens.ids.tolist() == [[[0, 1], [0, 1]]] and not back.problems and back.ended == (False,)


def test_delay_reports_a_row_that_ends_early():
    packing = simple(P.DelayConfig, (4, 4, 4))
    ids = packing.pack(Tokens(torch.ones(1, 3, 4, dtype=torch.int64), (4, 4, 4))).input_ids
    ids[0, 1, 1 + 1 + 2] = packing.end_id  # row 1, its position 2
    back = packing.unpack(ids)
    assert [(p.position, p.stream) for p in back.problems] == [(4, 1)]
    assert int(back.tokens.lengths[0]) == 2


def test_broken_batches_keep_the_sizes_but_not_the_grid():
    config = config_of("raster")
    packing = config.build()
    tokens = Tokens(torch.zeros(1, 1, 6, dtype=torch.int64), (9,), grid=(2, 3), sizes=torch.tensor([[20, 30]]))
    packed = packing.pack(tokens)
    packed.input_ids[0, 6] = packing.special["separator"]  # in the second row
    back = packing.unpack(packed).tokens
    assert back.grid == (1, 3) and back.ids.shape == (1, 1, 3) and back.sizes.tolist() == [[20, 30]]


# --- boundaries -----------------------------------------------------------------------------------------------------


def test_tokens_of_another_tokenizer_are_refused():
    packing = simple(P.InterleavedConfig, (4, 4))
    with pytest.raises(ValueError, match=r"vocab_sizes \(4, 4\), the tokens have \(4,\)"):
        packing.pack(Tokens(torch.zeros(1, 1, 2, dtype=torch.int64), (4,)))
    with pytest.raises(ValueError, match="id 4 at .* lies outside codebook 1"):
        packing.pack(Tokens(torch.tensor([[[0], [4]]]), (4, 4)))
    with pytest.raises(ValueError, match=r"unpacks ids \[B, S\]"):
        packing.unpack(torch.zeros(1, 2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="packed one by one"):
        packing.pack(Tokens(torch.zeros(1, 2, 4, dtype=torch.int64), (4, 4), book_grids=torch.tensor([[[1, 1], [2, 2]]])))


@pytest.mark.parametrize("value", [-1, 2**6])
def test_bits_refuse_ids_outside_their_codebook(value):
    packing = simple(P.BitsConfig, split_sizes((2**6,), 4), vocab_sizes=(2**6,), bits=4)
    with pytest.raises(ValueError, match="outside codebook 0"):
        packing.pack(Tokens(torch.tensor([[[value]]]), (2**6,)))


@pytest.mark.parametrize(
    ("cls", "sizes", "given_settings", "message"),
    [
        (P.RasterConfig, (4, 4), {}, "K=1"),
        (P.CoarseFirstConfig, (4, 4), {"groups": (1, 2)}, "sum K=2"),
        (P.DelayConfig, (4, 4), {"delays": (1, 2)}, "smallest of them 0"),
        (P.MultiRateConfig, (4, 4), {"strides": (2,)}, "K=2"),
        (P.PerDimensionConfig, (4, 4), {"order": (0, 0)}, "each of 0..1 once"),
        (P.BitsConfig, (4, 4), {"vocab_sizes": (9,), "bits": 2}, "power"),
        (P.BitsConfig, (4, 4), {"vocab_sizes": (8,), "bits": 2}, r"parts are \(4, 2\)"),
        (P.PrefixConfig, (4,), {"allowed": (2, 1)}, "rising"),
    ],
)
def test_settings_that_do_not_fit_are_refused(cls, sizes, given_settings, message):
    with pytest.raises(ConfigError, match=message):
        simple(cls, sizes, **given_settings)


def test_lengths_inside_a_unit_are_refused():
    packing = simple(P.MultiRateConfig, (4, 4), strides=(2, 1))
    with pytest.raises(ValueError, match="first to 2"):
        packing.pack(Tokens(torch.zeros(1, 2, 3, dtype=torch.int64), (4, 4), strides=(2, 1)))
    with pytest.raises(ValueError, match="differ inside its stride"):
        packing.pack(Tokens(torch.tensor([[[0, 1], [0, 0]]]), (4, 4), strides=(2, 1)))


# --- packing.json and heads -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_file_round_trip(case, tmp_path):
    config = config_of(case)
    config.build().save(tmp_path / "packing.json")
    loaded = P.load_packing(tmp_path / "packing.json")
    assert loaded.config == config
    tokens = batch(case, config, 3, 2)
    assert torch.equal(loaded.pack(tokens).input_ids, config.build().pack(tokens).input_ids)


def test_file_errors_say_what_is_wrong(tmp_path):
    path = tmp_path / "packing.json"
    config_of("delay").build().save(path)
    good = json.loads(path.read_text())
    assert good["specials"]["pad"] == 3

    def error(change: dict) -> str:
        path.write_text(json.dumps(good | change))
        with pytest.raises(ConfigError) as info:
            P.load_packing(path)
        return str(info.value)

    assert "Did you mean 'delay'" in error({"packing": good["packing"] | {"kind": "delays"}})
    assert "'packing.delay'" in error({"packing": good["packing"] | {"delay": [0]}})
    assert "version 2" in error({"version": 2})
    assert "not a packing file" in error({"format": "x"})
    assert "altered" in error({"specials": good["specials"] | {"pad": 4}})
    path.write_text("{")
    with pytest.raises(ConfigError, match="not JSON"):
        P.load_packing(path)


@pytest.mark.parametrize("case", ["delay", "moshi", "parallel"])
def test_heads_count_from_zero_and_come_back(case):
    config = config_of(case)
    packing = config.build()
    packed = packing.pack(batch(case, config, 2, 3))
    local = packing.to_heads(packed.input_ids)
    for k, size in enumerate(packing.head_sizes):
        assert int(local[:, k].min()) >= 0 and int(local[:, k].max()) < size
    assert torch.equal(packing.from_heads(local), packed.input_ids)
    assert torch.equal(packing.to_heads(packed.labels) == -100, ~packed.loss_mask)
    wrong = packed.input_ids.roll(1, dims=1)
    with pytest.raises(ValueError, match="row"):
        packing.to_heads(wrong)
