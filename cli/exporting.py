"""The subcommand that writes encoders and decoders for other programs: export."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .arguments import Codebooks, Folder, Model, Out, load_model


def export(
    model: Model,
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="onnx (ONNX Runtime, ...) or torch-export (PyTorch).")] = "onnx",
    part: Annotated[
        str | None, typer.Option("--part", metavar="PART", help="encoder (media to ids) or decoder (ids to media); default: both.")
    ] = None,
    out: Out = Path("."),
    stream: Annotated[bool, typer.Option("--stream", help="Pieces of a stream, with the layers' state as inputs and outputs.")] = False,
    frames: Annotated[
        int | None, typer.Option("--frames", metavar="N", min=1, help="Positions of a piece of a stream; default: the fewest possible.")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option("--size", metavar="N", min=1, help="Samples, or pixels of a side, where the model cannot leave them open."),
    ] = None,
    codebooks: Codebooks = None,
    folder: Folder = None,
) -> None:
    """Write encoder and decoder as files that run without tokenzoo, each with a JSON document that says how to feed it."""
    from ..zoo.export import NotExportable
    from ..zoo.export import export as write
    from ..zoo.export.formats import ENDINGS

    formats: dict[str, Any] = {f: f for f in ENDINGS}
    halves: dict[str, Any] = {half: half for half in ("encoder", "decoder") if part in (None, half)}
    if to not in formats:
        raise ValueError(f"--to is {to!r}; allowed: {', '.join(formats)}.")
    if not halves:
        raise ValueError(f"--part is {part!r}; allowed: encoder, decoder.")
    tokenizer = load_model(model, device="cpu", folder=folder, part=part)
    identity, failed = tokenizer.identity, False
    stem = (identity.name if identity else tokenizer.family).replace("/", "--")
    for half in halves.values():
        path = out / f"{stem}-{half}{'-stream' * stream}{ENDINGS[formats[to]]}"
        try:
            made = write(
                tokenizer, path, part=half, to=formats[to], codebooks=codebooks, size=size, stream=stream, frames=frames
            )
        except NotExportable as error:
            print(f"error: {error}", file=sys.stderr)
            failed = True
            continue
        first, result = made.about["inputs"][0], made.about["outputs"][0]
        print(f"{made.path}: {first['name']} {first['shape']} to {result['name']} {result['shape']}, described in {made.about_path}")
    if failed:
        raise typer.Exit(1)
