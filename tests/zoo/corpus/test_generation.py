"""What may come next: random models give sequences that unpack without a problem. Run: pytest tests/zoo/corpus/test_generation.py"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packing_cases import CASES, batch, config_of
from tokenzoo.codecs.tokens import Tokens
from tokenzoo.zoo.corpus import packing as P
from tokenzoo.zoo.corpus.generation import PackingLogitsProcessor
from tokenzoo.zoo.corpus.packing.base import Packing
from tokenzoo.zoo.corpus.vocabulary import Books, Reserved, Vocabulary

STREAMS = ("delay", "moshi", "parallel")
quick = settings(max_examples=5, deadline=None)


def draw(packing: Packing, processor: PackingLogitsProcessor, steps: int, seed: int, *, items: int = 2, prompt=()) -> torch.Tensor:
    """Sequences of a model whose logits are noise, `[B, S]` or `[B, K, S]`."""
    dice = torch.Generator().manual_seed(seed)
    head = (len(packing.books.vocab_sizes),) if packing.streamed else ()
    ids = torch.tensor(list(prompt), dtype=torch.int64).expand(items, *head, len(prompt))
    for _ in range(steps):
        noise = 3 * torch.randn(items, *head, packing.vocabulary.size + 3, generator=dice)
        logits = processor(ids, noise)
        chosen = torch.multinomial(logits.flatten(0, -2).softmax(-1), 1, generator=dice).view(*ids.shape[:-1], 1)
        ids = torch.cat([ids, chosen], dim=-1)
    return ids


def target(case: str, config: P.PackingConfig, seed: int) -> dict:
    """Positions or grid of an item that the pattern takes."""
    tokens = batch(case, config, seed, 1)
    return {"grid": tokens.grid} if "raster" in case or "clips" in case else {"positions": int(tokens.lengths[0])}


@pytest.mark.parametrize("case", CASES)
@quick
@given(seed=st.integers(0, 10**6))
def test_sequences_of_one_length_unpack_whole(case, seed):
    config = config_of(case)
    packing, wanted = config.build(), target(case, config, seed)
    ids = draw(packing, PackingLogitsProcessor(packing, **wanted), 34, seed)
    found = packing.unpack(ids)
    assert not found.problems and all(found.ended)
    positions = wanted.get("positions") or math.prod(wanted["grid"])
    assert found.tokens.lengths.tolist() == [positions] * 2
    assert [t.grid for t in found.tokens] == [wanted["grid"]] * 2 if "grid" in wanted else True
    assert (ids[..., -1] == packing.pad_id).all(), "nothing but padding after the end"


@pytest.mark.parametrize("case", [c for c in CASES if c not in ("parallel", "raster_fixed", "clips_fixed")])
@quick
@given(seed=st.integers(0, 10**6))
def test_sequences_that_end_where_they_like_unpack_whole(case, seed):
    packing = config_of(case).build()
    found = packing.unpack(draw(packing, PackingLogitsProcessor(packing), 40, seed))
    assert not any(p for p in found.problems if found.ended[p.item]), "what has no end yet may stop inside a unit"
    for tokens, ended in zip(found.tokens, found.ended, strict=True):
        if ended:
            assert packing.unpack(packing.pack(tokens)).tokens == tokens


@pytest.mark.parametrize("case", CASES)
def test_what_packs_may_come(case):
    """Every step of packed tokens is among those that may come, so that no sequence is ruled out."""
    config = config_of(case)
    packing, tokens = config.build(), batch(case, config, 7, 3)
    for item in tokens:
        row = packing.pack(item).input_ids[0]
        processor = PackingLogitsProcessor(packing, **({"positions": int(item.lengths[0])} if case == "parallel" else {}))
        for step in range(row.shape[-1]):
            prompt = row[None, ..., :step]
            logits = processor(prompt, torch.zeros(*prompt.shape[:-1], packing.vocabulary.size))
            assert torch.isfinite(logits.gather(-1, row[None, ..., step : step + 1])).all(), f"step {step}"


def one(kind: type, sizes: tuple[int, ...], **values) -> Packing:
    """A packing over the specials (ids 0..9) and one tokenizer (from 10)."""
    return kind(tokenizer="x", vocabulary=Vocabulary(media=(Books(name="x", modality="audio", vocab_sizes=sizes),)), **values).build()


def may_come(packing: Packing, ids: list, **kwargs) -> list:
    """Ids that may follow, of each row."""
    rows = torch.tensor(ids, dtype=torch.int64)[None]
    logits = PackingLogitsProcessor(packing, **kwargs)(rows, torch.zeros(*rows.shape[:-1], packing.vocabulary.size))
    found = [torch.isfinite(row).nonzero()[:, 0].tolist() for row in logits.flatten(0, -2)]
    return found if packing.streamed else found[0]


def test_interleaved_by_hand():
    packing = one(P.InterleavedConfig, (2, 3))
    begin, end, pad = packing.begin_id, packing.end_id, packing.pad_id
    assert may_come(packing, []) == [begin]
    assert may_come(packing, [begin]) == [10, 11]
    assert may_come(packing, [begin, 11]) == [12, 13, 14]
    assert may_come(packing, [begin, 11, 14]) == sorted([10, 11, end])
    assert may_come(packing, [begin, 11, 14], positions=1) == [end]
    assert may_come(packing, [begin, 11, 14, end]) == [pad]
    assert may_come(packing, [begin, 11, 14, end, begin]) == [10, 11], "the last medium goes on"


def test_rows_by_hand():
    packing = one(P.RasterConfig, (2,), row_ends=True)
    begin, end, row = packing.begin_id, packing.end_id, packing.special["end_row"]
    assert may_come(packing, [begin]) == [10, 11]
    assert may_come(packing, [begin, 10]) == sorted([10, 11, row])
    assert may_come(packing, [begin, 10, 11, row]) == sorted([10, 11, end])
    assert may_come(packing, [begin, 10, 11, row, 10]) == [10, 11] and may_come(packing, [begin, 10, 11, row, 10, 10]) == [row]


def test_frames_by_hand():
    packing = one(P.ClipsConfig, (2,), row_ends=True)
    begin, end, row = packing.begin_id, packing.end_id, packing.special["end_row"]
    frame = [begin, 10, row, 11, row]
    assert may_come(packing, frame) == sorted([10, 11, row, end]), "another row or frame, or the end"
    assert may_come(packing, [*frame, row]) == [10, 11]
    assert may_come(packing, [*frame, row, 10, row]) == [10, 11], "the frames before have two rows"
    assert may_come(packing, [*frame, row, 10, row, 10, row]) == sorted([row, end])
    assert may_come(packing, [*frame, row], grid=(2, 2, 1)) == [10, 11] and may_come(packing, frame, grid=(1, 2, 1)) == [end]
    assert may_come(packing, frame, grid=(2, 1)) == [end], "a picture is a clip of one frame"
    with pytest.raises(ValueError, match=r"needs the grid \(t, h, w\)"):
        PackingLogitsProcessor(packing, positions=4)
    with pytest.raises(ValueError, match=r"raster packing takes grids \(h, w\); got \(2, 2, 1\)"):
        PackingLogitsProcessor(one(P.RasterConfig, (2,), row_ends=True), grid=(2, 2, 1))


def test_coarse_first_by_hand():
    packing = one(P.CoarseFirstConfig, (2, 2, 2), groups=(1, 2))
    begin, end = packing.begin_id, packing.end_id
    assert may_come(packing, [begin]) == [10, 11] and may_come(packing, [begin, 10]) == [10, 11, 12, 13]
    assert may_come(packing, [begin, 10, 12]) == [14, 15] and may_come(packing, [begin, 10, 12, 15]) == [end]
    assert may_come(packing, [begin, 10, 11, 12, 15]) == [12, 13], "two positions"


def test_delay_by_hand():
    packing = one(P.DelayConfig, (2, 3))
    begin, end, empty, pad = packing.begin_id, packing.end_id, packing.empty_id, packing.pad_id
    assert may_come(packing, [[], []]) == [[begin], [begin]]
    assert may_come(packing, [[begin], [begin]]) == [[10, 11], [empty]]
    assert may_come(packing, [[begin, 10], [begin, empty]]) == [sorted([10, 11, end]), [12, 13, 14]]
    assert may_come(packing, [[begin, 10, end], [begin, empty, 12]]) == [[empty], [end]]
    assert may_come(packing, [[begin, 10, end, empty], [begin, empty, 12, end]]) == [[pad], [pad]]
    flat = torch.tensor([[begin, 10], [begin, empty]])
    logits = PackingLogitsProcessor(packing)(flat, torch.zeros(2, packing.vocabulary.size))
    assert torch.isfinite(logits).sum(-1).tolist() == [3, 3], "rows of items one after the other, as transformers' MusicGen has them"


def test_merged_ids_fit_or_may_not_come():
    books = Books(name="x", modality="audio", vocab_sizes=(2, 3))
    packing = P.BpeConfig(
        tokenizer="x", vocabulary=Vocabulary(media=(books,), reserved=(Reserved(name="m", size=3, after="x"),)),
        pattern="interleaved", merges=((0, 2), (3, 1), (5, 0)), merged="m",
    ).build()  # fmt: skip
    begin, end, first = packing.begin_id, packing.end_id, packing.merged_id
    assert may_come(packing, [begin]) == [10, 11, first, first + 2], "0 2, and 0 2 0; not 3 1"
    assert may_come(packing, [begin, 10]) == [12, 13, 14, first + 1]
    assert may_come(packing, [begin], positions=1) == [10, 11, first], "0 2 0 would be too long"
    assert may_come(packing, [begin, first]) == sorted([10, 11, first, first + 2, end])


def test_errors():
    interleaved, raster = one(P.InterleavedConfig, (2, 3)), one(P.RasterConfig, (2,), row_ends=True)
    with pytest.raises(ValueError, match="cannot agree on one; give `positions`"):
        PackingLogitsProcessor(one(P.ParallelConfig, (2, 2)))
    with pytest.raises(ValueError, match="takes positions, not the grid"):
        PackingLogitsProcessor(one(P.DelayConfig, (2, 2)), grid=(2, 2))
    with pytest.raises(ValueError, match="needs the grid"):
        PackingLogitsProcessor(raster, positions=4)
    with pytest.raises(ValueError, match="positions is 3 and grid"):
        PackingLogitsProcessor(raster, positions=3, grid=(2, 2))
    with pytest.raises(ValueError, match="ends inside a unit; 4 would be whole"):
        PackingLogitsProcessor(one(P.MultiRateConfig, (2, 2), strides=(2, 1)), positions=5)
    with pytest.raises(ValueError, match="step 2 holds x codebook 0 id 1, with which interleaved packing cannot go on"):
        may_come(interleaved, [interleaved.begin_id, 10, 11])
    with pytest.raises(ValueError, match="do not belong together"):
        PackingLogitsProcessor(interleaved)(torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 3))


def test_without_end_tokens_padding_follows_the_last_position():
    packing = one(P.InterleavedConfig, (2, 3), end=False)
    assert may_come(packing, [packing.begin_id, 10, 12], positions=1) == [packing.pad_id]
    assert may_come(packing, [packing.begin_id, 10, 12]) == [10, 11]
    tokens = Tokens(torch.tensor([[[0], [2]]]), (2, 3))
    assert packing.unpack(packing.pack(tokens)).tokens == tokens
