"""list and info. Run: pytest tests/cli/test_models.py"""

import json

import pytest
import tokenzoo
from cli_runs import run, saved

NAMES = {c.name for c in tokenzoo.list_models()}


def test_list_gives_every_name_whole_and_a_line_each(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    ran = run("list")
    assert ran.code == 0 and not ran.err
    first = [line.split()[0] for line in ran.out.splitlines() if line]
    assert len(first) == len([w for w in first if w in NAMES]) + 4, "three heads and the last line"
    assert set(first) >= NAMES
    heads = [line for line in ran.out.splitlines() if line.startswith("name (")]
    assert len(heads) == 3
    assert all(word in heads[0] for word in ("sample rate", "tokens/s", "kbit/s", "streams"))
    assert all(word in heads[1] for word in ("picture size", "tokens/picture", "bits/pixel"))
    assert "feature width" in heads[2]


def test_columns_stand_below_their_heads():
    lines = run("list", "longcat-audio*").out.splitlines()
    at = lines[0].index("sample rate")
    assert [line[at : at + 6] for line in lines[1:3]] == ["16 kHz", "16 kHz"]
    assert "16 kHz -> 24 kHz" in lines[2], "what comes out has another rate than what goes in"


@pytest.mark.parametrize(
    "words, names",
    [
        (["encodec"], {"encodec-24khz", "encodec-32khz", "encodec-48khz"}),
        (["ENCODEC"], {"encodec-24khz", "encodec-32khz", "encodec-48khz"}),
        (["encodec*"], {"encodec-24khz", "encodec-32khz", "encodec-48khz"}),
        (["facebook/encodec_24khz"], {"encodec-24khz"}),
        (["encodec", "--rate", "24khz"], {"encodec-24khz"}),
        (["encodec", "--rate", "<3kbps"], {"encodec-32khz"}),
        (["encodec", "--rate", "2.2kbps"], {"encodec-32khz"}),
        (["encodec", "--rate", ">24kbps"], {"encodec-24khz", "encodec-48khz"}),
        (["encodec", "--causal"], {"encodec-24khz"}),
        (["encodec", "--streamable"], {"encodec-24khz"}),
        (["encodec", "--licence", "by-nc"], {"encodec-32khz"}),
        (["--family", "encodec"], {"encodec-24khz", "encodec-32khz", "encodec-48khz"}),
        (["encodec", "--modality", "audio"], {"encodec-24khz", "encodec-32khz", "encodec-48khz"}),
        (["2210.13438"], {"encodec-24khz", "encodec-48khz"}),
    ],
)
def test_filters(words, names):
    ran = run("list", *words, "--json")
    assert ran.code == 0 and not ran.err
    assert {c["name"] for c in json.loads(ran.out)} >= names
    if words[0] != "2210.13438":
        assert {c["name"] for c in json.loads(ran.out)} == names


@pytest.mark.parametrize(
    "words, said",
    [
        (["encodek"], "Did you mean 'encodec-"),
        (["--family", "encodek"], "Did you mean 'encodec'"),
        (["--modality", "video"], "'audio', 'image', 'latent'"),
        (["--rate", "fast"], "24khz"),
        (["--rate", "<24khz"], "24khz"),
        (["encodec", "--modality", "image"], "no model of the registry fits."),
    ],
)
def test_nothing_found(words, said):
    ran = run("list", *words)
    assert (ran.code, ran.out) == (1, "") and said in ran.err
    assert run("list", *words, "--json").out in ("", "[]\n")


def test_list_as_json_has_units_in_its_names():
    cards = {c["name"]: c for c in json.loads(run("list", "--json").out)}
    assert set(cards) == NAMES
    assert cards["encodec-24khz"]["bitrate_kbps"] == pytest.approx(24)
    assert cards["photo-f16-rvq7"]["counted_at"] == [256, 256] and cards["photo-f16-rvq7"]["image_size"] is None
    assert cards["photo-f16-rvq7"]["tokens_per_image"] == 7 * 256


def test_info_of_a_card_loads_nothing():
    ran = run("info", "encodec-24khz")
    assert ran.code == 0
    for text in ("24000 Hz", "MIT", "arXiv 2210.13438", "config.json, model.safetensors", "num_codebooks = none"):
        assert text in ran.out
    found = json.loads(run("info", "facebook/encodec_24khz", "--json").out)
    assert found["name"] == "encodec-24khz"
    assert found["options"]["encode"]["num_codebooks"]["type"] == "int or none"


def test_info_of_folders_and_runs(tmp_path):
    saved("titok", tmp_path / "run" / "model")
    for name in (tmp_path / "run" / "model", tmp_path / "run", f"file:{tmp_path / 'run'}"):
        ran = run("info", name)
        assert ran.code == 0 and "titok" in ran.out and "parameters" in ran.out and "resize = none" in ran.out
    found = json.loads(run("info", tmp_path / "run", "--json").out)
    tokenizer = tokenzoo.load(tmp_path / "run")
    assert found["parameters"] == sum(v.numel() for v in tokenizer.state_dict().values() if v.is_floating_point())
    assert found["files"]["model/model.safetensors"] == (tmp_path / "run/model/model.safetensors").stat().st_size


def test_info_of_what_does_not_exist():
    name = sorted(NAMES)[0]
    ran = run("info", name + "x")
    assert ran.code == 1 and f"'{name}'" in ran.err
    ran = run("info", "meituan-longcat/LongCat-Audio-Codec")
    assert ran.code == 1 and "longcat-audio-codec-16khz" in ran.err


def test_features():
    ran = run("list", "levo*", "--modality", "latent")
    assert ran.code == 0 and "2048" in ran.out
    assert "latents of 1024 channels" in run("info", "levo-mix").out


def test_figures_say_which_values_are_better():
    from tokenzoo.zoo import listing, literature
    from tokenzoo.zoo.evaluate.report import DIRECTIONS

    metrics = {f.metric for name in literature.names() for f in literature.figures_of(name)}
    assert not [m for m in metrics if listing.better(m) not in ("higher", "lower")]
    measured = {m: way for m, (_, way) in DIRECTIONS.items() if m in metrics}
    assert measured and {m: listing.better(m) for m in measured} == measured
    assert "PSNR dB 27.98 \N{UPWARDS ARROW}, LPIPS-HED 0.144 \N{DOWNWARDS ARROW}" in run("info", "photo-f16-rvq7").out
    figures = json.loads(run("info", "photo-f16-rvq7", "--json").out)["figures"]
    assert [f["better"] for f in figures] == ["higher", "lower"]


def test_figures_say_who_measured_them_and_how():
    out = run("info", "mimi").out
    assert "LibriSpeech test-clean, 1.1 kbit/s (measured by others): OpenMOSS/MOSS-Audio-Tokenizer" in out
    assert "(measured by the authors): lucadellalib/focalcodec" in run("info", "focalcodec-50hz").out
    looked = run("info", "snac-44khz").out
    assert "not published where we looked: the README of hubertsiuzdak/snac" in looked
    assert json.loads(run("info", "snac-44khz", "--json").out)["figures_status"] in looked


@pytest.mark.parametrize("verb", ["encode", "reconstruct", "eval", "tokenize"])
def test_files_of_a_card_that_were_downloaded_by_hand(monkeypatch, tmp_path, verb):
    """The card is used with the folder's files, and nothing is fetched."""
    from PIL import Image
    from tokenzoo.zoo import hub

    monkeypatch.setattr(hub._Remote, "file", lambda remote, name: pytest.fail("nothing is fetched"))
    Image.new("RGB", (32, 32)).save(tmp_path / "p.png")
    shipped = hub.load("photo-f16-rvq7")
    hub.save_pretrained(shipped, tmp_path / "by hand")
    out = [] if verb == "eval" else ["-o", tmp_path / "out"]
    words = [verb, "photo-f16-rvq7", tmp_path / "p.png", *out, *(["--workers", 0] if verb == "tokenize" else [])]
    ran = run(*words, "--folder", tmp_path / "by hand")
    assert ran.code == 0, ran.err
    ran = run(*words, "--folder", tmp_path)
    assert ran.code == 1 and "holds no file" in ran.err and ran.err.count("\n") == 1
    ran = run(verb, tmp_path / "by hand", *words[2:], "--folder", tmp_path)
    assert ran.code == 1 and "leave --folder out" in ran.err


def test_an_empty_name_is_no_model(tmp_path):
    ran = run("encode", " ", tmp_path)
    assert (ran.code, ran.err) == (1, "error: the model's name is empty; `tokenzoo list` shows names.\n")
