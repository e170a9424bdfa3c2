"""Publishing a tokenizer: its card, its licence, and cards that people wrote. Against a hub on 127.0.0.1."""

import json
import re
import shutil
from pathlib import Path

import pytest
import tokenzoo
import torch
import yaml
from cli_runs import run, saved
from families import TINY
from huggingface_hub import ModelCard
from tokenzoo.codecs.config import ConfigError
from tokenzoo.zoo import readmes
from tokenzoo.zoo.hub import HubError
from tokenzoo.zoo.model_card import card_text
from tokenzoo.zoo.provenance import provenance_of
from tokenzoo.zoo.readmes import CardKept, is_ours, licence_fields, states_licence, with_seal

MINE = b"---\nlicense: apache-2.0\n---\n\n# My own words\n"


def tiny(label: str = "convnet") -> tokenzoo.Tokenizer:
    torch.manual_seed(0)
    return tokenzoo.build_tokenizer(*TINY[label]).eval()


def push(tokenizer: tokenzoo.Tokenizer, repo: str = "org/x", **options) -> str:
    return tokenzoo.push_to_hub(tokenizer, repo, token="good-token", **options)


def readme(hub, repo: str = "org/x") -> str:
    return hub.repos[repo]["main"]["README.md"].decode()


def metadata(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


# --- the card -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_card_says_what_the_hub_asks_and_how_to_use_it(hub, tmp_path):
    push(tiny(), licence="CC-BY-SA-4.0", base_models=["org/base"], datasets=["org/data"])
    card = readme(hub)
    assert metadata(card) == {
        "library_name": "tokenzoo",
        "license": "cc-by-sa-4.0",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["tokenizer", "image-tokenization", "convnet"],
        "base_model": ["org/base"],
        "datasets": ["org/data"],
    }
    ModelCard(card).validate()
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    assert len(code.splitlines()) == 6
    photo = Path(tokenzoo.__file__).parent / "zoo/demo/media/chelsea.png"
    code = code.replace('"org/x"', f'"org/x", cache_dir={str(tmp_path)!r}').replace('"photo.jpg"', repr(str(photo)))
    names: dict = {}
    exec(code.replace('"tokens.tok"', repr(str(tmp_path / "t.tok"))), names)
    assert names["back"].shape[-2:] == (300, 451) and (tmp_path / "t.tok").is_file()


@pytest.mark.slow
def test_samples_are_uploaded_and_shown(hub, tmp_path):
    from PIL import Image

    push(tiny(), licence="mit")
    files, card = hub.repos["org/x"]["main"], readme(hub)
    for path in ("samples/0-original.webp", "samples/0-decoded.webp"):
        assert f"![{path}]({path})" in card and len(files[path]) < 150_000
    assert "CC0-1.0" in card and "bits a pixel" in card
    push(tiny("spectral"), "org/sound", licence="mit")
    files, card = hub.repos["org/sound"]["main"], readme(hub, "org/sound")
    (tmp_path / "a.flac").write_bytes(files["samples/0-decoded.flac"])
    sources = re.findall(r'<audio controls src="http://127.0.0.1:\d+/(.*?)">', card)
    assert sources == ["org/sound/resolve/main/samples/0-original.flac", "org/sound/resolve/main/samples/0-decoded.flac"]
    assert "Allison Smith" in card and "CC-BY-SA-3.0" in card, "the licence of the sentence asks for its author"
    Image.new("RGB", (30, 20), "red").save(tmp_path / "mine.png")
    push(tiny(), "org/mine", licence="mit", samples=[tmp_path / "mine.png"])
    assert Image.open(_file(tmp_path, hub.repos["org/mine"]["main"]["samples/0-original.webp"])).size == (30, 20)
    assert "CC0" not in readme(hub, "org/mine")
    push(tiny(), "org/none", licence="mit", samples=False)
    assert not [n for n in hub.repos["org/none"]["main"] if n.startswith("samples/")]
    with pytest.raises(ValueError, match="there can be no samples"):
        push(tiny("latent"), "org/f", licence="mit", samples=[tmp_path / "mine.png"])


def _file(folder: Path, data: bytes) -> Path:
    (folder / "file").write_bytes(data)
    return folder / "file"


@pytest.mark.slow
def test_the_bench_of_these_weights_is_in_the_card(hub, tmp_path):
    tokenizer = tokenzoo.load(saved("convnet", tmp_path / "m"))
    books = [{"vocab_size": 8, "usage": 0.5}]
    row = {"setting": "", "figures": {"PSNR dB": 21.25, "bits a pixel": 0.5}, "codebooks": books, "items": 3}
    result = {"key": {"fingerprint": tokenizer.identity.fingerprint}, "name": "m", "rows": [row], "cost": {"parameters": 1.5}}
    other = {**result, "key": {"fingerprint": "0" * 32}, "name": "other", "rows": [{**row, "figures": {"PSNR dB": 77.0}}]}
    head = {"modality": "image", "data": "/home/me/secret/photos", "date": "2026-01-01", "corpus": {"items": 3, "sha256": "a" * 64}}
    path = tmp_path / "m" / "bench.json"
    path.write_text(json.dumps({**head, "device": "cpu", "dtype": "float32", "results": [other, result], "failed": {}}))
    push(tokenizer, licence="mit", samples=False)
    card = readme(hub)
    assert "| PSNR dB ↑ | 21.25 |" in card and "| parameters ↓ | 1.5 |" in card and "77" not in card.split("## Licence")[0]
    assert "3 items of `photos`" in card and "secret" not in card
    path.write_text(json.dumps({**head, "results": [other], "failed": {}}))
    with pytest.warns(UserWarning, match="no figures of these weights"):
        push(tokenizer, licence="mit", samples=False)
    with pytest.raises(ConfigError, match="it has those of other"):
        push(tokenizer, licence="mit", samples=False, bench=path)


# --- the licence --------------------------------------------------------------------------------------------------------


def test_nothing_is_published_without_a_licence(hub):
    with pytest.raises(ValueError, match="the licence of these weights is not known. State it"):
        push(tiny())
    with pytest.raises(ValueError, match="State it"):
        push(tiny(), licence="none stated")
    with pytest.raises(ValueError, match="'nobase' is no hub id"):
        push(tiny(), licence="mit", base_models=["nobase"])
    assert not hub.repos


def test_weights_of_others_keep_their_licence_through_folders_and_repositories(hub, tmp_path):
    shipped = tokenzoo.load("photo-f16-rvq7")
    folder = tokenzoo.save_pretrained(shipped, tmp_path / "copy")
    again = tokenzoo.load(folder)
    assert (again.licence, again.origin) == ("CC-BY-SA-4.0", "photo-f16-rvq7")
    with pytest.raises(ValueError, match="is to be 'mit', but these weights are under 'CC-BY-SA-4.0'"):
        push(again, licence="mit")
    push(again, samples=False)
    assert metadata(readme(hub))["license"] == "cc-by-sa-4.0"
    assert "made from the weights of `photo-f16-rvq7`, under CC-BY-SA-4.0" in readme(hub)
    third = tokenzoo.load("org/x", cache_dir=tmp_path / "cache")
    assert (third.licence, third.origin) == ("CC-BY-SA-4.0", "org/x")
    push(third, "org/y", samples=False)
    assert metadata(readme(hub, "org/y"))["license"] == "cc-by-sa-4.0" and metadata(readme(hub, "org/y"))["base_model"] == ["org/x"]
    own = tiny()
    push(own, "org/own", licence="mit", samples=False)
    assert own.licence == "", "publishing changes nothing in the tokenizer"
    assert tokenzoo.load("org/own", cache_dir=tmp_path / "cache").licence == "mit"


@pytest.mark.slow
def test_the_card_of_a_run_says_what_it_was(hub, tmp_path):
    out = tmp_path / "run"
    saved("convnet", out / "model")
    shutil.copytree(out / "model", out / "best")
    config = {"init": "photo-f16-rvq7", "data": {"train": ["/home/me/photos", "hub:org/data"], "crop": 64}, "losses": {"pixel": {}}}
    config |= {"steps": 300, "batch_size": 8, "seed": 1, "best": {"figure": "psnr"}}
    (out / "config.yaml").write_text(yaml.safe_dump(config))
    usage = {"valid/usage_0": 0.5, "valid/usage_1": 1.0}
    lines = [{"step": n, "valid/psnr": v, **usage} for n, v in ((100, 20.5), (200, 24.5), (300, 23.5))]
    (out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [{"step": 1, "total": 3.0}, *lines]))
    push(tokenzoo.load(out), samples=False)
    card = readme(hub)
    assert metadata(card)["license"] == "cc-by-sa-4.0", "that of the weights it was trained from"
    for line in ("trained on: photos, hub:org/data", "started from: photo-f16-rvq7", "steps: 300 of 300, 8 crops each"):
        assert f"- {line}" in card, line
    assert "/home" not in card and "| psnr | 23.5 |" in card and "mean over codebooks | 0.750 |" in card
    push(tokenzoo.load(out / "best"), samples=False)
    assert "| psnr | 24.5 |" in readme(hub) and "- steps: 200 of 300" in readme(hub)
    push(tokenzoo.load(out), "org/own", licence="apache-2.0", samples=False)
    assert metadata(readme(hub, "org/own"))["license"] == "apache-2.0", "trained on, so the user may choose"
    (out / "config.yaml").write_text(yaml.safe_dump(config | {"init": "org/unknown"}))
    with pytest.raises(ValueError, match=r"not known. It was made from org/unknown \(None\)"):
        provenance_of(tokenzoo.load(out), out)


def test_a_copy_of_a_run_knows_what_the_run_began_with(tmp_path):
    """Copied out of the run, best weights keep the name, and with it the licence is found; folders of this machine are no names."""
    out = tmp_path / "run"
    saved("convnet", out / "model")
    (out / "config.yaml").write_text(yaml.safe_dump({"init": "photo-f16-rvq7", "grafts": {"decoder": f"{tmp_path}/x#decoder"}}))
    copy = tokenzoo.load(tokenzoo.save_pretrained(tokenzoo.load(out), tmp_path / "copy"))
    assert (copy.trained_from, copy.origin, copy.licence) == ("photo-f16-rvq7", "", "")
    about = provenance_of(copy, tmp_path / "copy")
    assert about.licence == "CC-BY-SA-4.0" and about.origins == {"photo-f16-rvq7": "CC-BY-SA-4.0"}
    stated = provenance_of(copy, None, licence="apache-2.0")
    assert stated.licence == "apache-2.0" and stated.origins == about.origins, "both are named"
    (out / "config.yaml").write_text("init: [")
    assert tokenzoo.load(out).trained_from == ""


def test_saving_replaces_a_card_of_ours_and_keeps_one_that_a_person_wrote(tmp_path):
    tokenzoo.save_pretrained(tokenzoo.load("speech-16khz-4kbps"), tmp_path)
    tokenzoo.save_pretrained(tiny(), tmp_path)
    path = tmp_path / "README.md"
    assert "`convnet`" in path.read_text() and "`spectral`" not in path.read_text(), "the card is that of the weights beside it"
    path.write_text(path.read_text() + "mine\n")
    tokenzoo.save_pretrained(tokenzoo.load("speech-16khz-4kbps"), tmp_path)
    assert "`convnet`" in path.read_text() and path.read_text().endswith("mine\n")


@pytest.mark.parametrize(
    "words, fields",
    [
        ("CC-BY-SA-4.0", {"license": "cc-by-sa-4.0"}),
        ("MIT (of the weights that were converted)", {"license": "mit"}),
        ("OpenRAIL++", {"license": "openrail++"}),
        ("Stability AI Community License", {"license": "other", "license_name": "stability-ai-community-license"}),
        ("Apache-2.0; speech model: none stated", {"license": "other", "license_name": "apache-2.0-speech-model-none-stated"}),
        ("none stated", {}),
        ("not seen", {}),
    ],
)
def test_licences_as_the_hub_spells_them(words, fields):
    assert licence_fields(words) == fields


def test_every_card_of_the_registry_has_a_licence_that_the_hub_takes_or_none(hub):
    for card in tokenzoo.list_models():
        fields = licence_fields(card.licence_weights)
        assert bool(fields) == states_licence(card.licence_weights), card.name
        assert re.fullmatch(r"[a-z0-9.-]+", fields.get("license_name", "x")), card.name


# --- cards that people wrote ---------------------------------------------------------------------------------------------


def test_a_seal_tells_who_wrote_a_card():
    text = with_seal("# A\n\nwords\n")
    assert is_ours(text.encode()) and is_ours(text.replace("\n", "\r\n").encode())
    assert not is_ours(text.replace("words", "other words").encode()) and not is_ours(MINE) and not is_ours(b"\xff\xfe")


def test_a_card_in_the_folder_that_a_person_wrote_is_published_as_it_is(hub, tmp_path):
    folder = Path(saved("convnet", tmp_path / "m"))
    assert is_ours((folder / "README.md").read_bytes()), "written by save_pretrained; not by hand"
    (folder / "README.md").write_bytes(MINE)
    with pytest.warns(CardKept, match=r"README.md in the tokenizer's folder was written by hand, so it is kept"):
        push(tokenzoo.load(folder), licence="apache-2.0")
    assert hub.repos["org/x"]["main"]["README.md"] == MINE
    assert (folder / "README.md").read_bytes() == MINE
    (folder / "README.md").write_bytes(b"# No licence here\n")
    with pytest.raises(ValueError, match="states no licence"):
        push(tokenzoo.load(folder), "org/y", licence="apache-2.0")
    assert "org/y" not in hub.repos


def test_a_card_in_the_repository_that_a_person_wrote_is_kept(hub):
    hub.add("org/x", {"README.md": MINE, "notes.txt": b"mine"})
    with pytest.warns(CardKept, match="the README.md of org/x was written by hand"):
        push(tiny(), licence="apache-2.0")
    files = hub.repos["org/x"]["main"]
    assert files["README.md"] == MINE and set(files) == {"README.md", "config.json", "model.safetensors", "notes.txt"}


def test_a_hub_that_cannot_be_asked_for_its_card_gets_nothing(hub, monkeypatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    def unanswered(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("no answer")

    monkeypatch.setattr("huggingface_hub.HfApi.hf_hub_download", unanswered)
    with pytest.raises(HubError, match="org/x could not be published: no answer"):
        push(tiny(), licence="mit", samples=False)
    assert not hub.repos["org/x"]["main"]


def test_a_card_of_ours_is_written_anew(hub, tmp_path):
    push(tiny(), licence="mit", samples=False)
    first = readme(hub)
    push(tiny(), licence="cc-by-4.0", samples=False)
    assert metadata(readme(hub))["license"] == "cc-by-4.0" and readme(hub) != first


def test_metadata_that_the_hub_refuses_are_an_error(hub, monkeypatch):
    monkeypatch.setattr(readmes, "_NAMED", readmes._NAMED | {"my licence"})
    with pytest.raises(ValueError, match="license"):
        push(tiny(), licence="my licence", samples=False)


@pytest.mark.slow
def test_save_pretrained_writes_the_licence_that_is_known(tmp_path):
    tokenzoo.save_pretrained(tokenzoo.load("speech-16khz-4kbps"), tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert metadata(card)["license"] == "cc-by-sa-4.0"
    assert "license" not in metadata(card_text(tiny()))


@pytest.mark.slow
def test_the_command(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "good-token")
    folder = saved("convnet", tmp_path / "m")
    ran = run("push", folder, "org/x")
    assert ran.code == 1 and "--licence mit" in ran.err
    ran = run("push", folder, "org/x", "--licence", "mit", "--sample", "none", "--dataset", "org/data")
    assert ran.code == 0 and "/org/x/commit/" in ran.out
    assert metadata(readme(hub))["datasets"] == ["org/data"]
    hub.add("org/x", {"README.md": MINE})
    ran = run("push", folder, "org/x", "--licence", "mit", "--sample", "none")
    assert ran.code == 0 and "warning: the README.md of org/x was written by hand" in ran.err
