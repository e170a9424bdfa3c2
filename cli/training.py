"""Subcommands that make tokenizers: train, quantize."""

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from .arguments import Device, Dtype, Folder, Limit, load_model
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
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="A continuous autoencoder or another tokenizer; left out with --features."),
    ] = None,
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILES", help="Media to fit to: files, folders, patterns, .txt lists.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the new tokenizer.", show_default=False)] = None,
    features: Annotated[
        str | None,
        typer.Option(metavar="MODEL:LAYERS", help="Speech units of a model of transformers: facebook/hubert-base-ls960:6, or :6,9."),
    ] = None,
    centres: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="With --features: published centres, one file for each layer; nothing is fitted."),
    ] = None,
    quantizer: Annotated[
        str | None, typer.Option(metavar="KIND", help="kmeans, anchors or additive_vq. Default: levels; with --features kmeans.")
    ] = None,
    codebook: Annotated[int, typer.Option(min=1, metavar="V", help="Number of codes of kmeans, anchors, additive_vq.")] = 500,
    levels: Annotated[int, typer.Option(min=2, help="Number of levels of each latent channel.")] = 64,
    sigmas: Annotated[float, typer.Option(help="Range of the levels around the mean, in standard deviations to each side.")] = 3.0,
    include_model: Annotated[
        bool, typer.Option("--include-model", help="With --features: store the speech model's weights, too, not only its name.")
    ] = False,
    limit: Limit = 256,
    device: Device = "auto",
    dtype: Dtype = "float32",
    folder: Folder = None,
) -> None:
    """Make a tokenizer without training: of a continuous autoencoder, or with --features of a speech model."""
    from ..zoo.hub import save_pretrained

    media = [*([model] if model else []), *(files or [])] if features else files or []
    if out is None or (not media and not centres) or (not features and (not model or centres)):
        raise ValueError(
            "write MODEL FILES --out DIR; --features MODEL:LAYERS FILES --out DIR; or --features MODEL:LAYERS --centres FILE --out DIR."
        )
    if centres and (media or quantizer):
        raise ValueError("--centres takes centres as they are: leave out --quantizer and media to fit to.")
    if features and folder is not None:
        raise ValueError(f"--folder holds the files of a name of `tokenzoo list`; write --features {folder}:LAYERS.")
    tokenizer, said = (
        _speech_units(features, media, centres, quantizer, codebook, include_model, limit, device, dtype)
        if features
        else _fitted(str(model), media, quantizer, codebook, levels, sigmas, limit, device, dtype, folder)
    )
    save_pretrained(tokenizer, out)
    print(f"{said}\ntokenzoo.load('file:{out}')")


def _fitted(
    model: str, files: list[str], kind: str | None, codebook: int, levels: int, sigmas: float, limit: int, device: str, dtype: str,
    folder: Path | None,
) -> tuple[Any, str]:  # fmt: skip
    from ..codecs.image.kl_tokens.layouts.diffusers_kl import NotFitted
    from ..zoo.evaluate.run import media_files
    from ..zoo.quantize import quantize as run

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotFitted)  # the levels are fitted below
        unfitted = load_model(model, device=device, dtype=dtype, folder=folder)
    paths = media_files(files, unfitted.spec.modality)
    settings = _quantizer(kind, codebook) if kind else None
    tokenizer, fit = run(unfitted, paths, quantizer=settings, levels=levels, sigmas=sigmas, limit=limit, progress=True)
    return tokenizer, _said(fit) + (f", {100 * fit.outside:.2f} % outside the levels' range" if fit.outside or not kind else "")


def _speech_units(
    features: str, files: list[str], centres: list[Path] | None, kind: str | None, codebook: int, include_model: bool, limit: int,
    device: str, dtype: str,
) -> tuple[Any, str]:  # fmt: skip
    from ..codecs.devices import pick_device, pick_dtype
    from ..zoo.evaluate.run import media_files
    from ..zoo.progress import waiting
    from ..zoo.quantize import quantize as run
    from ..zoo.units import unfitted_units, with_centres

    paths = [] if centres else media_files(files, "audio")
    with waiting(f"loading {features}"):
        unfitted = unfitted_units(features, quantizer=_quantizer(kind or "kmeans", codebook), include_model=include_model)
    unfitted = unfitted.to(pick_device(device), pick_dtype(dtype))
    if centres:
        tokenizer = with_centres(unfitted, centres)
        return tokenizer, f"{tokenizer.spec.num_codebooks} x {tokenizer.spec.vocab_sizes[0]} centres"
    tokenizer, fit = run(unfitted, paths, limit=limit, progress=True)
    return tokenizer, _said(fit)


def _quantizer(kind: str, codebook: int) -> Any:
    """Settings of a quantizer that is fitted, with `codebook` codes."""
    from ..codecs.quantizers.additive_vq import AdditiveVQConfig
    from ..codecs.quantizers.anchors import AnchorsConfig
    from ..codecs.quantizers.kmeans import KMeansConfig

    fitted = {"kmeans": KMeansConfig, "anchors": AnchorsConfig, "additive_vq": AdditiveVQConfig}
    if kind not in fitted:
        raise ValueError(f"--quantizer is {kind!r}; allowed: {', '.join(fitted)}.")
    return fitted[kind](codebook_size=codebook)


def _said(fit: Any) -> str:
    error = f"error of latents {fit.latent_snr_db:.1f} dB below them"
    return f"{fit.items} media, {fit.positions:,} positions: {error}, mean square {fit.error:.4g}"
