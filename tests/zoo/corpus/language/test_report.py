"""All statistics of a corpus, by the command too. Run: pytest tests/zoo/corpus/language/test_report.py"""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tokenzoo
from cli_runs import run
from corpus_cases import lively, make, pictures, sounds
from PIL import Image
from tokenzoo.codecs.config import from_mapping, to_mapping
from tokenzoo.zoo import demo
from tokenzoo.zoo.corpus import TokenDataset, stats
from tokenzoo.zoo.corpus.files import CorpusError, write_json
from tokenzoo.zoo.corpus.language.figures import BookFigures
from tokenzoo.zoo.corpus.language.plots import write_plots
from tokenzoo.zoo.corpus.language.report import _merged, language

MEDIA = Path(demo.__file__).parent / "media"


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """Two seconds of the demo's speech in four parts, and one of them again, as tokens of the shipped tokenizer."""
    folder = tmp_path_factory.mktemp("spoken")
    wave, rate = soundfile.read(MEDIA / "speech.flac")
    parts = np.array_split(wave[rate : 3 * rate], 4)
    for name, some in {"in": parts, "few": parts[:1]}.items():
        (folder / name).mkdir()
        for i, part in enumerate(some):
            soundfile.write(folder / name / f"{i}.flac", part, rate)
    tokenizer = tokenzoo.load("speech-16khz-4kbps")
    make(tokenizer, folder / "in", folder / "all")
    make(tokenizer, folder / "few", folder / "part")
    return folder


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A part of the demo's photograph in four tiles, as tokens of the shipped tokenizer."""
    folder = tmp_path_factory.mktemp("photo")
    (folder / "in").mkdir()
    whole = Image.open(MEDIA / "chelsea.png").convert("RGB")
    for i in range(4):
        whole.crop((20 + 96 * i, 64, 116 + 96 * i, 192)).save(folder / f"in/{i}.png")
    make(tokenzoo.load("photo-f16-rvq7"), folder / "in", folder / "all")
    return folder / "all"


def test_the_command_on_speech_beside_a_text_and_another_corpus(spoken, tmp_path):
    (tmp_path / "t.txt").write_text("the cat and the dog and the bird " * 400)
    words = ["corpus", "stats", spoken / "all", "--language", "--against", spoken / "part", "--text", tmp_path / "t.txt"]
    words += ["--text-as", "words", "--plots", tmp_path / "plots"]
    ran = run(*words, "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    corpus, text = found["corpus"], found["text"]
    counted = stats(spoken / "all")
    assert (corpus["items"], corpus["order"], len(corpus["books"])) == (4, "time", 8) and found["against"] == str(spoken / "part")
    for k, book in enumerate(corpus["books"]):
        entropies = book["entropies"]
        assert entropies["H1"]["plug_in_bits"] == pytest.approx(counted.entropy_bits[k])
        assert book["full_bits"] == 10 and book["capacity_use"] == entropies["H1"]["bits"] / 10
        assert book["distinct"] == counted.usage[k] * 1024 and book["ids"] == counted.positions
        assert counted.entropy_bits[k] <= book["huffman_bits"] < counted.entropy_bits[k] + 1
        assert ("H2 given the codebook before" in entropies) == (k > 0)
        assert book["drift"]["unigram_bits"] > 0 and book["growth"][-1][1] <= book["distinct"]
    assert text["books"][0]["vocab_size"] == 5 and text["books"][0]["ppm_bits"] < 0.4 and "1" in text["books"][0]["ngrams"]
    assert "entropies.png" in ran.err
    for name in ("ranks", "growth", "entropies", "neighbours"):
        assert np.asarray(Image.open(tmp_path / f"plots/{name}.png")).std() > 5


def test_the_command_on_photographs(photo, tmp_path):
    (tmp_path / "t.txt").write_text("the cat and the dog and the bird " * 40)
    ran = run("corpus", "stats", photo, "--language", "--text", tmp_path / "t.txt")
    assert ran.code == 0 and "*: too few ids" in ran.out and "H2 given the id before in sequence" in ran.out
    assert ran.out == run("corpus", "stats", photo, "--language", "--text", tmp_path / "t.txt").out, "the same figures every time"
    assert "H3 given the ids above and to the left" in ran.out
    assert "mutual information along rows, 1 apart" in ran.out and "along columns, 2 apart" in ran.out
    lines = ran.out.splitlines()
    assert lines[0].split()[-10:] == ["0", "1", "2", "3", "4", "5", "6", "mean", "t.txt", "(bytes)"]
    assert next(line for line in lines if line.startswith("log2 V")).split()[2:] == ["10.00"] * 8 + ["8.00"]
    few = json.loads(run("corpus", "stats", photo, "--language", "--limit", 2, "--json").out)
    assert few["corpus"]["items"] == 2 and few["corpus"]["books"][0]["ids"] == 2 * 48


def test_entropies_that_are_too_low_are_not_drawn(photo, tmp_path):
    found = language(photo)
    assert all(value.thin for book in found.corpus.books for value in book.entropies.values())
    assert "entropies.png" not in {p.name for p in write_plots(found, tmp_path)} and not (tmp_path / "entropies.png").exists()


def test_flags_that_do_not_belong(spoken, photo, tmp_path):
    ran = run("corpus", "stats", photo, "--limit", 2, "--plots", tmp_path)
    assert ran.code == 1 and "--plots, --limit" in ran.err and "add --language" in ran.err
    ran = run("corpus", "stats", photo, "--language", "--against", spoken / "all")
    assert ran.code == 1 and "different tokenizers" in ran.err
    ran = run("corpus", "stats", photo, "--language", "--lm", tmp_path)
    assert ran.code == 1 and "no report.json" in ran.err
    ran = run("corpus", "stats", photo, "--language", "--text", tmp_path / "none.txt")
    assert ran.code == 1 and "no file" in ran.err


@pytest.mark.parametrize("label", ["snac", "var", "dualvitok"])
def test_every_layout_of_codebooks(label, tmp_path):
    tokenizer = lively(label)
    make(tokenizer, (sounds if tokenizer.spec.modality == "audio" else pictures)(tmp_path / "in", 3), tmp_path / "out")
    found, data = language(tmp_path / "out"), TokenDataset(tmp_path / "out", seed=None)
    assert found.corpus.sampled_items == 3
    assert [b.ids for b in found.corpus.books] == np.sum([data.tokens(i).counts()[0] for i in range(3)], axis=0).tolist()
    assert stats(tmp_path / "out").tokens == sum(b.ids for b in found.corpus.books), "padding is no token"
    assert data.manifest["totals"]["tokens"] == stats(tmp_path / "out").tokens, "in the manifest neither"
    assert json.loads(json.dumps(found.as_json()))["corpus"]["items"] == 3 and "PPM" in found.table()


def test_an_empty_corpus(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.wav").write_bytes(b"")
    make(lively("spectral"), tmp_path / "in", tmp_path / "out")
    with pytest.raises(CorpusError, match="holds no ids"):
        language(tmp_path / "out")


def test_the_rate_is_the_best_bound():
    empty = {n: None for n in BookFigures.__dataclass_fields__ if n not in ("ngrams_against", "drift")}
    book = BookFigures(**empty | {"vocab_size": 16, "ppm_bits": 3.0, "lzma_bits": 2.0, "ngrams": {}})
    assert (book.rate_bits, book.rate_use, book.full_bits) == (2.0, 0.5, 4.0)
    assert BookFigures(**empty | {"vocab_size": 1, "ppm_bits": 0.0, "lzma_bits": 0.1, "ngrams": {}}).rate_use is None


def test_rows_of_several_columns_are_merged_in_their_places():
    assert _merged([["a", "b", "d"], ["a", "c", "d", "e"], ["b", "x"]]) == ["a", "c", "b", "x", "d", "e"]


@pytest.mark.slow
def test_the_perplexity_of_a_language_model(spoken, tmp_path):
    pytest.importorskip("transformers")
    from tokenzoo.zoo.corpus import lm
    from tokenzoo.zoo.corpus.language import small_lm

    shares = {"train": 0.6, "valid": 0.4}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lm, "SHARES", shares)
        model = {"kind": "llama", "width": 32, "layers": 1, "heads": 2}
        values = {"tokenizer": "speech-16khz-4kbps", "train": "in", "tokens": "", "output": ""}
        values |= {"codebooks": 2, "block": 64, "model": model}
        config = from_mapping(lm.LMConfig, values)
        train, valid = lm.split_tokens(spoken / "all", config)
        net = config.model.build(train.packing)
        net.save(tmp_path / "run/model")
        sha256 = TokenDataset(spoken / "all").manifest["tokenizer"]["sha256"]
        write_json(tmp_path / "run/report.json", {"config": to_mapping(config), "tokenizer_sha256": sha256})
        found = small_lm.lm_perplexity(tmp_path / "run", spoken / "all")["held out"]
        whole = lm.measure_model(net, train, valid, config)
        assert found["bits"] == pytest.approx(whole["bits"]) and found["perplexity"] == pytest.approx(2 ** whole["bits"])
        assert found["ids"] == whole["valid_tokens"] > 0
        again = language(spoken / "all", lm=tmp_path / "run", against=spoken / "all", limit=3)
        assert set(again.lm) == {"held out", f"held out of {spoken / 'all'}"} and "language model, held out" in again.table()
        write_json(tmp_path / "run/report.json", {"config": to_mapping(config), "tokenizer_sha256": "another"})
        with pytest.raises(CorpusError, match="another tokenizer"):
            small_lm.lm_perplexity(tmp_path / "run", spoken / "all")
