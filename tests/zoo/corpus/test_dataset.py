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
from PIL import Image
from tokenzoo.codecs.config import ConfigError
from tokenzoo.zoo.corpus import TokenDataset
from tokenzoo.zoo.corpus.dataset import random_window
from tokenzoo.zoo.corpus.manifest import CorpusError, default_cache
from tokenzoo.zoo.corpus.packing import DelayConfig
from tokenzoo.zoo.corpus.plain import plain_packing
from tokenzoo.zoo.corpus.records import Layout
from tokenzoo.zoo.corpus.splits import documents_of
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


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_goes_on_where_its_state_says(one, workers):
    def fresh(**options):
        return TokenDataset(one, block=24, seed=2).loader(4, num_workers=workers, **options)

    whole = list(itertools.islice(fresh(), 7))
    first = fresh()
    for taken, _ in enumerate(first, 1):
        if taken == 3:
            break
    state = json.loads(json.dumps(first.state_dict()))
    assert state["position"] == 12, "what workers have prefetched is not counted"
    second = fresh()
    second.load_state_dict(state)
    for a, b in zip(whole[3:], itertools.islice(second, 4), strict=True):
        assert all(torch.equal(a[k], b[k]) for k in a)
    assert second.state_dict()["position"] == 28
    ranks = [fresh(rank=r, world=2) for r in (0, 1)]  # on another number of ranks
    for r in ranks:
        r.load_state_dict(state)
    parts = [next(iter(r))["input_ids"] for r in ranks]
    assert torch.equal(torch.cat(parts), whole[3]["input_ids"])


def test_a_loader_begins_again_after_an_epoch(one):
    data = TokenDataset(one, block=24, seed=2)
    loader = data.loader(4, stop=len(data))
    epochs = [[b["position"].tolist() for b in loader] for _ in range(2)]
    assert epochs[0] == epochs[1] and list(itertools.chain(*epochs[0])) == list(range(len(data))) and len(loader) == len(epochs[0])
    next(iter(loader))
    state = loader.state_dict()
    loader.load_state_dict(state)
    assert [b["position"].tolist() for b in loader] == epochs[0][1:]
    for rank in range(4):
        part = data.loader(4, stop=len(data), rank=rank, world=4)
        assert len(part) == len(list(part))
    with pytest.raises(TypeError, match="endless"):
        len(data.loader(4))


@pytest.mark.parametrize(
    ("other", "named"), [({"seed": 3}, "seed: 2 there, 3 here"), ({"block": 25}, "block"), ({"packing": "delay"}, "packing")]
)
def test_a_state_of_other_data_is_refused(one, other, named):
    settings = {"block": 24, "seed": 2}
    state = TokenDataset(one, **settings).loader(2).state_dict()
    with pytest.raises(ValueError, match=named):
        TokenDataset(one, **settings | other).loader(2).load_state_dict(state)
    for broken in ({}, {"position": -1, "data": {}}, {"position": True, "data": {}}, {"position": "3", "data": {}}):
        with pytest.raises(ValueError, match="no state of a loader"):
            TokenDataset(one, **settings).loader(2).load_state_dict(broken)


# --- parts ------------------------------------------------------------------------------------------------------------


def test_parts_share_no_document_and_hold_all(folder):
    shares = {"train": 0.5, "valid": 0.25, "test": 0.25}
    whole = TokenDataset(folder, seed=None)
    keys = {whole.metadata(i)["key"]: i for i in range(len(whole))}
    seen: list[str] = []
    for name in shares:
        part = TokenDataset(folder, seed=None, split=name, splits=shares)
        assert len(part) == part.documents == len(part.steps()) > 0
        for i in range(len(part)):
            key = part.metadata(i)["key"]
            assert part.tokens(i) == whole.tokens(keys[key]) and part.steps()[i] == whole.steps()[keys[key]]
            assert torch.equal(part[i]["input_ids"], whole[keys[key]]["input_ids"])
            seen.append(key)
        blocks = TokenDataset(folder, split=name, splits=shares, block=24)
        assert sum(int((blocks[p]["document_ids"] >= 0).sum()) for p in range(len(blocks))) == part.steps().sum()
    assert sorted(seen) == sorted(keys)


@quick
@given(keys=st.lists(st.text(), min_size=1, max_size=30, unique=True), more=st.lists(st.text(), max_size=10))
def test_a_document_stays_in_its_part(keys, more):
    shares = {"a": 0.3, "b": 0.3, "c": 0.4}
    parts = {n: {keys[i] for i in documents_of(n, keys, shares)} for n in shares}
    assert sorted(k for p in parts.values() for k in p) == sorted(keys)
    grown = [*more, *keys]
    assert all(parts[n] <= {grown[i] for i in documents_of(n, grown, shares)} for n in shares)


def test_parts_have_their_shares():
    keys = [f"clip-{i}.wav" for i in range(20000)]
    counts = {n: len(documents_of(n, keys)) / len(keys) for n in ("train", "valid", "test")}
    assert abs(counts["train"] - 0.98) < 0.004 and abs(counts["valid"] - 0.01) < 0.003 and abs(counts["test"] - 0.01) < 0.003


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"split": "dev"}, "no part 'dev'; these are: train, valid, test"),
        ({"split": "a", "splits": {"a": 0.7, "b": 0.6}}, "at most 1"),
        ({"split": "a", "splits": {"a": float("nan")}}, "at most 1"),
        ({"split": "a", "splits": {"a": 1e-9, "b": 0.9}}, "holds none of the 11"),
        ({"split": "train", "split_by": "speaker"}, "'speaker'"),
    ],
)
def test_parts_that_cannot_be(folder, wrong, message):
    with pytest.raises(ValueError, match=message):
        TokenDataset(folder, **wrong)


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


def test_clips_pack_frame_after_frame_and_windows_keep_all_frames(tmp_path):
    tokenizer, rng = lively("vidtok"), np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for i, frames in enumerate((1, 5, 9)):
        first, *others = [Image.fromarray(f) for f in rng.integers(0, 255, (frames, 24, 32, 3), dtype=np.uint8)]
        first.save(tmp_path / f"in/{i}.png", save_all=bool(others), append_images=others)
    make(tokenizer, tmp_path / "in", tmp_path / "out")
    data = TokenDataset(tmp_path / "out", seed=None)
    assert data.packing.config.kind == "clips" and data.layout.clips
    for i in range(3):
        tokens = data.tokens(i)
        assert tokens.equal(tokenizer.encode(tmp_path / f"in/{data.metadata(i)['key']}")) and len(tokens.grid) == 3
        found = data.packing.unpack(data[i]["input_ids"])
        assert found.tokens.grid == tokens.grid and torch.equal(found.tokens.ids, tokens.ids) and not found.problems
    assert [data.tokens(i).grid[0] for i in range(3)] == [tokenizer.steps(n) for n in (1, 5, 9)]
    height, width = data.tokens(2).grid[1] - 1, data.tokens(2).grid[2] - 2
    windows = TokenDataset(tmp_path / "out", seed=None, transform=random_window(height, width))
    for p in range(12):
        whole, cut = data.tokens(p % 3), windows.packing.unpack(windows[p]["input_ids"]).tokens
        grid = whole.ids.unflatten(-1, whole.grid)[0, 0]
        assert cut.grid == (whole.grid[0], height, width)
        assert any(torch.equal(grid[:, t : t + height, l : l + width].flatten(), cut.ids[0, 0]) for t in range(2) for l in range(3))


def test_windows_are_cut_out_of_grids_alone(one):
    with pytest.raises(ValueError, match="a window of 2 x 3 was asked of tokens whose grid is"):
        TokenDataset(one, transform=random_window(2, 3))[0]


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
