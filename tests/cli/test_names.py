"""Names of results: distinct whatever is read, and the same when a command runs again. Run: pytest tests/cli/test_names.py"""

import random
from pathlib import Path

import numpy as np
import pytest
from cli_runs import run, saved
from PIL import Image
from tokenzoo.cli.files import name_outputs
from tokenzoo.zoo.finding import Found, Results, find


def named(*files: str, ending: str = ".png", whole: bool = False, drop: str = "") -> list[str]:
    """Names of the results of files that are named one by one; `folder//inside` stands for a folder that is named."""
    found = []
    for file in files:
        folder, sign, inside = file.partition("//")
        found.append(Found(Path(folder, inside), Path(inside) if sign else Path(Path(file).name)))
    return [str(p.relative_to("out")) for p in name_outputs(found, Path("out"), ending, drop=drop, whole=whole)]


@pytest.mark.parametrize(
    "files, names",
    [
        (["cat.jpg", "cat.png", "cat.webp"], ["cat.jpg.png", "cat.png.png", "cat.webp.png"]),
        (["a/x/1.png", "b/x/1.png", "c/x/1.png"], ["a_x_1.png.png", "b_x_1.png.png", "c_x_1.png.png"]),
        (["cat.png", "Cat.png"], ["cat-2.png", "Cat.png"]),
        (["cat.png", "Cat.png", "cat-2.png"], ["cat-3.png.png", "Cat.png", "cat-2.png.png"]),
        (["a//s/1.png", "b//s/1.png", "a//2.png"], ["s/a_1.png.png", "s/b_1.png.png", "2.png"]),
        (["d//cat.jpg", "d//cat.png/x.png"], ["cat.jpg.png", "cat.png/x.png"]),
    ],
)
def test_names(files, names):
    assert named(*files) == names
    assert named(*files[::-1]) == names[::-1], "the order plays no part"


def test_no_two_are_alike_whatever_is_read():
    dice = random.Random(0)
    parts, ends = ("a", "A", "b", "a_b", "a-2", "x.png", "take.1"), (".png", ".PNG", ".jpg", "", ".tok", ".png.tok", "-2.png")
    for _ in range(400):
        files = {
            "/".join(dice.choices(parts, k=dice.randint(1, 3))) + dice.choice(("/", "//")) + dice.choice(parts) + dice.choice(ends)
            for _ in range(dice.randint(2, 12))
        }
        by_path = {f.replace("//", "/"): f for f in sorted(files)}
        names = named(*by_path.values(), whole=dice.random() < 0.5, drop=dice.choice(("", ".tok")))
        assert len({n.casefold() for n in names}) == len(names), by_path
        above = {str(folder).casefold() for n in names for folder in Path(n).parents}
        assert not above & {n.casefold() for n in names}, by_path


def test_the_current_folder_plays_no_part(monkeypatch, tmp_path):
    files = [tmp_path / name for name in ("deep/cat.png", "deep/Cat.png", "cat.png")]
    before = named(*map(str, files))
    monkeypatch.chdir(tmp_path)
    assert named("deep/cat.png", "deep/Cat.png", "cat.png") == before


def test_a_file_that_is_named_twice_is_read_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x.png").touch()
    assert [str(f.path) for f in find(["x.png", "./x.png", str(tmp_path / "x.png"), "*.png"], {".png"})] == ["x.png"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return saved("convnet", tmp_path_factory.mktemp("model"))


@pytest.fixture
def pics(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("1.png", "2.jpg", "kept/3.webp"):
        Path("pics", name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(Path("pics", name))
    return Path("pics")


@pytest.mark.parametrize("out", ["pics/out", "pics/kept"])
@pytest.mark.parametrize("files", [["pics"], ["pics/**/*.*"], ["pics/1.png", "pics/2.jpg", "pics/kept", "OUT"]])
@pytest.mark.parametrize("verb", ["reconstruct", "encode"])
def test_a_command_with_its_results_in_the_source_can_run_again(model, pics, verb, files, out):
    Path(out).mkdir(exist_ok=True)
    words = [verb, model, *(out if f == "OUT" else f for f in files), "-o", out]
    first = run(*words)
    assert first.code == 0 and first.out.count("->") == 3, "the media that were there before are read"
    assert run(*words) == first


def test_results_are_read_by_another_command(model, pics):
    assert run("reconstruct", model, "pics", "-o", "pics/out").code == 0
    assert run("reconstruct", model, "pics", "-o", "other").out.count("->") == 6
    assert run("reconstruct", model, "pics/out", "-o", "pics/out/deep").out.count("->") == 3
    assert len(find(["pics/out"], {".png"}, results=Results(Path("pics"), ".png"))) == 6, "a folder inside that of the results"


def test_a_wildcard_may_match_folders_without_media(model, pics):
    (pics / "empty").mkdir()
    assert run("encode", model, "pics/*", "-o", "tok").code == 0
    ran = run("encode", model, "pics/empty", "-o", "tok")
    assert ran.code == 1 and "holds no file" in ran.err


def test_the_folder_of_results_must_be_one(model, pics):
    ran = run("encode", model, "pics", "-o", "pics/1.png")
    assert (ran.code, ran.err) == (1, "error: --out is pics/1.png, which is a file; name a folder.\n")
    ran = run("encode", model, "pics", "-o", "pics/1.png/deep")
    assert ran.code == 1 and ran.err.startswith("error: the folder pics/1.png/deep cannot be made: ") and ran.err.count("\n") == 1
