"""The subcommands `eval`, which measures a tokenizer, and `bench`, which compares several."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .arguments import Codebooks, Device, Dtype, Files, Folder, Json, Limit, Model, Pairs, Positions, load_model, pairs_of, settings_of

Perturbed = Annotated[
    str | None,
    typer.Option(
        "--perturb", metavar="rate=R,neighbours=N", help="Decode with this share of ids drawn among their N nearest codes (pFID)."
    ),
]
Also = Annotated[
    list[str] | None,
    typer.Option(
        "--also", metavar="METRIC", help="distillmos, speaker or dwer: metrics of speech by networks of optional packages. Repeatable."
    ),
]


def evaluate(
    model: Model,
    files: Files,
    codebooks: Codebooks = None,
    positions: Positions = None,
    option: Pairs = None,
    perturb: Perturbed = None,
    also: Also = None,
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
        tokenizer,
        files,
        limit=limit,
        perturb=None if perturb is None else settings_of(Perturb, perturb, "--perturb"),
        encode_options=choice.of_encode,
        decode_options=choice.of_decode,
        extra=also or (),
        progress=True,
    )
    print(json.dumps(report.as_json(), indent=1) if as_json else report_text(report))
    if report.failed:
        number, all_files = len(report.failed), report.items + len(report.failed)
        print(f"{number} of {counted(all_files, 'file')} failed; the report names {'it' if number == 1 else 'them'}.", file=sys.stderr)
        raise typer.Exit(1)


def bench(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAMES",
            help="Tokenizers of one modality, as for other commands; with --page and no --data, folders of earlier benches.",
            show_default=False,
        ),
    ],
    data: Annotated[
        list[str] | None,
        typer.Option("--data", "-d", metavar="FILES", help="Files, folders, patterns or .txt lists. Repeatable.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for tables, plots and results; a bench that was stopped goes on there.")
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option("--sweep", metavar="OPTION=V,V", help="A row for each value: of codebooks, positions, an option. Repeatable."),
    ] = None,
    codecs: Annotated[
        bool, typer.Option("--codecs", help="Add JPEG, WebP and AVIF, or Opus, Speex and Codec2, at the same rates.")
    ] = False,
    page: Annotated[
        Path | None, typer.Option("--page", metavar="FOLDER", help="Write a page with media, published figures and cards there.")
    ] = None,
    show: Annotated[
        list[str] | None,
        typer.Option("--show", metavar="FILES", help="Media that the page shows (the first three of --data). Repeatable."),
    ] = None,
    perturb: Perturbed = None,
    also: Also = None,
    limit: Limit = 0,
    cost: Annotated[bool, typer.Option(help="Measure parameters, operations, times and memory.")] = True,
    exactness: Annotated[
        bool, typer.Option("--exactness", help="Instead: share of ids that change in a batch, in pieces, streamed, in bfloat16.")
    ] = False,
    rounds: Annotated[int, typer.Option(metavar="N", min=1, help="Timed calls, of which the median counts.")] = 5,
    threads: Annotated[int, typer.Option(metavar="N", min=0, help="Threads of PyTorch (0: its own choice).")] = 0,
    as_json: Json = False,
    device: Device = "auto",
    dtype: Dtype = "float32",
) -> None:
    """Compare tokenizers on media files: quality, rates, codebooks and cost in one table."""
    from ..codecs.config import ConfigError
    from ..codecs.devices import dtype_name, pick_device
    from ..zoo.bench import Settings
    from ..zoo.bench import bench as run
    from ..zoo.evaluate.perturb import Perturb

    if not data:
        if page is None:
            raise ConfigError("name the media with --data FILES; only --page FOLDER reads earlier benches instead.")
        return _page(names, page, show, device=device)
    if exactness:
        return _exactness(names, data, limit=limit, device=device, threads=threads, out=out, as_json=as_json)
    settings = Settings(
        sweeps=tuple(sweep or ()),
        limit=limit,
        perturb=None if perturb is None else settings_of(Perturb, perturb, "--perturb"),
        extra=tuple(also or ()),
        device=str(pick_device(device)),
        dtype=dtype_name(dtype),
        threads=threads,
        rounds=rounds,
        cost=cost,
    )
    command = _command(names, {
        "--data": data, "--sweep": sweep, "--codecs": codecs, "--perturb": perturb, "--also": also, "--limit": limit,
        "--no-cost": not cost, "--rounds": rounds if rounds != 5 else None, "--threads": threads,
        "--device": device if device != "auto" else None, "--dtype": dtype if dtype != "float32" else None, "--out": out,
        "--page": page, "--show": show,
    })  # fmt: skip
    found = run(names, data, settings=settings, out=out, codecs=codecs, command=command, progress=True)
    if page is not None:
        _write_page([found], page, show or found.first_files(data), device=settings.device, command=command)
    print(json.dumps(found.as_json(), indent=1) if as_json else found.text())
    if not found.complete:
        raise typer.Exit(1)


def _page(folders: list[str], page: Path, show: list[str] | None, *, device: str) -> None:
    """Write the page of benches that were written into folders."""
    from ..codecs.devices import pick_device
    from ..zoo.bench import Bench

    command = _command(folders, {"--show": show, "--device": device if device != "auto" else None, "--page": page})
    _write_page([Bench.read(f) for f in folders], page, show or [], device=str(pick_device(device)), command=command)


def _write_page(found: list[Any], page: Path, show: list[str], *, device: str, command: str) -> None:
    from ..zoo.bench.page import write

    path = write(found, page, show=show, device=device, command=command, progress=True)
    print(f"page: {path}", file=sys.stderr)


def _command(names: list[str], flags: dict[str, Any]) -> str:
    """The command line that these arguments stand for, without flags that are empty."""
    words = ["tokenzoo", "bench", *names]
    for flag, value in flags.items():
        values = value if isinstance(value, list) else [value]
        words += [word for one in values if one for word in ([flag] if one is True else [flag, str(one)])]
    return shlex.join(words)


def _exactness(names: list[str], data: list[str], *, limit: int, device: str, threads: int, out: Path | None, as_json: bool) -> None:
    """Print for each tokenizer how many ids change in other ways of encoding, and write `exactness.json` into `out`."""
    import torch

    from ..codecs.files import write_text
    from ..codecs.token_checks import is_clips
    from ..zoo.bench import exactness
    from ..zoo.bench.settings import corpus_of
    from ..zoo.bench.worker import machine

    if threads:
        torch.set_num_threads(threads)
    made, parts = [], []
    for name in names:
        tokenizer = load_model(name, device=device)
        corpus = corpus_of(data, tokenizer.spec.modality, limit, films=is_clips(tokenizer))
        facts = machine(tokenizer.device, "float32")
        found, failed = exactness.of_corpus(tokenizer, corpus)
        made.append(exactness.as_json(name, found, corpus, facts, failed))
        lines = [f"failed: {file}: {reason}" for file, reason in failed.items()]
        parts.append("\n".join([exactness.text(name, found, exactness.about(corpus, data, facts)), *lines]))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "exactness.json", json.dumps(made, indent=1) + "\n")
    print(json.dumps(made, indent=1) if as_json else "\n\n".join(parts))
    if any(one["failed"] for one in made):
        raise typer.Exit(1)
