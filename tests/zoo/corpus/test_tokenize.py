"""Bulk tokenization: equal to `encode`, in every format, of every source. Run: pytest tests/zoo/corpus/test_tokenize.py"""

import dataclasses
import json
import tarfile

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import tokenzoo
import torch
from corpus_cases import HERE, bad_pictures, bad_sounds, contents, lively, make, pictures, saved, sounds
from families import TINY
from PIL import Image
from tokenzoo import cli
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.image.convnet import ConvTokenizer
from tokenzoo.zoo.corpus import Options, Pace, RequestError, TokenDataset, bulk, verify
from tokenzoo.zoo.corpus.files import read_sealed
from tokenzoo.zoo.corpus.packing import load_packing
from typer.testing import CliRunner

FORMATS = ("parquet", "tar", "megatron", "flat")
#: Layouts of tokens that differ: ragged grids, loudness, rates, scales, one size, lengths of their own, ids of 17 bits.
LABELS = ("convnet", "spectral-rms", "waveform", "snac", "var", "titok", "karl", "wide", "encodec")


def wide():
    """One codebook of 73984 ids: more than 16 bits."""
    return lively("convnet-groupnorm-fsq", {"quantizer": {"kind": "fsq", "levels": [17, 17, 16, 16]}})


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    root = tmp_path_factory.mktemp("media")
    return {"image": pictures(root / "pictures", 9), "audio": sounds(root / "sounds", 9)}


def resize(tokenizer):
    """Pictures of other sizes than the one of the tokenizer are cropped."""
    return {"resize": "crop"} if getattr(tokenizer.spec, "image_size", None) else {}


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("format", FORMATS)
def test_tokens_from_disk_equal_encode(label, format, media, tmp_path):
    tokenizer = wide() if label == "wide" else lively(label)
    source = media[tokenizer.spec.modality]
    result = make(tokenizer, source, tmp_path / "out", format=format, shard_items=4, encode=resize(tokenizer))
    assert not result.failures and verify(tmp_path / "out") == []
    data = TokenDataset(tmp_path / "out", seed=None)
    assert data.documents == 9 and len(data.shards) == 3
    for i in range(9):
        key = data.metadata(i)["key"]
        whole = tokenizer.encode(source / key, **resize(tokenizer))[0]
        assert data.tokens(i).equal(whole), key
    assert result.manifest["totals"]["tokens"] == sum(sum(data.tokens(i).counts()[0]) for i in range(9))


@pytest.mark.parametrize("format", FORMATS)
def test_vectors_stand_beside_the_ids(format, media, tmp_path):
    """A voice, in every format; the tokens decode as those of `encode` do."""
    tokenizer = lively("kanade-wave")
    result = make(tokenizer, media["audio"], tmp_path / "out", format=format, shard_items=4)
    assert not result.failures and verify(tmp_path / "out") == [] and result.manifest["layout"]["side_vectors"] == ["voice"]
    data = TokenDataset(tmp_path / "out", seed=None)
    for i in range(9):
        metadata, got = data.metadata(i), data.tokens(i)
        want = tokenizer.encode(media["audio"] / metadata["key"])
        torch.testing.assert_close(got.side_vectors["voice"][0], want.side_vectors["voice"][0], atol=1e-5, rtol=1e-5)
        assert torch.equal(got.ids, want.ids) and "vectors_voice" not in metadata
        torch.testing.assert_close(tokenizer.decode(got), tokenizer.decode(want), atol=1e-4, rtol=1e-4)


class Tinted(ConvTokenizer):
    """Pictures whose mean colour stands beside the ids, and is added to what the ids give."""

    def tokens_of_batch(self, coded, items, batch):
        means = tuple(item.x.mean((1, 2))[None] for item in items)
        return dataclasses.replace(super().tokens_of_batch(coded, items, batch), side_vectors={"colour": means})

    def fit_out(self, x, item, options):
        return super().fit_out(x, item, options) + item.side_vectors["colour"][0][0][:, None, None]


@pytest.mark.parametrize("format", FORMATS)
def test_vectors_beside_the_ids_of_pictures(format, media, tmp_path):
    tokenizer = lively("convnet")
    tokenizer.__class__, tokenizer.spec = Tinted, dataclasses.replace(tokenizer.spec, side_vectors=("colour",))
    result = make(tokenizer, media["image"], tmp_path / "out", format=format, shard_items=4)
    assert not result.failures and verify(tmp_path / "out") == []
    data = TokenDataset(tmp_path / "out", seed=None)
    colours = set()
    for i in range(9):
        got, want = data.tokens(i), tokenizer.encode(media["image"] / data.metadata(i)["key"])
        assert got.equal(want) and torch.equal(tokenizer.decode(got), tokenizer.decode(want))
        colours.add(tuple(got.side_vectors["colour"][0][0].tolist()))
    assert len(colours) == 9


@pytest.mark.parametrize("format", FORMATS)
def test_tables_beside_the_ids_of_clips(format, tmp_path):
    """Tables of as many rows as each clip needs."""
    tokenizer, folder = tokenzoo.build_tokenizer(*TINY["vqtoken"]).eval(), tmp_path / "clips"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i, colours in enumerate((1, 2, 4)):
        frames = np.repeat(rng.integers(0, 255, (colours, 12, 12, 3), dtype=np.uint8), 2, axis=0)
        first, *others = [Image.fromarray(frame) for frame in frames]
        first.save(folder / f"{i}.png", save_all=True, append_images=others)
    result = make(tokenizer, folder, tmp_path / "out", format=format, shard_items=2, encode={"adaptive": "elbow"})
    assert not result.failures and verify(tmp_path / "out") == []
    data = TokenDataset(tmp_path / "out", seed=None)
    for i in range(3):
        got, want = data.tokens(i), tokenizer.encode(folder / data.metadata(i)["key"], adaptive="elbow")
        assert got.equal(want) and torch.equal(tokenizer.semantic(got), tokenizer.semantic(want))
        assert torch.equal(tokenizer.clip_vectors(got), tokenizer.clip_vectors(want))
    assert len({len(data.tokens(i).side_vectors["table"][0]) for i in range(3)}) > 1


@pytest.mark.parametrize("label", ["convnet", "spectral"])
def test_codebooks_that_are_not_wanted_are_not_kept(label, media, tmp_path):
    tokenizer = lively(label)
    make(tokenizer, media[tokenizer.spec.modality], tmp_path / "out", codebooks=2)
    data = TokenDataset(tmp_path / "out", seed=None)
    key = data.metadata(3)["key"]
    assert data.tokens(3).equal(tokenizer.encode(media[tokenizer.spec.modality] / key, num_codebooks=2)[0])


def test_long_sound_in_chunks_equals_the_whole(tmp_path):
    tokenizer = lively("spectral")
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in/long.wav", rng.normal(size=20 * 700 + 3) * 0.2, 16000)
    whole = tokenizer.encode(tmp_path / "in/long.wav")
    tokenizer.piece_positions = 37
    make(tokenizer, tmp_path / "in", tmp_path / "out")
    assert TokenDataset(tmp_path / "out").tokens(0).equal(whole)


def test_batches_are_filled_with_sounds_of_near_lengths_and_pictures_of_one_size(media, tmp_path, monkeypatch):
    seen = []
    for label, name in (("spectral", "encode_latents"), ("convnet", "encode_latents")):
        tokenizer = lively(label)
        inner = getattr(tokenizer, name)
        monkeypatch.setattr(tokenizer, name, lambda x, inner=inner: (seen.append(x.shape), inner(x))[1])
        make(tokenizer, media[tokenizer.spec.modality], tmp_path / label, unit_items=100)
    whole = [s for s in seen if s[1] == 3]
    assert len(whole) <= 4 and max(s[0] for s in whole) >= 3, "three sizes of pictures"
    assert max(s[0] for s in seen if s[1] == 1) >= 3, "sounds of different lengths share a batch"


def test_media_of_other_rates_and_channels(tmp_path):
    tokenizer = lively("spectral-rms")
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in/a.flac", np.random.default_rng(0).normal(size=(3001, 2)) * 0.2, 22050)
    make(tokenizer, tmp_path / "in", tmp_path / "out")
    tokens = TokenDataset(tmp_path / "out").tokens(0)
    assert tokens.equal(tokenizer.encode(tmp_path / "in/a.flac"))
    assert (tokens.sample_rate_hz, tokens.sizes.tolist()) == (22050, [[3001]])
    assert tokenizer.decode(tokens).shape[-1] == 3001


# --- what is on disk --------------------------------------------------------------------------------------------------


def test_parquet_columns_and_smallest_types(media, tmp_path):
    make(wide(), media["image"], tmp_path / "wide")
    make(lively("spectral-rms"), media["audio"], tmp_path / "narrow")
    big, narrow = (pq.read_schema(tmp_path / n / "shard-00000.parquet") for n in ("wide", "narrow"))
    assert big.names == ["key", "ids_0", "length", "grid", "size"]
    assert str(big.field("ids_0").type.value_type) == "uint32"
    assert narrow.names == ["key", "ids_0", "ids_1", "ids_2", "length", "grid", "size", "sample_rate_hz", "scale"]
    assert str(narrow.field("ids_1").type.value_type) == "uint8"
    about = json.loads(narrow.metadata[b"tokenzoo"])
    assert about["tokenizer"]["spec"]["hop_samples"] == 20


def test_webdataset_reads_the_tar(media, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    tokenizer = lively("convnet")
    make(tokenizer, media["image"], tmp_path / "out", format="tar", shard_items=5)
    shards = sorted(str(p) for p in (tmp_path / "out").glob("*.tar"))
    samples = list(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False).decode())
    assert len(samples) == 9
    for s in samples:
        whole = tokenizer.encode(media["image"] / s["json"]["key"])
        assert (s["ids.npy"] == whole.ids[0].numpy()).all() and s["ids.npy"].dtype == np.uint8
        assert s["json"]["size"] == whole.sizes[0].tolist()


def test_megatron_index_as_its_reader_has_it(media, tmp_path):
    """Read with plain NumPy, in the order in which Megatron-LM's reader takes the fields."""
    make(lively("convnet"), media["image"], tmp_path / "out", format="megatron", packing="coarse_first")
    packing = load_packing(tmp_path / "out/packing.json")
    assert packing.config.kind == "coarse_first"
    raw = (tmp_path / "out/shard-00000.idx").read_bytes()
    assert raw[:9] == b"MMIDIDX\x00\x00" and raw[9:17] == (1).to_bytes(8, "little") and raw[17] == 8
    n, bounds = int.from_bytes(raw[18:26], "little"), int.from_bytes(raw[26:34], "little")
    lengths = np.frombuffer(raw, np.int32, n, 34)
    pointers = np.frombuffer(raw, np.int64, n, 34 + 4 * n)
    documents = np.frombuffer(raw, np.int64, bounds, 34 + 12 * n)
    assert n == 9 and documents.tolist() == list(range(10)) and len(raw) == 34 + 12 * n + 8 * bounds
    ids = np.memmap(tmp_path / "out/shard-00000.bin", np.uint16, "r")
    data = TokenDataset(tmp_path / "out", seed=None)
    for i in range(n):
        own = ids[pointers[i] // 2 : pointers[i] // 2 + lengths[i]]
        assert own[0] == packing.begin_id and own[-1] == packing.end_id
        assert (own == packing.pack(data.tokens(i)).input_ids[0].numpy()).all()


def test_flat_ids_get_wider_with_the_vocabulary(media, tmp_path):
    make(wide(), media["image"], tmp_path / "wide", format="flat")
    make(lively("convnet"), media["image"], tmp_path / "narrow", format="flat")
    for name, kind in (("wide", np.uint32), ("narrow", np.uint16)):
        ids = np.memmap(tmp_path / name / "shard-00000.bin", kind, "r")
        offsets = np.load(tmp_path / name / "shard-00000.index.npy")
        packing = load_packing(tmp_path / name / "packing.json")
        assert len(ids) == offsets[-1] and (ids[offsets[:-1]] == packing.begin_id).all()
        assert (ids[offsets[1:] - 1] == packing.end_id).all()


def test_packings_of_several_streams_fit_no_flat_file(media, tmp_path):
    with pytest.raises(ConfigError, match="K ids a step"):
        make(lively("convnet"), media["image"], tmp_path / "out", format="flat", packing="delay")
    with pytest.raises(ConfigError, match="packing is for"):
        Options(packing="delay")


def test_shards_have_the_chosen_size(media, tmp_path):
    tokenizer = lively("convnet")
    make(tokenizer, media["image"], tmp_path / "out", shard_mb=150 / 2**20, unit_items=2)
    shards = json.loads((tmp_path / "out/manifest.json").read_text())["shards"]
    data = TokenDataset(tmp_path / "out", seed=None)
    sizes = [data.tokens(i).ids.numel() for i in range(9)]  # ids of one byte each
    at = 0
    for shard in shards:
        own = sizes[at : at + shard["items"]]
        assert sum(own) <= 150 and (at + len(own) == 9 or sum(own) + sizes[at + len(own)] > 150)
        at += len(own)
    assert at == 9 and len(shards) > 2


def test_manifest_says_what_was_done(media, tmp_path):
    name = saved("spectral-rms", tmp_path / "model")
    result = make(name, media["audio"], tmp_path / "out")
    m = read_sealed(tmp_path / "out/manifest.json")
    assert m == result.manifest
    assert m["tokenizer"]["name"] == name and len(m["tokenizer"]["sha256"]) == 64 and m["tokenizer"]["dtype"] == "float32"
    assert m["tokenizer"]["spec"]["sample_rate_hz"] == 16000 and m["library_version"]
    assert m["source"]["items"] == 9 and m["totals"] == {"items": 9, "tokens": m["totals"]["tokens"], "failed": 0, "shards": 1}
    assert m["options"]["format"] == "parquet"


@pytest.mark.parametrize("label", ["convnet", "spectral", "encodec"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_tokens_of_a_narrow_type_have_the_shapes_of_float32(label, dtype, media, tmp_path):
    tokenizer = lively(label)
    source = media[tokenizer.spec.modality]
    result = make(saved(label, tmp_path / "model"), source, tmp_path / "out", dtype=dtype)
    assert not result.failures and result.manifest["tokenizer"]["dtype"] == dtype
    data = TokenDataset(tmp_path / "out", seed=None)
    for i in range(9):
        whole = tokenizer.encode(source / data.metadata(i)["key"])
        assert data.tokens(i).ids.shape == whole.ids.shape and torch.equal(data.tokens(i).sizes, whole.sizes)


def test_a_wrapped_tokenizer_gives_the_same_files(media, tmp_path):
    tokenizer = lively("convnet")
    make(tokenizer, media["image"], tmp_path / "plain")
    make(torch.nn.DataParallel(torch.compile(tokenizer, backend="eager")), media["image"], tmp_path / "wrapped")
    assert contents(tmp_path / "plain") == contents(tmp_path / "wrapped")


# --- bad media --------------------------------------------------------------------------------------------------------


def test_bad_pictures_are_listed_and_nothing_stops(tmp_path):
    bad = bad_pictures(pictures(tmp_path / "in", 5))
    result = make(lively("convnet"), tmp_path / "in", tmp_path / "out", unit_items=3)
    assert {f["key"] for f in result.failures} == bad
    why = {f["key"]: f["reason"] for f in result.failures}
    assert "empty file" in why["empty.jpg"] and "bomb" in why["bomb.png"] and "truncated" in why["cut.jpg"]
    assert "FileNotFoundError" in why["nowhere.png"] and "0x" not in "".join(why.values())
    data = TokenDataset(tmp_path / "out", seed=None)
    assert [data.metadata(i)["key"] for i in range(data.documents)] == [f"p{i:02d}.png" for i in range(5)]
    assert verify(tmp_path / "out") == []


def test_bad_sounds_are_listed_and_nothing_stops(tmp_path):
    bad = bad_sounds(sounds(tmp_path / "in", 5))
    result = make(lively("spectral"), tmp_path / "in", tmp_path / "out", unit_items=3, max_seconds=30.0)
    assert {f["key"] for f in result.failures} == bad
    why = {f["key"]: f["reason"] for f in result.failures}
    assert "truncated" in why["cut.wav"] and "NaN" in why["nan.wav"] and "longer than 30" in why["long.flac"]
    assert "reach" in why["loud.wav"] and "truncated" in why["head.wav"]
    assert result.manifest["totals"]["items"] == 5 and verify(tmp_path / "out") == []


def test_pictures_with_too_many_pixels_are_refused_unread(tmp_path):
    Image.new("RGB", (50, 40)).save(pictures(tmp_path / "in", 2) / "large.png")
    result = make(lively("convnet"), tmp_path / "in", tmp_path / "out", max_pixels=1999)
    assert [f["reason"].split(";")[0] for f in result.failures] == ["MediaError: large.png: 50 x 40 pixels: refused"]


def test_nothing_but_bad_media(tmp_path):
    bad = bad_pictures(tmp_path / "in")
    result = make(lively("convnet"), tmp_path / "in", tmp_path / "out")
    assert result.manifest["totals"] == {"items": 0, "tokens": 0, "failed": len(bad), "shards": 0}
    assert TokenDataset(tmp_path / "out").documents == 0 and verify(tmp_path / "out") == []


def test_an_item_that_the_network_refuses_spoils_no_other(media, tmp_path, monkeypatch):
    tokenizer = lively("convnet")
    inner = tokenizer.encode_latents
    dark = tmp_path / "in"
    pictures(dark, 6)
    Image.new("RGB", (16, 16)).save(dark / "p03.png")

    def refuse(x):
        if (x.flatten(1).amax(1) < -0.9).any():
            raise RuntimeError("too dark")
        return inner(x)

    whole = {k: tokenizer.encode(dark / k) for k in (f"p{i:02d}.png" for i in range(6))}
    with monkeypatch.context() as m:
        first = iter([True])  # the probe is dark too
        m.setattr(tokenizer, "encode_latents", lambda x: inner(x) if next(first, False) else refuse(x))
        result = make(tokenizer, dark, tmp_path / "out", unit_items=6)
    assert [(f["key"], f["reason"]) for f in result.failures] == [("p03.png", "RuntimeError: too dark")]
    data = TokenDataset(tmp_path / "out", seed=None)
    assert all(data.tokens(i).equal(whole[data.metadata(i)["key"]]) for i in range(5))


def test_options_that_cannot_work_are_an_error_at_once(media, tmp_path):
    tokenizer = lively("titok")
    with pytest.raises(ConfigError, match="cannot encode with these options"):
        make(lively("convnet-groupnorm-fsq"), media["image"], tmp_path / "out", codebooks=9)
    with pytest.raises(ConfigError, match="allowed: 'native', 'crop', 'squash'"):
        make(tokenizer, media["image"], tmp_path / "out2", encode={"resize": "stretch"})
    with pytest.raises(ConfigError, match="no option 'sise'.*resize"):
        make(tokenizer, media["image"], tmp_path / "out2", encode={"sise": "crop"})
    with pytest.raises(ConfigError, match="no folder"):
        make(tokenizer, tmp_path / "nothing", tmp_path / "out3")
    with pytest.raises(ConfigError, match="unit_items"):
        Options(unit_items=0)
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


# --- going on and refusing --------------------------------------------------------------------------------------------


def test_a_finished_job_is_left_as_it_is(media, tmp_path, monkeypatch):
    name = saved("convnet", tmp_path / "model")
    first = make(name, media["image"], tmp_path / "out")
    before = contents(tmp_path / "out")
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir() if p.is_file()}
    monkeypatch.setattr(bulk, "_run", None)
    again = make(name, media["image"], tmp_path / "out")
    assert again.manifest == first.manifest and contents(tmp_path / "out") == before
    assert all(p.stat().st_mtime_ns == t for p, t in times.items())
    assert not (tmp_path / "out/.work").exists()


@pytest.mark.parametrize("finished", [True, False])
def test_another_tokenizer_source_or_option_is_refused(finished, tmp_path, monkeypatch):
    source = pictures(tmp_path / "in", 6)
    tokenizer = lively("convnet")
    if finished:
        make(tokenizer, source, tmp_path / "out")
    else:
        with monkeypatch.context() as m:
            m.setattr(bulk, "_run", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                make(tokenizer, source, tmp_path / "out")
    other = lively("convnet")
    with torch.no_grad():
        next(other.parameters()).add_(1e-3)
    before = contents(tmp_path / "out")
    for changed, word in (
        (lambda: make(other, source, tmp_path / "out"), "tokenizer.sha256"),
        (lambda: make(tokenizer, source, tmp_path / "out", format="tar"), "options.format"),
        (lambda: make(tokenizer, source, tmp_path / "out", shard_items=3), "options.shard_items"),
        (lambda: make(tokenizer, source, tmp_path / "out", codebooks=1), "options.codebooks"),
        (lambda: make(lively("convnet-groupnorm-fsq"), source, tmp_path / "out"), "tokenizer"),
    ):
        with pytest.raises(RequestError, match=word):
            changed()
    Image.new("RGB", (16, 16)).save(source / "p02.png")
    with pytest.raises(RequestError, match="source.sha256"):
        make(tokenizer, source, tmp_path / "out")
    (source / "p02.png").unlink()
    with pytest.raises(RequestError, match="source.items: 6 -> 5"):
        make(tokenizer, source, tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_a_folder_with_other_files_is_refused_and_left_alone(media, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/diary.txt").write_text("mine")
    with pytest.raises(RequestError, match="other files"):
        make(lively("convnet"), media["image"], tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["diary.txt"]


def test_two_jobs_cannot_share_a_folder(media, tmp_path):
    from tokenzoo.codecs.locks import InUse, only_one

    with only_one(tmp_path / "out", ".work/.lock-0"), pytest.raises(InUse, match="another process"):
        make(lively("convnet"), media["image"], tmp_path / "out")


# --- the command ------------------------------------------------------------------------------------------------------


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments], catch_exceptions=False)
    return result.exit_code, result.output


def test_command_tokenize_verify_stats(media, tmp_path):
    name = saved("spectral-rms", tmp_path / "model")
    out = tmp_path / "out"
    code, text = run("tokenize", name, media["audio"], "--out", out, "--format", "flat", "--workers", 0, "--shard-items", 5)
    assert code == 0 and "9 items" in text and "2 shards" in text
    code, text = run("corpus", "verify", out)
    assert code == 0 and "match the manifest" in text
    code, text = run("corpus", "stats", out)
    assert code == 0 and "kbit/s" in text and "unigram entropy" in text and "9" in text
    (out / "shard-00001.bin").write_bytes(b"\0" * (out / "shard-00001.bin").stat().st_size)
    code, text = run("corpus", "verify", out)
    assert code == 1 and "shard-00001.bin was altered" in text


def test_command_ends_with_1_and_names_what_failed(tmp_path):
    bad_pictures(pictures(tmp_path / "in", 2))
    code, text = run("tokenize", saved("convnet", tmp_path / "model"), tmp_path / "in", "-o", tmp_path / "out", "--workers", 0)
    assert code == 1 and "7 items failed" in text and "empty.jpg: MediaError: empty.jpg is an empty file: 0 bytes" in text
    assert json.loads((tmp_path / "out/manifest.json").read_text())["totals"]["items"] == 2


def test_processes_give_the_same_bytes(media, tmp_path):
    name = saved("spectral-rms", tmp_path / "model")
    make(name, media["audio"], tmp_path / "one", shard_items=2, unit_items=2)
    many = dataclasses.replace(HERE, workers=2)
    make(name, media["audio"], tmp_path / "two", shard_items=2, unit_items=2, pace=many)
    make(lively("spectral-rms"), media["audio"], tmp_path / "object", shard_items=2, unit_items=2, pace=many)
    one = contents(tmp_path / "one")
    assert contents(tmp_path / "two") == one
    del one["manifest.json"]
    assert {k: v for k, v in contents(tmp_path / "object").items() if k != "manifest.json"}.keys() == one.keys()
    assert TokenDataset(tmp_path / "object").tokens(3).equal(TokenDataset(tmp_path / "one").tokens(3))


def test_readers_change_nothing(media, tmp_path):
    tokenizer = lively("convnet")
    make(tokenizer, media["image"], tmp_path / "a")
    make(tokenizer, media["image"], tmp_path / "b", pace=Pace(workers=0, readers=7, progress=False))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_tar_holds_no_times(media, tmp_path):
    make(lively("convnet"), media["image"], tmp_path / "out", format="tar")
    with tarfile.open(tmp_path / "out/shard-00000.tar") as tar:
        assert {(m.mtime, m.uid, m.uname) for m in tar} == {(0, 0, "")}
