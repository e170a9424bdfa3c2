"""Every block of code of the pages runs: Python as it stands, commands with a few steps in place of many. Run: pytest tests/docs

A page's blocks run in order, in one folder with a user's media and one namespace. Pages with a test of their own stand in `ELSEWHERE`.
Settings in YAML are read by test_settings.py.
"""

import re
import shlex
import warnings
from pathlib import Path

import click
import pytest
import soundfile
from cli_runs import run
from page_blocks import ROOT, Block, blocks, indented_commands, inline_commands
from PIL import Image
from tokenzoo.cli.app import app
from tokenzoo.codecs.config import ConfigError, from_mapping
from tokenzoo.train.files import bundled_names, find, load_run, read_mapping
from tokenzoo.zoo.corpus.lm import BUNDLED, LMConfig
from typer.main import get_command

if not (ROOT / "docs").is_dir():
    pytest.skip("not a checkout", allow_module_level=True)

#: Pages whose blocks another test runs.
ELSEWHERE = {
    "CONTRIBUTING.md": "tests/test_contributing.py",
    "docs/fine-tuning.md": "tests/train/test_fine_tuning.py",
    "docs/language-models.md": "tests/zoo/corpus/test_language_model_page.py",
    "docs/serving.md": "tests/zoo/export/test_serving.py",
    "codecs/quantizers/README.md": "tests/codecs/quantizers/test_readme.py",
    "train/README.md": "tests/train/test_documented.py",
}
PAGES = sorted(
    p.relative_to(ROOT).as_posix()
    for p in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "zoo").rglob("*.md")]
    if p.relative_to(ROOT).as_posix() not in ELSEWHERE
)
#: Pages that take more than ten seconds.
SLOW = {"zoo/corpus/README.md", "docs/trainers.md"}
#: The program with all subcommands.
PROGRAM = get_command(app)
#: Languages that are no code to run: text, and settings that a command of the same page reads.
TEXT = {"", "text", "yaml", "json", "toml"}
#: Added to commands, so that they end soon.
SHORT = {
    "train": (
        "steps=2",
        "batch_size=2",
        "data.crop=32",
        "every.log=1",
        "every.validate=0",
        "every.preview=0",
        "tensorboard=false",
        "threads=1",
    ),
    "lm": ("steps=2", "batch_size=2", "threads=1"),
    "bench": ("--no-cost",),
}


def write_media(folder: Path) -> None:
    """What the pages call a user's media: `photo.jpg`, `speech.wav` and folders of them."""
    photo = Image.open(ROOT / "zoo/demo/media/chelsea.png").crop((100, 60, 212, 156))
    wave, rate = soundfile.read(ROOT / "zoo/demo/media/speech.flac")
    photo.save(folder / "photo.jpg", quality=95)
    soundfile.write(folder / "speech.wav", wave[: 2 * rate], rate)
    for name in ("photos", "held_out"):
        (folder / name).mkdir()
        for i in range(3):
            photo.crop((8 * i, 0, 8 * i + 80, 64)).save(folder / name / f"{i}.png")
    (folder / "clips").mkdir()
    for i in range(3):
        soundfile.write(folder / "clips" / f"{i}.flac", wave[i * rate : (i + 1) * rate + 160 * i], rate)


def runnable(pages: list[str]) -> list[object]:
    """Pages with blocks that run, the long ones marked."""
    wanted = [p for p in pages if any(b.language not in TEXT and not b.why for b in blocks(p))]
    return [pytest.param(p, marks=pytest.mark.slow) if p in SLOW else p for p in wanted]


@pytest.mark.parametrize("page", runnable(PAGES))
def test_the_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_media(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks(page):
        if block.why or block.language in TEXT:
            if block.language == "yaml" and block.text.startswith("# ") and block.text.split("\n")[0].endswith(".yaml"):
                Path(block.text.split("\n")[0].removeprefix("# ")).write_text(block.text)
        elif block.language == "python":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                exec(compile("\n" * block.line + block.text, str(ROOT / page), "exec"), names)
        else:
            assert block.language in ("bash", "sh"), f"{page}:{block.line}: {block.language}"
            for words in block.commands:
                do(block, words)


def do(block: Block, words: list[str]) -> None:
    """Run one command of a page in this process."""
    where = f"{block.page}:{block.line}: {' '.join(words)}"
    assert words[0] == "tokenzoo", f"{where}: only `tokenzoo` runs here; say `<!-- not run: REASON -->` before the block"
    ran = run(*words[1:], *SHORT.get(words[1], ()))
    assert ran.code == 0, f"{where}\n{ran.err}"


@pytest.mark.parametrize("page", [*PAGES, *ELSEWHERE])
def test_commands_and_reasons(page):
    """Also of blocks that do not run: the program takes the commands, Python compiles; a reason is a sentence, not a word."""
    for block in blocks(page):
        where = f"{page}:{block.line}"
        assert not block.why or len(block.why.split()) > 2, f"{where}: {block.why!r} is no reason"
        if block.language == "python" and page not in ELSEWHERE:
            compile(block.text, where, "exec")
        if block.language in ("bash", "sh"):
            for words in block.commands:
                check_line(words, where)


#: Beside the pages of the site, those whose commands do not run here.
LISTED = [*PAGES, *ELSEWHERE, *sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "benchmarks").rglob("*.md"))]


@pytest.mark.parametrize("page", [p for p in LISTED if indented_commands(p) or inline_commands(p)])
def test_commands_outside_of_blocks(page):
    """Between backticks a command may lack arguments; its names and settings exist nevertheless."""
    for line in indented_commands(page):
        check_line(shlex.split(line, comments=True), f"{page}: {line}")
    for line in inline_commands(page):
        for words in split_line(shlex.split(re.sub(r"[\[\]]| \.\.\.", "", line) if "[-" in line or "..." in line else line)):
            check_words(words[1:], f"{page}: `{line}`", whole=False)


@pytest.mark.parametrize(
    "line",
    [
        "tokenzoo tokenise photo-f16-rvq7 photos -o tokens",
        "tokenzoo list --licens mit",
        "tokenzoo encode photo-f16-rvq7 photos -o",
        "tokenzoo push runs/mine",
        "tokenzoo info mimi encodec-24khz",
        "tokenzoo train image/convnet data.train=photos",
        "tokenzoo train --from photo-f16-rvq7 data.tran=photos",
        "tokenzoo lm lm/photos sampler.pases=32",
        "tokenzoo tokenize photo-f16-rvq7 photos -o T && tokenzoo corpus stat T",
    ],
)
def test_a_wrong_command_is_found(line):
    """What the tests above rest on."""
    with pytest.raises((AssertionError, pytest.fail.Exception), match="p.md"):
        check_line(shlex.split(line), "p.md")


def split_line(words: list[str]) -> list[list[str]]:
    """The commands of a line, apart at `&&`, `|` and `>`, from the word `tokenzoo` on; other programs are left out."""
    commands: list[list[str]] = [[]]
    for word in words:
        if word in ("&&", "|", ">"):
            commands.append([])
        else:
            commands[-1].append(word)
    return [words[words.index("tokenzoo") :] for words in commands if "tokenzoo" in words[:1] or words[1:3] == ["-m", "tokenzoo"]]


def check_line(words: list[str], where: str) -> None:
    """Check all commands of `tokenzoo` in a line."""
    for command in split_line(words):
        check_words(command[1:], f"{where}: {' '.join(command)}")


def check_words(words: list[str], where: str, *, whole: bool = True) -> None:
    """The subcommand exists and takes these options and arguments; runs and their settings exist; with `whole`, nothing is missing."""
    command = PROGRAM
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"{where}: no such command"
        command, words = command.commands[words[0]], words[1:]
    known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help", "-h", "--debug"}
    given = {w.split("=")[0] for w in words if w.startswith("-") and not w.lstrip("-")[:1].isdigit()}
    assert given <= known, f"{where}: {sorted(given - known)}"
    if hasattr(command, "commands"):
        return
    try:
        values, left, _ = command.make_parser(click.Context(command)).parse_args([w for w in words if w != "--debug"])
    except Exception as error:  # the parser's own, of click or of what typer has in its place
        if whole:
            pytest.fail(f"{where}: {error}")
        return
    missing = [p.name for p in command.params if p.required and values.get(p.name) in (None, (), [])]
    assert not left and not (whole and missing), f"{where}: too much {left}, missing {missing}"
    if command.name in ("train", "lm", "configs"):
        check_settings(command.name, values, where)


def check_settings(verb: str, values: dict, where: str) -> None:
    """A bundled run by name exists; what is set in it, or in a file of the user's, are settings of a run."""
    name, changed = values.get("config") or values.get("name") or "", list(values.get("overrides") or ())
    if "=" in name:  # `tokenzoo train --from MODEL KEY=VALUE ...`
        name, changed = "", [name, *changed]
    try:
        if verb == "lm" and name:
            from_mapping(LMConfig, read_mapping(find(name, among=BUNDLED), changed))
        elif verb != "lm" and (name or changed):
            page = where.partition(":")[0]
            if (ROOT / page).is_file() and any(b.text.startswith(f"# configs/{name}.yaml\n") for b in blocks(page)):
                return  # the page shows how to write it
            bundled = name in bundled_names()
            assert bundled or not name or name.endswith(".yaml") or name.isupper(), f"{where}: no bundled run {name}"
            if not changed:
                return
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                load_run(name if bundled else "image/fine-tune", changed)
    except ConfigError as error:
        pytest.fail(f"{where}: {error}")


@pytest.mark.parametrize("page", PAGES)
def test_no_command_stands_outside_a_block(page):
    assert not indented_commands(page)


@pytest.mark.parametrize(("page", "test"), ELSEWHERE.items())
def test_other_pages_have_their_tests(page, test):
    assert Path(page).name in (ROOT / test).read_text(encoding="utf-8")


def test_a_block_that_is_not_run_says_why(tmp_path, monkeypatch):
    """What the other tests rest on: fences, languages and reasons are found."""
    (tmp_path / "p.md").write_text(
        "a\n\n```python\nx = 1\n```\n\n<!-- not run: needs a network -->\n```bash\ntokenzoo list \\\n  a # b\n```\n"
    )
    monkeypatch.setattr("page_blocks.ROOT", tmp_path)
    first, second = blocks("p.md")
    assert (first.language, first.text, first.why, first.line) == ("python", "x = 1\n", "", 3)
    assert (second.why, second.commands) == ("needs a network", [["tokenzoo", "list", "a"]])
    (tmp_path / "p.md").write_text(
        "<!-- needs: no_such.module -->\n```python\n```\n<!-- needs: torch -->\n```python\n```\n    tokenzoo list\n"
    )
    assert [b.why for b in blocks("p.md")] == ["needs the module no_such.module", ""]
    assert indented_commands("p.md") == ["tokenzoo list"]
