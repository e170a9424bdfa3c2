"""Subcommands that make tokenizers: train, quantize."""

import warnings
from pathlib import Path
from typing import Annotated

import typer

from .arguments import Device, Dtype, Files, Folder, Limit, Model, load_model
from .errors import debugging


def train(
    config: Annotated[
        str | None,
        typer.Argument(metavar="CONFIG", help="A YAML file, or a bundled run by name; none: list them.", show_default=False),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings to change, e.g. data.train=DIR steps=1000.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="MODEL", help="Train this tokenizer on: a name, org/repo, file:FOLDER, a run's folder."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Build all parts, take one step on noise, print shapes, parameters and memory.")
    ] = False,
) -> None:
    """Train a tokenizer; the same command resumes a run that was stopped."""
    from ..train.__main__ import main as run

    raise typer.Exit(run([*([config] if config else []), *(overrides or [])], source=source, dry=dry_run, debug=debugging()))


def configs(
    name: Annotated[
        str | None,
        typer.Argument(metavar="CONFIG", help="A bundled run, or a YAML file; none: list the bundled ones.", show_default=False),
    ] = None,
    overrides: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings to change.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write it there, as a start for your own.")] = None,
) -> None:
    """List the bundled runs; show one with all that it takes from its bases, or write it to a file."""
    from ..codecs.files import write_text
    from ..train.files import bundled_rows, resolved

    if name is None:
        print("\n".join(bundled_rows()))
        return
    text = resolved(name, overrides or [])
    if out is None:
        print(text, end="")
        return
    if out.exists():
        raise FileExistsError(f"{out} is there already; name another file, or delete it.")
    write_text(out, text)
    print(f"tokenzoo train {out}")


def quantize(
    model: Model,
    files: Files,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new tokenizer.")],
    levels: Annotated[int, typer.Option(min=2, help="Number of levels of each latent channel.")] = 64,
    sigmas: Annotated[float, typer.Option(help="Range of the levels around the mean, in standard deviations to each side.")] = 3.0,
    limit: Limit = 256,
    device: Device = "auto",
    dtype: Dtype = "float32",
    folder: Folder = None,
) -> None:
    """Make a tokenizer of a continuous autoencoder without training: each channel of its latents is rounded to levels."""
    from ..codecs.image.kl_tokens.layouts.diffusers_kl import NotFitted
    from ..zoo.evaluate.run import media_files
    from ..zoo.hub import save_pretrained
    from ..zoo.quantize import quantize as run

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotFitted)  # the levels are fitted below
        unfitted = load_model(model, device=device, dtype=dtype, folder=folder)
    tokenizer, fit = run(unfitted, media_files(files, unfitted.spec.modality), levels=levels, sigmas=sigmas, limit=limit, progress=True)
    save_pretrained(tokenizer, out)
    print(
        f"{fit.items} media, {fit.positions:,} positions: error of latents {fit.latent_snr_db:.1f} dB below them, "
        f"{100 * fit.outside:.2f} % outside the levels' range\ntokenzoo.load('file:{out}')"
    )
