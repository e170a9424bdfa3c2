"""Arguments and flags that subcommands share: the model first, then the files, and the same flags everywhere."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ..codecs.devices import DEVICES, DTYPES

T = TypeVar("T")


def _names(incomplete: str) -> list[str]:
    """Registry names for the shell's completion."""
    from ..zoo.registry import cards

    return [name for name in sorted(cards()) if name.startswith(incomplete)]


Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A name of `tokenzoo list`, a hub id org/repo, a folder, or the output of a training run.",
        autocompletion=_names,
        show_default=False,
    ),
]


def _first(value: str | None) -> None:
    if value is not None:
        raise typer.BadParameter(f"the model comes first and needs no flag: MODEL FILES, here: {value} FILES")


#: The flag for the model in old versions; its error states what to write instead.
Moved = Annotated[str | None, typer.Option("--model", "-m", hidden=True, is_eager=True, callback=_first)]
Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILES",
        help="Files, folders (with all that is below them), patterns such as 'pics/*.png', .txt lists with one path in each line.",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder to write to; made if missing.")]
Device = Annotated[str, typer.Option("--device", metavar="DEVICE", help=f"{', '.join(DEVICES)}. auto: a CUDA GPU if there is one.")]
Dtype = Annotated[
    str, typer.Option("--dtype", metavar="DTYPE", help=f"{', '.join(DTYPES)}. In lower precision some ids differ.")
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--folder", metavar="DIR", help="Folder with the downloaded files of MODEL, a name of `tokenzoo list`; nothing is fetched."
    ),
]
Codebooks = Annotated[
    int | None, typer.Option("--codebooks", metavar="N", min=1, help="Only the first N codebooks, where the model allows it.")
]
Positions = Annotated[
    int | None,
    typer.Option("--positions", metavar="N", min=1, help="At most N token positions an item, where the model allows it."),
]
Pairs = Annotated[
    list[str] | None,
    typer.Option("-O", "--option", metavar="KEY=VALUE", help="An option of the model; `tokenzoo info MODEL` lists them. Repeatable."),
]
Prior = Annotated[
    str | None,
    typer.Option(
        "--prior", metavar="NAME", help="Prior of entropy-coded ids: a file of `tokenzoo corpus prior`, or the name of a shipped model."
    ),
]
Licence = Annotated[
    str, typer.Option("--licence", "--license", metavar="TEXT", help="Licence of what is published, e.g. mit or cc-by-sa-4.0.")
]
Private = Annotated[bool, typer.Option("--private", help="Make a new repository a private one.")]
Branch = Annotated[str | None, typer.Option("--revision", metavar="BRANCH", help="Branch to write to.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=0, help="Use at most N files (0: all).")]


def load_model(name: str, *, device: str, dtype: str = "float32", folder: Path | None = None, part: Any = None) -> Any:
    """Load the tokenizer that a subcommand is given as MODEL; `device`, `dtype`, `folder` and `part` as in `tokenzoo.load`.

    Raises:
        ValueError: a file in the place of the model, an empty name, a folder beside `--folder`.
        Exception: as `tokenzoo.load`.
    """
    path = Path(name)
    if path.is_file() or (any(sign in name for sign in "*?") and not path.exists()):
        raise ValueError(f"the model comes first, then the files; {name!r} is no model. For example: tokenzoo encode MODEL {name}")
    if not name.strip():
        raise ValueError("the model's name is empty; `tokenzoo list` shows names.")
    if folder is not None and (path.exists() or name.startswith("file:")):
        raise ValueError(f"--folder holds the files of a name of `tokenzoo list`; {name!r} is a folder itself: leave --folder out.")
    from ..zoo.hub import load
    from ..zoo.progress import waiting

    with waiting(f"loading {name}"):
        return load(name, folder=folder, device=device, dtype=dtype, part=part)


def pairs_of(pairs: list[str] | None) -> dict[str, str]:
    """The values of `-O key=value` as a mapping.

    Raises:
        ValueError: a value without `=`, or a key that is given twice.
    """
    out: dict[str, str] = {}
    for pair in pairs or []:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise ValueError(f"-O takes key=value, got {pair!r}.")
        if key in out:
            raise ValueError(f"-O {key} is given twice: {out[key]!r} and {value!r}.")
        out[key] = value
    return out


def settings_of(cls: type[T], text: str, flag: str) -> T:
    """A dataclass of the library from `key=value,key=value`, the value of `flag`; numbers are read as YAML reads them.

    Raises:
        ValueError: a part without `=`, an unknown key, or a value of a wrong type or range.
    """
    import yaml

    from ..codecs.config import from_mapping

    values: dict[str, Any] = {}
    for pair in text.split(","):
        key, sign, value = pair.partition("=")
        if not sign or key.strip() in values:
            raise ValueError(f"{flag} takes key=value,key=value with different keys, got {text!r}.")
        try:
            values[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"{flag} {key.strip()}: {value!r} is no value.") from error
    return from_mapping(cls, values, flag)
