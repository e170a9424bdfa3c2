"""Corpora of strangers and of bad disks: each change is found, or ends in one of our errors. Run: pytest tests/hostile/test_corpus.py

Every fuzzer is seeded and prints how many inputs it tried, accepted and refused (`pytest -s`).
"""

import contextlib
import copy
import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from corpus_cases import contents, lively, make, sounds
from tokenzoo.codecs.config import from_mapping
from tokenzoo.codecs.sealing import sha256_of
from tokenzoo.zoo.corpus import TokenDataset, bulk, stats, verify
from tokenzoo.zoo.corpus.files import CorpusError, map_arrow, read_sealed, write_sealed
from tokenzoo.zoo.corpus.formats.flat import read_index as read_flat
from tokenzoo.zoo.corpus.formats.megatron import read_index as read_megatron
from tokenzoo.zoo.corpus.packing.base import PackingConfig, load_packing

SIZES = [pytest.param(1, id="quick"), pytest.param(40, id="many", marks=pytest.mark.slow)]
#: What stands in for a value: wrong types, and numbers that no file has.
ODD: list[Any] = [
    None, True, -1, 0, 2**31, 2**70, 10**400, 1.5, 1e308, float("nan"), float("inf"), "", "x", "../x", "/x", "a\\b", "\0", [], [[]],
    {}, {"a": 1}, [1] * 300, "y" * 5000, {"kind": 5},
]  # fmt: skip


@pytest.fixture(scope="module", params=["parquet", "tar", "megatron", "flat"])
def corpus(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("hostile")
    make(lively("spectral"), sounds(root / "in", 5), root / "out", format=request.param, shard_items=3)
    return root / "out"


def mutated(value: Any, rng: random.Random) -> Any:
    """A deep copy with one value replaced, deleted, added or nested."""
    value = copy.deepcopy(value)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(value)
    node, key = rng.choice(places)
    how = rng.random()
    if how < 0.15:
        del node[key]
    elif how < 0.25 and isinstance(node, dict):
        node[rng.choice(["more", "../up", "kind", ""])] = node.pop(key)
    elif how < 0.3:
        node[key] = json.loads("[" * 900 + "]" * 900)
    else:
        node[key] = rng.choice(ODD)
    return value


def tried(what: str, found: Counter) -> None:
    print(f"{what}: {found.total()} tried, {dict(found)}")
    assert found["refused"] > 0, "nothing is refused: the fuzzer does not reach the code"


def outcome(call: Any, *arguments: Any) -> str:
    """"accepted", or "refused" by a ValueError with a message of one line; anything else is raised."""
    problem: ValueError | None = None
    try:
        call(*arguments)
    except ValueError as error:
        problem = error
    if problem is None:
        return "accepted"
    assert str(problem).strip() and len(str(problem)) < 2000 and "\n" not in str(problem), repr(problem)
    assert type(problem).__module__.startswith("tokenzoo"), repr(problem)
    return "refused"


@pytest.mark.parametrize("times", SIZES)
def test_manifests_with_odd_values(corpus, times, tmp_path):
    """Sealed again after the change, so that every value is reached."""
    rng, found = random.Random(1), Counter()
    whole = read_sealed(corpus / "manifest.json")
    folder = tmp_path / "inner" / "copy"
    shutil.copytree(corpus, folder)
    for _ in range(40 * times):
        write_sealed(folder / "manifest.json", mutated(whole, rng))
        for call in (verify, stats, lambda f: TokenDataset(f, cache=tmp_path / "inner/cache")[0], bulk.read_manifest):
            found[outcome(call, folder)] += 1
        assert {p.name for p in tmp_path.iterdir()} == {"inner"}, "something was written outside the folder"
        assert {p.name for p in (tmp_path / "inner").iterdir()} <= {"copy", "cache"}
    tried("manifests", found)


@pytest.mark.parametrize("name", ["manifest.json", "packing.json"])
@pytest.mark.parametrize("times", SIZES)
def test_every_change_of_bytes_is_found_by_verify(corpus, name, times, tmp_path):
    rng = random.Random(2)
    shutil.copytree(corpus, tmp_path / "copy")
    path = tmp_path / "copy" / name
    if not path.exists():
        pytest.skip("this format keeps ids as they are: it has no packing")
    data = path.read_bytes()
    for i in range(60 * times):
        at = rng.randrange(len(data))
        flipped = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        path.write_bytes([flipped, data[:at], data + data[:1], b"\0" * len(data)][0 if i % 4 else rng.randrange(4)])
        with contextlib.suppress(CorpusError):
            assert verify(tmp_path / "copy"), f"change {i} of {name} was not found"
        with pytest.raises(ValueError, match="json"):
            TokenDataset(tmp_path / "copy")
    path.unlink()
    with pytest.raises(CorpusError, match=r"json"):
        TokenDataset(tmp_path / "copy")


@pytest.mark.parametrize("times", SIZES)
def test_bits_of_the_cache(corpus, times, tmp_path):
    rng, cache = random.Random(3), tmp_path / "cache"
    want = [TokenDataset(corpus, seed=None, cache=cache).tokens(i).ids for i in range(5)]
    files = sorted(cache.glob("*.arrow"))
    assert bool(files) == any(corpus.glob("*.parquet"))
    for _ in range(80 * times if files else 0):
        path = rng.choice(files)
        data = bytearray(path.read_bytes())
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.unlink()
        path.write_bytes(data)
        with pytest.raises(CorpusError, match="altered"):
            map_arrow(path)
        data = TokenDataset(corpus, seed=None, cache=cache)
        assert all(data.tokens(i).ids.equal(w) for i, w in enumerate(want))
        map_arrow(path)  # made again


def test_verify_reads_the_cache(tmp_path):
    make(lively("spectral"), sounds(tmp_path / "in", 3), tmp_path / "out")
    cache = tmp_path / "cache"
    TokenDataset(tmp_path / "out", cache=cache)
    (path,) = cache.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert "altered" in verify(tmp_path / "out", cache=cache)[0]
    make(lively("spectral"), sounds(tmp_path / "other", 4, seed=1), tmp_path / "more")
    TokenDataset(tmp_path / "more", cache=tmp_path / "cache2")
    shutil.copy(next((tmp_path / "cache2").iterdir()), path)
    assert "other rows" in verify(tmp_path / "out", cache=cache)[0]


@pytest.mark.parametrize(
    "name", ["../outside.parquet", "/etc/outside.parquet", "..", ".hidden.parquet", "a/b.parquet", "a\\b.parquet", ""]
)
def test_a_manifest_names_files_beside_it_only(tmp_path, name):
    make(lively("spectral"), sounds(tmp_path / "in", 3), tmp_path / "out")
    shutil.copy(next((tmp_path / "out").glob("*.parquet")), tmp_path / "outside.parquet")
    manifest = read_sealed(tmp_path / "out/manifest.json")
    files = manifest["shards"][0]["files"]
    (facts,) = files.values()
    manifest["shards"][0]["files"] = {name: facts}
    write_sealed(tmp_path / "out/manifest.json", manifest)
    for call in (verify, TokenDataset):
        with pytest.raises(CorpusError, match="beside the manifest"):
            call(tmp_path / "out")
    manifest["shards"][0]["files"] = {"shard-00000.parquet": facts | {"sha256": "../../written"}}
    write_sealed(tmp_path / "out/manifest.json", manifest)
    with pytest.raises(CorpusError, match="64 hexadecimal digits"):
        TokenDataset(tmp_path / "out")


@pytest.mark.parametrize("times", SIZES)
def test_shards_that_changed(corpus, times, tmp_path):
    """With its checksum set to the changed file, as a stranger would; and without, as a bad disk does."""
    rng, found = random.Random(4), Counter()
    for _ in range(8 * times):
        folder = tmp_path / "copy"
        shutil.copytree(corpus, folder)
        manifest = read_sealed(folder / "manifest.json")
        shard = rng.choice(manifest["shards"])
        name = rng.choice(list(shard["files"]))
        data = bytearray((folder / name).read_bytes())
        for _ in range(rng.choice([1, 1, 8])):
            data[rng.randrange(len(data))] = rng.randrange(256) if rng.random() < 0.9 else 255
        changed = bytes(data) != (folder / name).read_bytes()
        (folder / name).write_bytes(data)
        if changed:
            if outcome(read_all, folder, tmp_path / "cache") == "accepted":  # a file that readers leave alone
                pairs = zip(ids_of(folder, tmp_path / "cache"), ids_of(corpus, tmp_path / "cache"), strict=True)
                assert all(a.equal(b) for a, b in pairs)
            assert any(name in line for line in verify(folder, cache=tmp_path / "cache"))
        shard["files"][name]["sha256"] = sha256_of(folder / name)
        write_sealed(folder / "manifest.json", manifest)
        found[outcome(read_all, folder, tmp_path / "cache")] += 1
        shutil.rmtree(folder)
    print(f"shards: {found.total()} tried, {dict(found)}")


def ids_of(folder: Path, cache: Path) -> list[Any]:
    """Ids of every item, in the corpus's own order."""
    data = TokenDataset(folder, seed=None, cache=cache)
    return [data.tokens(i).ids for i in range(data.documents)]


def read_all(folder: Path, cache: Path) -> None:
    data = TokenDataset(folder, seed=None, cache=cache)
    for i in range(data.documents):
        data[i]
        data.tokens(i)


@pytest.mark.parametrize("times", SIZES)
def test_index_files(tmp_path, times):
    rng, found = random.Random(5), Counter()
    for kind, ending, read in (("megatron", ".idx", read_megatron), ("flat", ".index.npy", read_flat)):
        make(lively("spectral"), sounds(tmp_path / f"in-{kind}", 5), tmp_path / kind, format=kind)
        data = next((tmp_path / kind).glob(f"*{ending}")).read_bytes()
        path = tmp_path / f"odd{ending}"
        for _ in range(150 * times):
            odd = bytearray(data[: rng.randrange(len(data))] if rng.random() < 0.3 else data)
            for _ in range(rng.choice([1, 1, 4]) if odd else 0):
                odd[rng.randrange(len(odd))] = rng.choice([0, 255, rng.randrange(256)])
            path.write_bytes(odd)
            found[outcome(read, path)] += 1
    tried("indexes", found)


@pytest.mark.parametrize("times", SIZES)
def test_packing_configs(corpus, times):
    path = corpus / "packing.json"
    if not path.exists():
        pytest.skip("this format keeps ids as they are: it has no packing")
    rng, found = random.Random(6), Counter()
    whole = load_packing(path)._document()["packing"]
    for _ in range(100 * times):
        odd = mutated(whole, rng)
        found[outcome(lambda odd=odd: from_mapping(PackingConfig, odd, "packing").build())] += 1
    tried("packings", found)


def test_old_and_deep_manifests(corpus, tmp_path):
    shutil.copytree(corpus, tmp_path / "copy")
    manifest = read_sealed(corpus / "manifest.json")
    write_sealed(tmp_path / "copy/manifest.json", manifest | {"version": 1})
    with pytest.raises(CorpusError, match="version 1.*again"):
        TokenDataset(tmp_path / "copy")
    for text in ("[" * 200_000, '{"format": "tokenzoo-corpus", "version": NaN}', '{"format": "tokenzoo-corpus", "version": 1e999}'):
        (tmp_path / "copy/manifest.json").write_text(text)
        with pytest.raises(CorpusError, match=r"manifest\.json"):
            verify(tmp_path / "copy")


class Stopped(BaseException):
    """The job ends here."""


@pytest.mark.parametrize("name", ["plan.json", "items.arrow", "units/*.arrow", "shards/*.json"])
def test_a_damaged_work_folder(name, tmp_path, monkeypatch):
    """Each damaged file is named, or not needed: never other bytes."""
    source, tokenizer = sounds(tmp_path / "in", 12), lively("spectral")
    settings = {"unit_items": 2, "shard_items": 5}
    make(tokenizer, source, tmp_path / "whole", **settings)
    rng = random.Random(7)
    for damage in ("flip", "cut", "empty", "folder"):
        out = tmp_path / damage
        with monkeypatch.context() as m:
            m.setattr(bulk.Ledger, "save_unit", stopping_after(4, bulk.Ledger.save_unit))
            with pytest.raises(Stopped):
                make(tokenizer, source, out, **settings)
        path = sorted((out / ".work").glob(name))[-1]
        data = bytearray(path.read_bytes())
        data[rng.randrange(len(data))] ^= 4
        path.unlink()
        if damage == "folder":
            path.mkdir()
        else:
            path.write_bytes({"flip": bytes(data), "cut": bytes(data[: len(data) // 2]), "empty": b""}[damage])
        problem: Exception | None = None
        try:
            make(tokenizer, source, out, **settings)
        except (ValueError, OSError) as error:
            problem = error
        if problem is None:
            assert contents(out) == contents(tmp_path / "whole"), f"{name}: {damage}"
        else:
            assert path.name in str(problem) and "\n" not in str(problem), problem


def stopping_after(count: int, save: Any) -> Any:
    """`save`, which ends the job at the call after `count` ones."""
    calls = iter(range(count))

    def run(self: Any, *arguments: Any) -> Any:
        if next(calls, None) is None:
            raise Stopped
        return save(self, *arguments)

    return run
