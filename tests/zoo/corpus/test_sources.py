"""What a source may be, and what of it is carried along. Run: pytest tests/zoo/corpus/test_sources.py"""

import contextlib
import io
import json
import os
import re
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus_cases import HERE, contents, flac, lively, make, pictures, saved, sounds
from PIL import Image
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.media import HubDataset, MediaError
from tokenzoo.train.data.images import ImageDataConfig, Images
from tokenzoo.train.data.sources import collect
from tokenzoo.zoo.corpus import Options, Pace, TokenDataset
from tokenzoo.zoo.corpus.intake import Intake
from tokenzoo.zoo.corpus.sources import list_source, units

RNG = np.random.default_rng(0)


def png(height: int = 16, width: int = 16) -> bytes:
    file = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def write_tar(path, members: dict[str, bytes]):
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def keys(source, modality="image", **where):
    return list_source(source, modality, **where).items["key"].to_pylist()


# --- files ------------------------------------------------------------------------------------------------------------


def test_folders_globs_files_and_lists(tmp_path):
    root = sounds(tmp_path / "in", 4)
    (root / "notes.md").write_text("no media")
    (root / ".hidden.wav").write_bytes(b"")
    (root / "list.txt").write_text("sub1/s01.wav\n\nsub0/s02.wav\nsub0/gone.wav\n")
    assert keys(root, "audio") == ["sub0/s00.wav", "sub0/s02.wav", "sub1/s01.wav", "sub1/s03.wav"]
    assert keys(f"{root}/sub1/*.wav", "audio") == [f"{root}/sub1/s01.wav", f"{root}/sub1/s03.wav"]
    assert keys(root / "sub0/s00.wav", "audio") == ["s00.wav"]
    assert keys(root / "list.txt", "audio") == ["sub1/s01.wav", "sub0/s02.wav", "sub0/gone.wav"]
    assert keys([root / "sub0", f"{root}/**/*.wav"], "audio") == [
        f"{root}/sub0/s00.wav", f"{root}/sub0/s02.wav", f"{root}/sub1/s01.wav", f"{root}/sub1/s03.wav",
    ], "what two entries name counts once"  # fmt: skip


def test_a_file_that_a_list_names_and_nobody_has_is_a_failure(tmp_path):
    root = sounds(tmp_path / "in", 2)
    (root / "list.txt").write_text("sub1/s01.wav\ngone.wav\n")
    result = make(lively("spectral"), root / "list.txt", tmp_path / "out")
    assert [f["key"] for f in result.failures] == ["gone.wav"] and "FileNotFoundError" in result.failures[0]["reason"]


@pytest.mark.parametrize(
    ("source", "message"),
    [("nowhere", "no folder, no file"), ("*.png", "pattern"), ("empty", "holds no image"), (3, "got int")],
)
def test_sources_that_hold_nothing_are_an_error(source, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=message):
        list_source(source, "image")


def test_units_hold_so_many_items_or_bytes_and_rows_of_one_table(tmp_path):
    items = pa.table({"size": [5, 5, 5, 30, 1, 1, 1, 1], "kind": ["file"] * 5 + ["table"] * 3, "place": list("abcdepqq")})
    assert units(items, 3, 12) == [(0, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 8)]
    assert units(items.slice(0, 0), 3, 12) == []


def test_links_multiply_nothing(tmp_path):
    root = sounds(tmp_path / "in", 3)
    before = keys(root, "audio")
    (root / "self").symlink_to(".")
    (root / "sub0" / "back").symlink_to(root)
    (root / "also0").symlink_to(root / "sub0")
    (root / "sub1" / "zz.wav").symlink_to(root / "sub0" / "s00.wav")
    assert [k.replace("also0", "sub0") for k in keys(root, "audio")] == before
    assert len(keys([root, root / "also0", root / "sub0/s00.wav"], "audio")) == 3, "entries of which nothing is new are no error"
    assert len(keys([root / "sub1/zz.wav", root / "sub0/s00.wav", f"{root}/**/*.wav"], "audio")) == 3
    (tmp_path / "list.txt").write_text("in/sub0/s00.wav\nin/sub1/zz.wav\n")
    assert keys(tmp_path / "list.txt", "audio") == ["in/sub0/s00.wav"]


def test_names_that_utf_8_cannot_hold_are_failures_of_their_own(tmp_path):
    root = sounds(tmp_path / "in", 2)
    try:
        (root / os.fsdecode(b"bad\xff.wav")).write_bytes((root / "sub0/s00.wav").read_bytes())
        (root / os.fsdecode(b"folder\xfe")).mkdir()
        (root / os.fsdecode(b"folder\xfe/x.wav")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system has Unicode names only")
    good = flac(np.zeros(400), 16000)
    write_tar(root / "t.tar", {os.fsdecode(b"in\xfd.wav"): b"x", os.fsdecode(b"ok.\xfc"): b"side", "ok.wav": good})
    result = make(lively("spectral"), root, tmp_path / "out")
    failed = {f["key"]: f["reason"] for f in result.failures}
    assert set(failed) == {"bad\\udcff.wav", "folder\\udcfe/x.wav", "t.tar/in\\udcfd.wav"}
    assert all("is no UTF-8" in reason for reason in failed.values())
    assert result.manifest["totals"]["items"] == 3


def test_lines_of_a_list_that_are_no_names_are_failures(tmp_path):
    root = sounds(tmp_path / "in", 2)
    (root / "list.txt").write_bytes(b"sub0/s00.wav\na\0b.wav\n\xff.wav\nsub1/s01.wav\n")
    result = make(lively("spectral"), root / "list.txt", tmp_path / "out")
    assert len(result.failures) == 2 and result.manifest["totals"]["items"] == 2
    assert any(re.search("null (byte|character)", f["reason"]) for f in result.failures)


def test_a_list_that_is_a_fifo_is_a_failure(tmp_path):
    os.mkfifo(tmp_path / "list.txt")
    items = list_source([tmp_path / "list.txt", sounds(tmp_path / "in", 1)], "audio").items
    assert items["kind"].to_pylist() == ["error", "file"] and "is a FIFO" in items["place"][0].as_py()


# --- WebDataset -------------------------------------------------------------------------------------------------------


def test_tar_members_carry_the_rest_of_their_sample(tmp_path):
    data = {f"{i:03d}": png() for i in range(5)}
    for shard in range(2):
        members = {}
        for name in list(data)[shard * 3 : shard * 3 + 3]:
            members |= {f"{name}.png": data[name], f"{name}.txt": f"caption {name}".encode()}
            members |= {f"{name}.emb.npy": b"\0\1" + name.encode()}
        members["README"] = b"-"
        write_tar(tmp_path / f"t-{shard:02d}.tar", members)
    tokenizer = lively("convnet")
    make(tokenizer, f"{tmp_path}/t-{{00..01}}.tar", tmp_path / "out")
    out = TokenDataset(tmp_path / "out", seed=None)
    assert out.documents == 5
    for i, name in enumerate(data):
        facts = out.metadata(i)
        assert facts == {
            "key": f"{tmp_path}/t-{i // 3:02d}.tar/{name}.png", "txt": f"caption {name}", "emb.npy": b"\0\1" + name.encode()
        }  # fmt: skip
        assert (out.tokens(i).ids == tokenizer.encode(Image.open(io.BytesIO(data[name]))).ids).all()
    make(tokenizer, f"{tmp_path}/t-{{00..01}}.tar", tmp_path / "tar", format="tar")
    again = TokenDataset(tmp_path / "tar", seed=None)
    assert [again.metadata(i) for i in range(5)] == [out.metadata(i) for i in range(5)]


def test_broken_tars_lose_what_is_broken_only(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    whole = write_tar(folder / "a.tar", {f"{i}.png": png(32, 32) for i in range(4)}).read_bytes()
    (folder / "b.tar").write_bytes(b"no tar at all" * 100)
    with tarfile.open(folder / "a.tar") as tar:
        last = tar.getmembers()[-1]
    (folder / "a.tar").write_bytes(whole[: last.offset_data + 100])  # the last member is cut short
    pictures(folder, 1)
    result = make(lively("convnet"), folder, tmp_path / "out")
    failed = {f["key"]: f["reason"] for f in result.failures}
    assert "ReadError" in failed.pop("b.tar")
    assert all("cut short" in r or "unexpected end" in r for r in failed.values()) and failed
    data = TokenDataset(tmp_path / "out", seed=None)
    assert [data.metadata(i)["key"] for i in range(data.documents)] == ["a.tar/0.png", "a.tar/1.png", "a.tar/2.png", "p00.png"]


# --- tables -----------------------------------------------------------------------------------------------------------


def table(count: int = 7, *, plain: bool = False) -> pa.Table:
    cells = [png() if plain else {"bytes": png(), "path": f"x{i}.png"} for i in range(count)]
    kind = pa.binary() if plain else pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.table(
        {
            "image": pa.array(cells, kind),
            "label": pa.array(range(count), pa.int8()),
            "size": [f"size of {i}" for i in range(count)],
            "tags": [["a", "b"][: i % 3] for i in range(count)],
        }
    )


@pytest.mark.parametrize("plain", [False, True])
def test_parquet_rows_carry_their_columns(plain, tmp_path):
    rows = table(plain=plain)
    pq.write_table(rows, tmp_path / "t.parquet", row_group_size=3)
    tokenizer = lively("convnet")
    make(tokenizer, tmp_path / "t.parquet", tmp_path / "out", unit_items=2)
    out = TokenDataset(tmp_path / "out", seed=None)
    schema = pq.read_schema(tmp_path / "out/shard-00000.parquet")
    assert str(schema.field("label").type) == "int8" and "source_size" in schema.names, "`size` is a column of the corpus"
    for i in range(7):
        cell = rows["image"][i].as_py()
        picture = Image.open(io.BytesIO(cell if plain else cell["bytes"]))
        assert out.tokens(i).equal(tokenizer.encode(picture))
        assert out.metadata(i) == {
            "key": f"t.parquet[{i}]", "label": i, "source_size": f"size of {i}", "tags": ["a", "b"][: i % 3]
        }  # fmt: skip


def test_parquet_columns_are_named_where_there_are_several_and_bad_rows_are_listed(tmp_path):
    cells = [{"bytes": flac(RNG.normal(size=400) * 0.1, 16000), "path": None}, {"bytes": b"no", "path": None}, None]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    t = pa.table({"a": pa.array(cells, kind), "b": pa.array([None] * 3, kind), "n": [1, 2, 3]})
    pq.write_table(t, tmp_path / "t.parquet")
    tokenizer = lively("spectral")
    with pytest.raises(ConfigError, match="which column.*a, b"):
        make(tokenizer, tmp_path / "t.parquet", tmp_path / "out")
    with pytest.raises(ConfigError, match="no column 'c'"):
        make(tokenizer, tmp_path / "t.parquet", tmp_path / "out", where={"column": "c"})
    result = make(tokenizer, tmp_path / "t.parquet", tmp_path / "out", where={"column": "a"})
    assert [f["key"] for f in result.failures] == ["t.parquet[1]", "t.parquet[2]"]
    assert TokenDataset(tmp_path / "out").metadata(0) == {"key": "t.parquet[0]", "n": 1}


def test_a_table_brings_in_files_that_it_names_only_on_request(tmp_path):
    """Whoever made it could name any file of this machine."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(png())
    folder = pictures(tmp_path / "in", 2)
    paths = [str(secret), "../secret.png", "p00.png", str(folder / "p01.png"), "none.png", "a\0b.png"]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array([{"bytes": None, "path": p} for p in paths], kind)}), folder / "t.parquet")
    tokenizer = lively("convnet")
    result = make(tokenizer, folder / "t.parquet", tmp_path / "no")
    assert [f["key"] for f in result.failures] == [f"t.parquet[{i}]" for i in range(6)]
    assert all("--allow-paths" in f["reason"] for f in result.failures) and result.manifest["totals"]["items"] == 0
    result = make(tokenizer, folder / "t.parquet", tmp_path / "out", allow_paths=True)
    assert [f["key"] for f in result.failures] == ["t.parquet[4]", "t.parquet[5]"]
    data = TokenDataset(tmp_path / "out", seed=None)
    files = [secret, secret, folder / "p00.png", folder / "p01.png"]
    assert [data.tokens(i).equal(tokenizer.encode(file)) for i, file in enumerate(files)] == [True] * 4


@pytest.mark.parametrize("train", [False, True])
def test_rows_of_strangers_bring_in_files_only_on_request(train, tmp_path, monkeypatch):
    """A data set of the hub, in a bulk job and in training; one that is passed as an object was opened by its user."""
    datasets = pytest.importorskip("datasets")
    (tmp_path / "secret.png").write_bytes(png(32, 32))
    rows = datasets.Dataset.from_dict({"image": [str(tmp_path / "secret.png")] * 2}).cast_column("image", datasets.Image())
    monkeypatch.setattr(datasets, "load_dataset", lambda *names, **options: rows)
    for allowed in (False, True):
        entry = HubDataset(hub="org/pictures", column="image", allow_paths=allowed)
        if train:
            clips = Images(ImageDataConfig(crop=8), 3, (0.0, 1.0))
            (blob, _) = collect(entry, (".png",))
            with contextlib.nullcontext() if allowed else pytest.raises(MediaError, match="allow_paths=True"):
                assert clips.decode(blob).shape == (32, 32, 3)
            continue
        result = make(lively("convnet"), entry, tmp_path / f"out-{allowed}")
        assert len(result.failures) == (0 if allowed else 2)
    if not train:
        assert not make(lively("convnet"), rows, tmp_path / "object").failures


def test_dots_in_the_names_of_members_never_mix_samples(tmp_path):
    names = ["set/track 2.0 (a)", "set/track 2.1 (b)", "set/plain", "v1.00000", "v1.00001"]
    members = {}
    for name in names:
        members |= {f"{name}.png": png(), f"{name}.txt": name.encode(), f"{name}.seg.cls": b"seg " + name.encode()}
    members |= {"x.left.png": png(), "x.right.png": png(), "x.json": b"both", "x.middle.txt": b"of a picture that there is not"}
    members |= {"set/track 2.2 (c).txt": b"of no picture"}
    write_tar(tmp_path / "t.tar", members)
    listed = list_source(tmp_path / "t.tar", "image")
    assert listed.metadata.names == ["json", "seg.cls", "txt"]
    make(lively("convnet"), tmp_path / "t.tar", tmp_path / "out")
    data = TokenDataset(tmp_path / "out", seed=None)
    facts = [data.metadata(i) for i in range(data.documents)]
    assert [f["txt"] for f in facts] == [*names, None, None] and [f["json"] for f in facts] == [None] * 5 + ["both"] * 2
    assert [f["seg.cls"] for f in facts[:5]] == [f"seg {n}" for n in names]


def test_the_list_of_a_tar_grows_with_its_members_only(tmp_path):
    beside = []
    for count in (50, 100):
        members = {f"v1.{i:05d}{ending}": b"x" for i in range(count) for ending in (".png", ".txt")}
        beside.append(list_source(write_tar(tmp_path / "t.tar", members), "image").items["beside"].nbytes)
    assert beside[1] < 2.2 * beside[0]


def test_a_broken_parquet_file_in_a_folder_is_a_failure(tmp_path):
    folder = pictures(tmp_path / "in", 2)
    (folder / "t.parquet").write_bytes(b"PAR1 but no more")
    result = make(lively("convnet"), folder, tmp_path / "out")
    assert [f["key"] for f in result.failures] == ["t.parquet"] and result.manifest["totals"]["items"] == 2


def test_rows_of_datasets(tmp_path, monkeypatch):
    """A folder of `save_to_disk`, an open data set, and the hub's way of loading: the same tokens."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = datasets.Dataset(table(5)).cast_column("image", datasets.Image())
    rows.save_to_disk(tmp_path / "disk")
    tokenizer = lively("convnet")
    name = saved("convnet", tmp_path / "model")
    make(tokenizer, datasets.load_from_disk(tmp_path / "disk"), tmp_path / "object")
    make(name, tmp_path / "disk", tmp_path / "out", pace=Pace(workers=2, progress=False), unit_items=2)
    one, two = TokenDataset(tmp_path / "object", seed=None), TokenDataset(tmp_path / "out", seed=None)
    for i in range(5):
        picture = rows[i]["image"]
        assert one.tokens(i).equal(tokenizer.encode(picture)) and two.tokens(i).equal(one.tokens(i))
        assert two.metadata(i) == one.metadata(i) | {"key": f"disk[{i}]"}
    with pytest.raises(ConfigError, match="passed in as an object"):
        make(name, rows, tmp_path / "no", pace=Pace(workers=2, progress=False), unit_items=2)


def test_a_data_set_is_opened_by_one_thread(monkeypatch):
    """The package `datasets` fails now and then where several open one: items of the first unit were lost."""
    opened = []

    def slow(place, column, objects):
        time.sleep(0.05)
        opened.append(place)
        return [{"image": None}]

    monkeypatch.setattr("tokenzoo.zoo.corpus.intake.open_rows", slow)
    intake = Intake(SimpleNamespace(objects={}), lively("convnet"), Options())
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: intake._rows("disk:x", "image"), range(8)))
    assert opened == ["disk:x"] and all(f is found[0] for f in found)


def test_hub_data_sets_keep_their_other_columns(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    seen = []

    def load_dataset(name, config, **options):
        seen.append((name, config, options["split"]))
        return datasets.Dataset(table(3)).cast_column("image", datasets.Image())

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    make(lively("convnet"), "hub:org/pictures", tmp_path / "out", where={"split": "test"})
    assert seen[0] == ("org/pictures", None, "test")
    data = TokenDataset(tmp_path / "out", seed=None)
    assert data.metadata(2)["key"] == "org/pictures[2]" and data.metadata(2)["label"] == 2


def test_metadata_come_out_of_every_format(tmp_path):
    pq.write_table(table(3), tmp_path / "t.parquet")
    found = {}
    for format in ("parquet", "tar", "megatron", "flat"):
        make(lively("convnet"), tmp_path / "t.parquet", tmp_path / format, format=format)
        data = TokenDataset(tmp_path / format, seed=None)
        found[format] = json.dumps([data.metadata(i) for i in range(3)], sort_keys=True)
    assert len(set(found.values())) == 1


def test_the_same_source_by_another_name_is_the_same_job(tmp_path, monkeypatch):
    root = pictures(tmp_path / "in", 3)
    tokenizer = lively("convnet")
    make(tokenizer, root, tmp_path / "out")
    before = contents(tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    make(tokenizer, "in", tmp_path / "out", pace=HERE)
    assert contents(tmp_path / "out") == before
