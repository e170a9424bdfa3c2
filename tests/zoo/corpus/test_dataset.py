"""`TokenDataset`: order, blocks, boundaries, resume, ranks and workers. Run: pytest tests/zoo/corpus/test_dataset.py"""

import itertools
import json
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from corpus_cases import lively, make, pictures, sounds
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenzoo.codecs.config import ConfigError
from tokenzoo.zoo.corpus import TokenDataset
from tokenzoo.zoo.corpus.blocks import Blocks
from tokenzoo.zoo.corpus.dataset import random_window, same_document
from tokenzoo.zoo.corpus.manifest import CorpusError, default_cache
from tokenzoo.zoo.corpus.packing import DelayConfig
from tokenzoo.zoo.corpus.plain import plain_packing
from tokenzoo.zoo.corpus.records import Layout
from waiting import PATIENCE_SECONDS

quick = settings(max_examples=60, deadline=None)
lengths = st.lists(st.integers(1, 30), min_size=1, max_size=12).map(lambda x: np.array(x))


@pytest.fixture(scope="module", params=["parquet", "tar", "megatron", "flat"])
def folder(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus")
    make(lively("spectral"), sounds(root / "in", 11), root / "out", format=request.param, shard_items=4)
    return root / "out"


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus")
    make(lively("spectral"), sounds(root / "in", 11), root / "out", shard_items=4)
    return root / "out"


# --- documents --------------------------------------------------------------------------------------------------------


def test_documents_are_what_packing_gives(folder):
    data = TokenDataset(folder, seed=None)
    assert len(data) == 11
    for i in range(11):
        packed = data.packing.pack(data.tokens(i))
        sample = data[i]
        assert torch.equal(sample["input_ids"], packed.input_ids[0]) and torch.equal(sample["labels"], packed.labels[0])
        assert data.steps()[i] == packed.lengths[0]
        assert sample["position_ids"].tolist() == list(range(len(sample["input_ids"])))


def test_order_comes_from_the_seed_and_every_epoch_has_its_own(folder):
    data, again, other = TokenDataset(folder, seed=3), TokenDataset(folder, seed=3), TokenDataset(folder, seed=4)

    def order(d, epoch):
        return [d._document(epoch * 11 + i)[0] for i in range(11)]

    assert order(data, 0) == order(again, 0) != order(other, 0)
    assert order(data, 0) != order(data, 1) and sorted(order(data, 1)) == list(range(11))
    assert order(TokenDataset(folder, seed=None), 5) == list(range(11))


def test_codebooks_are_cut_and_other_packings_take_their_place(folder):
    first = TokenDataset(folder, seed=None, codebooks=1)
    assert torch.equal(first.packing.unpack(first[2]["input_ids"]).tokens.ids, first.tokens(2).ids[:, :1])
    plain = TokenDataset(folder, seed=None)
    config = plain.packing.config
    delay = DelayConfig(tokenizer=config.tokenizer, vocabulary=config.vocabulary).build()
    data = TokenDataset(folder, seed=None, packing=delay, block=16)
    assert data[0]["input_ids"].shape == (3, 16) and data[0]["document_ids"].shape == (16,)
    docs = TokenDataset(folder, seed=None, packing=delay)
    assert delay.unpack(docs[4]["input_ids"]).tokens.ids.equal(plain.tokens(4).ids)
    batch = next(iter(docs.loader(3)))
    assert batch["input_ids"].shape[:2] == (3, 3) and (batch["labels"][batch["input_ids"] == delay.pad_id] == -100).all()


def test_packings_by_name_as_on_the_command_line(folder, tmp_path):
    plain = TokenDataset(folder, seed=None)
    config = plain.packing.config
    delay = DelayConfig(tokenizer=config.tokenizer, vocabulary=config.vocabulary)
    delay.build().save(tmp_path / "packing.json")
    whole = json.loads((tmp_path / "packing.json").read_text())
    file = tmp_path / "packing.json"
    for choice in ("delay", {"kind": "delay"}, delay, delay.build(), file, str(file), whole, whole["packing"]):
        data = TokenDataset(folder, seed=None, packing=choice)
        assert data.packing.config == delay
        assert delay.build().unpack(data[4]["input_ids"]).tokens.ids.equal(plain.tokens(4).ids)
    moshi = TokenDataset(folder, seed=None, packing={"kind": "delay", "delays": [0, 1, 1]})
    assert moshi.packing.config.delays == (0, 1, 1)
    first = TokenDataset(folder, seed=None, packing="interleaved", codebooks=2)
    assert first.packing.unpack(first[1]["input_ids"]).tokens.ids.equal(plain.tokens(1).ids[:, :2])
    with pytest.raises(ValueError, match="specifies how many codebooks"):
        TokenDataset(folder, packing=delay, codebooks=2)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("dela", "Did you mean 'delay'"),
        ({"kind": "dela"}, "Did you mean 'delay'"),
        ({"kind": "delay", "shift": 1}, "shift"),
        ({"kind": 5}, "5"),
        (5, "allowed: a name"),
        (["delay"], "allowed: a name"),
        ({"packing": "delay"}, "expected a mapping"),
    ],
)
def test_what_names_no_packing(one, choice, message):
    with pytest.raises(ConfigError, match=message):
        TokenDataset(one, packing=choice)


def test_documents_say_who_made_them(folder):
    tokenizer = lively("spectral")
    data = TokenDataset(folder, seed=None)
    tokens = data.tokens(2)
    assert tokens.tokenizer == tokenizer.identity and tokens.sample_rate_hz.tolist() == [16000]
    assert data.packing.unpack(data.packing.pack(tokens)).tokens == tokens


def test_a_packing_with_fewer_codebooks_than_the_corpus(folder):
    layout = Layout(modality="audio", vocab_sizes=(16, 16))
    packing = plain_packing(layout, "x").build()
    data = TokenDataset(folder, seed=None, packing=packing)
    assert torch.equal(packing.unpack(data[1]["input_ids"]).tokens.ids, data.tokens(1).ids[:, :2])


# --- blocks -----------------------------------------------------------------------------------------------------------


@quick
@given(lengths=lengths, size=st.integers(1, 20), seed=st.one_of(st.none(), st.integers(0, 5)), epoch=st.integers(0, 2))
def test_split_blocks_lose_and_double_nothing(lengths, size, seed, epoch):
    blocks = Blocks(lengths, size, seed, whole=False)
    pieces = [blocks.pieces(epoch * len(blocks) + i) for i in range(len(blocks))]
    sums = [sum(p.stop - p.start for p in block) for block in pieces]
    assert all(s == size for s in sums[:-1]) and 0 < sums[-1] <= size
    steps = Counter((p.document, s) for block in pieces for p in block for s in range(p.start, p.stop))
    assert steps == Counter((d, s) for d, n in enumerate(lengths) for s in range(n))
    order = [d for d, _ in itertools.groupby(p.document for block in pieces for p in block)]
    assert len(order) == len(lengths), "a document's pieces follow each other"


@quick
@given(lengths=lengths, size=st.integers(1, 20), seed=st.one_of(st.none(), st.integers(0, 5)), epoch=st.integers(0, 2))
def test_blocks_of_whole_documents_cut_none_that_fits(lengths, size, seed, epoch):
    blocks = Blocks(lengths, size, seed, whole=True)
    pieces = [blocks.pieces(epoch * len(blocks) + i) for i in range(len(blocks))]
    assert all(0 < sum(p.stop - p.start for p in block) <= size for block in pieces)
    steps = Counter((p.document, s) for block in pieces for p in block for s in range(p.start, p.stop))
    assert steps == Counter((d, s) for d, n in enumerate(lengths) for s in range(n))
    for p in (p for block in pieces for p in block):
        assert lengths[p.document] > size or (p.start, p.stop) == (0, lengths[p.document])


@pytest.mark.parametrize("whole", [False, True])
def test_boundaries_and_positions_in_blocks(folder, whole):
    data = TokenDataset(folder, block=32, seed=1, whole_documents=whole)
    stored = TokenDataset(folder, seed=None)
    texts = [stored[i]["input_ids"] for i in range(11)]
    for p in range(2 * len(data)):
        sample = data[p]
        assert all(sample[n].shape == (32,) for n in ("input_ids", "labels", "document_ids", "position_ids"))
        pieces = data.blocks.pieces(p)
        for number, piece in enumerate(pieces):
            inside = sample["document_ids"] == number
            assert torch.equal(sample["input_ids"][inside], texts[piece.document][piece.start : piece.stop])
            assert sample["position_ids"][inside].tolist() == list(range(piece.start, piece.stop))
            if piece.start == 0:
                assert sample["labels"][inside][0] == -100, "nothing is learnt across a boundary"
        fill = sample["document_ids"] == -1
        assert (sample["input_ids"][fill] == data.packing.pad_id).all() and (sample["labels"][fill] == -100).all()
        assert int(fill.sum()) == 32 - sum(q.stop - q.start for q in pieces)


def test_attention_stays_inside_a_document_and_behind_the_step():
    mask = same_document(torch.tensor([[0, 0, 1, 1, -1]]))[0, 0].int().tolist()
    assert mask == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]]


def test_the_same_in_every_format(one, folder):
    a, b = TokenDataset(one, block=40, seed=7), TokenDataset(folder, block=40, seed=7)
    assert len(a) == len(b)
    for p in range(len(a)):
        assert all(torch.equal(x, b[p][n]) for n, x in a[p].items())


# --- resume, ranks, workers -------------------------------------------------------------------------------------------


def take(data, count, **options):
    return list(itertools.islice(data.loader(**options), count))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_goes_on_in_the_middle_of_an_epoch(one, workers):
    data = TokenDataset(one, block=24, seed=2)
    n = len(data)
    whole = take(data, n, batch_size=3)  # three epochs
    for done in (1, n // 3 - 1, n // 3 + 2, n - 1):
        rest = take(TokenDataset(one, block=24, seed=2), n - done, batch_size=3, start=3 * done, num_workers=workers)
        for a, b in zip(whole[done:], rest, strict=True):
            assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_share_every_batch_and_an_epoch_is_seen_once(one, workers):
    data = TokenDataset(one, block=24, seed=2)
    n = len(data)
    alone = take(data, 5, batch_size=4)
    ranks = [take(data, 5, batch_size=4, rank=r, world=2, num_workers=workers) for r in (0, 1)]
    for whole, a, b in zip(alone, *ranks, strict=True):
        assert torch.equal(whole["input_ids"], torch.cat([a["input_ids"], b["input_ids"]]))
    seen = Counter()
    for r in range(2):
        for batch in data.loader(4, stop=n, rank=r, world=2, num_workers=workers):
            seen.update(batch["position"].tolist())
    assert seen == Counter(range(n))


def test_batches_that_cannot_be_shared_are_refused(one):
    with pytest.raises(ValueError, match="multiple of 2"):
        next(iter(TokenDataset(one).loader(3, world=2)))
    with pytest.raises(ValueError, match="transform"):
        TokenDataset(one, block=8, transform=lambda t, r: t)


def test_loading_draws_no_random_numbers_of_the_run(one):
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    take(TokenDataset(one, block=24), 2, batch_size=2, num_workers=1)
    assert torch.equal(torch.rand(3), want)


# --- transforms, and what is not loaded -------------------------------------------------------------------------------


def test_windows_of_pictures_follow_from_seed_and_position(tmp_path):
    make(lively("convnet"), pictures(tmp_path / "in", 6), tmp_path / "out", codebooks=1)
    data = TokenDataset(tmp_path / "out", seed=0, transform=random_window(2, 3))
    packing = data.packing
    assert packing.config.kind == "raster"
    seen = set()
    for p in range(60):
        tokens = packing.unpack(data[p]["input_ids"]).tokens
        document = data._document(p)[0]
        grid = data.tokens(document).ids.unflatten(-1, data.tokens(document).grid)[0, 0]
        places = [
            (t, l)
            for t in range(grid.shape[0] - 1)
            for l in range(grid.shape[1] - 2)
            if torch.equal(grid[t : t + 2, l : l + 3].flatten(), tokens.ids[0, 0])
        ]
        assert tokens.grid == (2, 3) and places
        seen.update((document, *place) for place in places)
        assert torch.equal(TokenDataset(tmp_path / "out", seed=0, transform=random_window(2, 3))[p]["input_ids"], data[p]["input_ids"])
    assert len(seen) > 20


def test_no_tokenizer_is_loaded(one):
    code = (
        f"from tokenzoo.zoo.corpus import TokenDataset\nd = TokenDataset({str(one)!r}, block=16)\nd[3]\nimport sys\n"
        "print([m for m in sys.modules if m.startswith('tokenzoo.codecs.audio') or m.startswith('tokenzoo.zoo.hub')])"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS, env=env)
    assert out.stdout.strip() == "[]"


def test_ids_are_mapped_and_not_read(one):
    data = TokenDataset(one, seed=None)
    values = data.shards[0].rows.lists["ids_0"][1]
    assert not values.flags.owndata and not values.flags.writeable
    assert not (one / ".cache").exists(), "what is read later lies with the user, not with the corpus"
    assert all((default_cache() / f"{f['sha256']}.arrow").is_file() for s in data.manifest["shards"] for f in s["files"].values())


def test_a_cache_elsewhere(one, tmp_path):
    TokenDataset(one, cache=tmp_path / "cache")[0]
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_folders_that_hold_no_finished_corpus(one, tmp_path):
    with pytest.raises(CorpusError, match="holds no manifest"):
        TokenDataset(tmp_path)
    (tmp_path / ".work").mkdir()
    (tmp_path / ".work/plan.json").write_text("{}")
    with pytest.raises(CorpusError, match="not finished"):
        TokenDataset(tmp_path)
    for text, message in (("{", "not JSON"), ("{}", "no manifest"), ('{"format": "tokenzoo-corpus", "version": 9}', "version 9")):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(CorpusError, match=message):
            TokenDataset(tmp_path)
    with pytest.raises(IndexError):
        TokenDataset(one).tokens(11)
