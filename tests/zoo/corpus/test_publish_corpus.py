"""Publishing a token corpus: shards in several commits, resumed, and read again. Against a hub on 127.0.0.1."""

import re
from pathlib import Path

import pytest
import yaml
from cli_runs import run
from corpus_cases import lively, make, sounds
from huggingface_hub import DatasetCard, snapshot_download
from tokenzoo.zoo.corpus import TokenDataset, verify
from tokenzoo.zoo.corpus.files import CorpusError
from tokenzoo.zoo.corpus.manifest import read_manifest
from tokenzoo.zoo.corpus.publish import card_text, push_corpus
from tokenzoo.zoo.hub import HubError
from tokenzoo.zoo.readmes import CardKept

REPO, HERE = "org/tokens", "datasets--org/tokens"
MINE = b"---\nlicense: cc-by-4.0\n---\n\n# My own words\n"
pytestmark = pytest.mark.filterwarnings("ignore:manifest.json is published as it is")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A corpus of nine clips in three shards."""
    folder = tmp_path_factory.mktemp("corpus")
    make(lively("spectral"), sounds(folder / "in", 9), folder / "out", shard_items=3)
    return folder / "out"


def push(folder: Path, **options) -> str:
    return push_corpus(folder, REPO, **{"licence": "cc-by-4.0", "token": "good-token", **options})


def metadata(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_what_was_published_is_read_again(hub, made, tmp_path, monkeypatch):
    with pytest.warns(UserWarning, match=r"manifest.json is published as it is, and names '/"):
        url = push(made, private=True)
    assert "/datasets/org/tokens/commit/" in url and HERE in hub.private
    files = hub.repos[HERE]["main"]
    assert set(files) == {p.name for p in made.iterdir() if not p.name.startswith(".")} | {"README.md"}
    monkeypatch.setenv("TOKENZOO_CACHE", str(tmp_path / "unpacked"))
    got = snapshot_download(REPO, repo_type="dataset", token="good-token", cache_dir=tmp_path / "hub")
    assert verify(got) == [], "a card is no stranger in a corpus"
    assert all(TokenDataset(got).tokens(i) == TokenDataset(made).tokens(i) for i in range(9))


def test_the_card(hub, made):
    push(made, sources=["org/clips"])
    card = hub.repos[HERE]["main"]["README.md"].decode()
    DatasetCard(card).validate()
    assert metadata(card) == {
        "license": "cc-by-4.0",
        "tags": ["tokens", "tokenzoo", "audio-tokens", "spectral"],
        "size_categories": ["n<1K"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "shard-*.parquet"}]}],
    }
    manifest = read_manifest(made)
    sizes = manifest["layout"]["vocab_sizes"]
    for text in (manifest["tokenizer"]["sha256"], "| items | 9 |", f"| tokens | {manifest['totals']['tokens']:,} |", "| shards | 3 |"):
        assert text in card, text
    assert f"{len(sizes)}, with {sizes[0]:,} ids" in card and "datasets/org/clips" in card
    assert str(made.parent) not in card, "folders of this machine stand in no card"


@pytest.mark.slow
def test_the_lines_of_the_card_run(hub, made, tmp_path, monkeypatch):
    push(made)
    monkeypatch.setenv("TOKENZOO_CACHE", str(tmp_path / "unpacked"))
    code = re.search(r"```python\n(.*?)```", hub.repos[HERE]["main"]["README.md"].decode(), re.DOTALL)[1]
    code = code.replace('repo_type="dataset")', f'repo_type="dataset", cache_dir={str(tmp_path)!r})').replace("loader(8)", "loader(1)")
    names: dict = {}
    exec(code.replace("block=1024", "block=16"), names)
    assert names["batch"]["input_ids"].shape == (1, 16)


@pytest.mark.parametrize("format", ["megatron", "tar"])
def test_other_formats_say_how_they_are_read(format, tmp_path):
    packing = {"packing": "interleaved"} if format == "megatron" else {}
    make(lively("spectral"), sounds(tmp_path / "in", 2), tmp_path / "out", format=format, **packing)
    card = card_text(read_manifest(tmp_path / "out"), REPO, licence="mit")
    assert ("configs" in metadata(card)) == (format == "tar") == ("load_dataset" in card)
    assert ("packing.json" in card) == (format == "megatron")


def test_an_interrupted_upload_goes_on(hub, made):
    """The hub stops answering after the first commit; the second call sends only what is missing, and the manifest last."""
    commits = []
    path = "/api/datasets/org/tokens/commit/main"
    hub.broken[path] = lambda: commits.append(1) or len(commits) != 2
    with pytest.raises(HubError, match="or not all of it"):
        push(made, files_in_a_commit=1)
    assert set(hub.repos[HERE]["main"]) == {"shard-00000.parquet"}
    hub.requests.clear()
    hub.broken.clear()
    push(made, files_in_a_commit=1)
    sent = [p for method, p in hub.requests if method == "PUT"]
    assert len(sent) == 1, "the first shard is there already, and of the second all but its commit"
    assert sum(p == path for _, p in hub.requests) == 3 and len(hub.repos[HERE]["main"]) == 5
    hub.requests.clear()
    push(made)
    assert not [p for method, p in hub.requests if method == "PUT"]


def test_shards_of_an_earlier_corpus_are_removed_and_nothing_else(hub, made):
    hub.add(HERE, {"shard-00007.parquet": b"old", "notes.txt": b"mine", "README.md": MINE})
    with pytest.warns(CardKept, match="the README.md of org/tokens was written by hand"):
        push(made)
    files = hub.repos[HERE]["main"]
    assert "shard-00007.parquet" not in files and files["notes.txt"] == b"mine" and files["README.md"] == MINE


def test_what_is_not_whole_or_has_no_licence_is_not_sent(hub, made, tmp_path):
    import shutil

    copy = shutil.copytree(made, tmp_path / "copy")
    (copy / "shard-00001.parquet").write_bytes(b"x")
    with pytest.raises(CorpusError, match=r"shard-00001.parquet has 1 bytes.*Nothing was sent"):
        push(copy)
    with pytest.raises(ValueError, match="state that of the tokens"):
        push(made, licence="")
    assert not hub.repos and not hub.requests


def test_the_command(hub, made, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "good-token")
    ran = run("corpus", "push", made, REPO)
    assert ran.code == 1 and "--licence cc-by-4.0" in ran.err
    ran = run("corpus", "push", made, REPO, "--licence", "cc-by-4.0", "--source", "org/clips")
    assert ran.code == 0 and "/commit/" in ran.out
