"""What all verbs have in common: one order of arguments, one spelling of flags. Run: pytest tests/cli/test_common.py"""

import inspect
import re
import typing

import pytest
import tokenzoo
from cli_runs import run
from tokenzoo.cli import arguments
from tokenzoo.cli.app import app

#: verb -> its function, groups included.
VERBS = {c.name: c.callback for c in app.registered_commands} | {
    f"{group.name} {c.name}": c.callback for group in app.registered_groups for c in group.typer_instance.registered_commands
}
#: Flag -> (default, short form) wherever it appears.
FLAGS = {"device": "auto", "dtype": "float32", "codebooks": None, "positions": None, "option": None, "as_json": False}


def parameters(verb: str) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(VERBS[verb]).parameters)


def flags(parameter: inspect.Parameter) -> tuple[str, ...]:
    """Spellings of an option; empty for an argument."""
    info = typing.get_args(parameter.annotation)[1]
    spelt = (info.default, *(info.param_decls or ()))  # typer keeps the first spelling in the place of the default
    return tuple(s for s in spelt if isinstance(s, str)) if type(info).__name__ == "OptionInfo" else ()


def test_all_verbs_are_there():
    assert set(VERBS) == {
        *("list", "info", "encode", "decode", "reconstruct", "eval", "bench", "demo", "tokenize", "lm", "train", "configs"),
        *("quantize", "push", "export"),
        *("corpus verify", "corpus stats", "corpus bpe", "corpus prior", "corpus generate", "corpus push", "data build"),
    }


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_verb_has_help(verb, flag):
    ran = run(*verb.split(), flag)
    assert ran.code == 0 and not ran.err
    assert "Usage: tokenzoo" in ran.out
    assert VERBS[verb].__doc__.split()[0] in ran.out


@pytest.mark.parametrize("verb", VERBS)
def test_the_model_comes_first_then_the_files(verb):
    found = parameters(verb)
    arguments = [name for name, p in found.items() if type(typing.get_args(p.annotation)[1]).__name__ == "ArgumentInfo"]
    if "model" in found:
        assert arguments[0] == "model"
        assert arguments[1:] in ([], ["files"], ["source"])
    assert "files" not in found or "model" in found


@pytest.mark.parametrize("verb", VERBS)
def test_flags_are_spelt_alike_and_have_one_default(verb):
    found = parameters(verb)
    for name, default in FLAGS.items():
        if name in found:
            assert found[name].default == default, name
    spelt = {f for p in found.values() for f in flags(p)}
    assert ("--json" in spelt) == ("as_json" in found)
    assert ("-O" in spelt) == ("option" in found)
    assert "out" not in found or {"--out", "-o"} <= spelt
    if "model" in found and verb not in ("info", "push", "export"):
        assert {"--device", "--dtype", "--folder"} <= spelt, "whatever runs a model says on what, and in which type"


def test_what_is_meant_alike_is_called_alike():
    """A shared flag or argument has one name and one default in all verbs; what it means is written once."""
    uses: dict[str, set[tuple[str, object]]] = {}
    for verb in VERBS:
        for name, p in parameters(verb).items():
            for shared in ("Model", "Files", "Device", "Dtype", "Folder", "Codebooks", "Positions", "Pairs", "Json", "Moved"):
                if p.annotation is getattr(arguments, shared):
                    uses.setdefault(shared, set()).add((name, p.default))
    assert {shared: len(found) for shared, found in uses.items()} == dict.fromkeys(uses, 1) and len(uses) == 10


def test_what_programs_read_has_json():
    read = {"list", "info", "eval", "bench", "corpus stats", "corpus verify", "corpus bpe", "corpus prior"}
    assert {v for v in VERBS if "as_json" in parameters(v)} == read


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version(flag):
    assert run(flag).out == f"tokenzoo {tokenzoo.__version__}\n"


def test_no_words_show_the_help():
    ran = run()
    assert ran.code == 2 and "Use a tokenizer" in ran.out + ran.err


@pytest.mark.parametrize("words", [("nope",), ("encode",), ("encode", "photo-f16-rvq7"), ("list", "--colour")])
def test_a_misspelt_command_ends_with_2(words):
    ran = run(*words)
    assert ran.code == 2 and "Usage: tokenzoo" in ran.err and not ran.out


def test_readmes_name_no_verb_that_does_not_exist():
    from pathlib import Path

    root = Path(tokenzoo.__file__).parent
    if not (root / "pyproject.toml").is_file():
        pytest.skip("not a checkout")
    pages = [p for p in root.rglob("*.md") if p.relative_to(root).parts[0] not in ("runs", "data", "demo_out", ".venv")]
    pages += sorted((root / "configs").rglob("*.yaml"))
    known = {v.split()[0] for v in VERBS}
    for page in pages:
        for verb in re.findall(r"(?:^|`|&& |   )tokenzoo ([a-z]+)", page.read_text(), re.MULTILINE):
            assert verb in known, f"{page.relative_to(root)}: tokenzoo {verb}"
