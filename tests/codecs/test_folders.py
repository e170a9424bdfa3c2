"""Who may import whom inside `codecs`, and what belongs into which folder. Run: pytest tests/codecs/test_folders.py"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: Packages through which files could come from outside; what codecs need of models elsewhere is handed to them.
DOWNLOADERS = ("huggingface_hub", "requests", "urllib.request", "httpx", "aiohttp", "boto3", "fsspec", "gdown", "torch.hub", "wget")

#: Methods of other packages that fetch by name, and the modules that may call them: features of published models, when asked for.
FETCHING = {"from_pretrained", "snapshot_download", "hf_hub_download", "load_state_dict_from_url", "urlopen", "urlretrieve"}
MAY_FETCH = {"codecs.layers.speech_features", "codecs.image.titok.text"}


def modules() -> dict[str, Path]:
    """All modules of `codecs` by name."""
    paths = sorted((ROOT / "codecs").rglob("*.py"))
    return {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in paths}


MODULES = modules()


def imported(name: str) -> Iterator[str]:
    """What a module imports, wherever in its text: modules of this library by name from `codecs` on, others as they stand."""
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *(node.module or "").split(".")]).strip(".")
            yield base
            yield from (f"{base}.{alias.name}".strip(".") for alias in node.names)


IMPORTS = {name: set(imported(name)) for name in MODULES}


def family_of(name: str) -> str | None:
    """The family that a module belongs to: the folder of its model, or its one file; None for what families share."""
    parts = name.split(".")
    if len(parts) < 3 or parts[1] not in ("image", "audio"):
        return None
    return parts[2] if len(parts) > 3 or "family: ClassVar[str]" in MODULES[name].read_text() else None


def reached(start: str) -> set[str]:
    """The modules of `codecs` that `start` imports, and those that these import."""
    out, todo = set(), [start]
    while todo:
        found = IMPORTS[todo.pop()] & MODULES.keys() - out
        out |= found
        todo += found
    return out


LAYERS = sorted(name for name in MODULES if name.startswith("codecs.layers."))


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_serves_two_families(layer):
    families = {family_of(name) for name in MODULES if layer in reached(name)} - {None}
    advice = "what one family alone needs goes into its own folder, what none needs is deleted"
    assert len(families) >= 2, f"{layer} is used by {sorted(map(str, families)) or 'no family'}: {advice}."


def test_families_are_told_from_what_they_share():
    families = {family_of(name) for name in MODULES} - {None}
    assert {"vqgan", "dac", "convnet", "waveform"} <= families
    assert not families & {"base", "stream", "normalize", "layouts"}


@pytest.mark.parametrize("name", [n for n in MODULES if any(i.startswith("codecs.kernels") for i in IMPORTS[n])])
def test_only_layers_and_families_know_the_kernels(name):
    room = name.split(".")[1]
    assert room in ("kernels", "layers", "image", "audio"), f"{name} imports kernels: let a layer or a family's base do that."


@pytest.mark.parametrize("name", MODULES)
def test_codecs_stand_alone(name):
    """Neither the zoo nor training, no part of the library above, and nothing that downloads."""
    for used in IMPORTS[name]:
        top = used.split(".")[0]
        assert top not in ("zoo", "train", "cli", "tokenzoo"), f"{name} imports {used}: codecs are below it; hand over what is needed."
        assert not any(used == d or used.startswith(f"{d}.") for d in DOWNLOADERS), f"{name} imports {used}, which downloads."


@pytest.mark.parametrize("name", [n for n in MODULES if n.startswith("codecs.kernels.")])
def test_kernels_build_on_nothing_above_them(name):
    for used in IMPORTS[name] & MODULES.keys():
        below = used in ("codecs", "codecs.precision", "codecs.recomputable", "codecs.threads")
        assert below or used.startswith("codecs.kernels"), f"{name} imports {used}."


@pytest.mark.parametrize("name", MODULES)
def test_models_of_others_are_fetched_in_two_places_alone(name):
    nodes = ast.walk(ast.parse(MODULES[name].read_text()))
    called = {node.attr for node in nodes if isinstance(node, ast.Attribute)} & FETCHING
    advice = "who loads a codec fetches what it needs and hands it over"
    assert bool(called) == (name in MAY_FETCH), f"{name} calls {sorted(called) or 'nothing that fetches'}: {advice}."
