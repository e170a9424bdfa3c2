"""The subcommand `eval`, which measures a tokenizer."""

import json
import sys
from typing import Annotated

import typer

from .arguments import Codebooks, Device, Dtype, Files, Folder, Json, Limit, Model, Pairs, Positions, load_model, pairs_of, settings_of

Perturbed = Annotated[
    str | None,
    typer.Option(
        "--perturb", metavar="rate=R,neighbours=N", help="Decode with this share of ids drawn among their N nearest codes (pFID)."
    ),
]


def evaluate(
    model: Model,
    files: Files,
    codebooks: Codebooks = None,
    positions: Positions = None,
    option: Pairs = None,
    perturb: Perturbed = None,
    limit: Limit = 0,
    as_json: Json = False,
    device: Device = "auto",
    dtype: Dtype = "float32",
    folder: Folder = None,
) -> None:
    """Measure reconstruction, bits and codebook use on media files."""
    from ..zoo.choices import chosen
    from ..zoo.evaluate import evaluate as run
    from ..zoo.evaluate import report_text
    from ..zoo.evaluate.perturb import Perturb
    from ..zoo.tables import counted

    tokenizer = load_model(model, device=device, dtype=dtype, folder=folder)
    choice = chosen(tokenizer, pairs_of(option), codebooks=codebooks, positions=positions)
    report = run(
        tokenizer, files, limit=limit, perturb=None if perturb is None else settings_of(Perturb, perturb, "--perturb"),
        encode_options=choice.of_encode, decode_options=choice.of_decode, progress=True,
    )
    print(json.dumps(report.as_json(), indent=1) if as_json else report_text(report))
    if report.failed:
        number, all_files = len(report.failed), report.items + len(report.failed)
        print(f"{number} of {counted(all_files, 'file')} failed; the report names {'it' if number == 1 else 'them'}.", file=sys.stderr)
        raise typer.Exit(1)
