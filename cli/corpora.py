"""Subcommands for many media at once: tokenize, corpus, data, lm."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .arguments import (
    Branch,
    Codebooks,
    Device,
    Dtype,
    Folder,
    Json,
    Licence,
    Limit,
    Model,
    Out,
    Pairs,
    Positions,
    Private,
    load_model,
    pairs_of,
)

Tokens = Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder that `tokenzoo tokenize` wrote.", show_default=False)]
Source = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE", help="Folders, patterns, .tar (WebDataset), .parquet, .txt lists, hub:org/name.", show_default=False
    ),
]


def tokenize(
    model: Model,
    source: Source,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the corpus; made if missing; a job in it is resumed.")],
    format: Annotated[str, typer.Option(help="parquet, tar, megatron or flat.")] = "parquet",
    shard_mb: Annotated[float, typer.Option(help="Size of a shard, in MiB of ids.")] = 256.0,
    shard_items: Annotated[int, typer.Option(help="Most items in a shard (0: no limit).")] = 0,
    codebooks: Codebooks = None,
    positions: Positions = None,
    option: Pairs = None,
    packing: Annotated[str | None, typer.Option(help="megatron, flat: a pattern, or a packing.json.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes (0: only this one; default: one for each core or GPU).")] = None,
    readers: Annotated[int, typer.Option(help="Threads of each worker that read and decode media.")] = 2,
    engine: Annotated[str, typer.Option(help="local, or ray.")] = "local",
    device: Device = "auto",
    dtype: Dtype = "float32",
    folder: Folder = None,
    batch: Annotated[float, typer.Option(help="Million pixels or samples in a batch (0: chosen by device).")] = 0.0,
    unit_items: Annotated[int, typer.Option(help="Items in a unit of work, the most that a worker loses in a crash.")] = 256,
    max_pixels: Annotated[int, typer.Option(help="Larger pictures are listed as failures.")] = 100_000_000,
    max_seconds: Annotated[float, typer.Option(help="Longer sounds are listed as failures.")] = 14400.0,
    allow_paths: Annotated[bool, typer.Option("--allow-paths", help="Read media files that tables name by path.")] = False,
    column: Annotated[str | None, typer.Option(help="Column of a table that holds the media.")] = None,
    split: Annotated[str, typer.Option(help="Split of a hub data set.")] = "train",
    config: Annotated[str | None, typer.Option(help="Configuration of a hub data set.")] = None,
    revision: Annotated[str | None, typer.Option(help="Revision of the model on the hub.")] = None,
) -> None:
    """Turn a source of media into shards of tokens; the same command resumes a job that was stopped."""
    from ..codecs.config import from_mapping
    from ..codecs.devices import dtype_name, pick_device
    from ..zoo.corpus.bulk import report
    from ..zoo.corpus.bulk import tokenize as run
    from ..zoo.corpus.files import read_json
    from ..zoo.corpus.options import Options, Pace

    options = {"format": format, "shard_mb": shard_mb, "shard_items": shard_items, "codebooks": codebooks}
    document = read_json(Path(packing)) if packing is not None and packing.endswith(".json") else packing
    options |= {"packing": document, "encode": pairs_of(option)}
    options |= {"positions": positions, "device": str(pick_device(device)), "dtype": dtype_name(dtype), "batch": batch}
    options |= {"unit_items": unit_items, "max_pixels": max_pixels, "max_seconds": max_seconds, "allow_paths": allow_paths}
    pace = {"workers": workers, "readers": readers, "engine": engine}
    where = {"column": column, "split": split, "config": config, "revision": revision}
    tokenizer = load_model(model, device=device, dtype=dtype, folder=folder) if folder else model
    result = run(tokenizer, source, out, options=from_mapping(Options, options), pace=from_mapping(Pace, pace), **where)
    print(report(result), file=sys.stderr if result.failures else sys.stdout)
    if result.failures:
        raise typer.Exit(1)


def verify_corpus(folder: Tokens, as_json: Json = False) -> None:
    """Check every file of a token corpus against its manifest."""
    from ..zoo.corpus.check import verify

    wrong = verify(folder)
    if as_json:
        print(json.dumps({"folder": str(folder), "whole": not wrong, "problems": wrong}, indent=1))
    else:
        for line in wrong:
            print(line, file=sys.stderr)
    if wrong:
        raise typer.Exit(1)
    if not as_json:
        print(f"{folder}: all files match the manifest")


def corpus_stats(
    folder: Tokens,
    language: Annotated[bool, typer.Option("--language", help="Statistics of the ids as a language instead.")] = False,
    against: Annotated[
        Path | None, typer.Option("--against", metavar="OTHER", help="Another corpus by the same tokenizer: drift, perplexity on it.")
    ] = None,
    text: Annotated[Path | None, typer.Option("--text", metavar="FILE", help="A text whose figures stand beside.")] = None,
    text_as: Annotated[str, typer.Option("--text-as", metavar="UNIT", help="bytes, or words between white space.")] = "bytes",
    lm: Annotated[Path | None, typer.Option("--lm", metavar="RUN", help="Folder of a `tokenzoo lm` on FOLDER: its perplexity.")] = None,
    plots: Annotated[Path | None, typer.Option("--plots", metavar="DIR", help="Write the curves there as PNG files.")] = None,
    packing: Annotated[
        str | None, typer.Option(metavar="NAME", help="Count the steps of this pattern, or packing.json, too; not with --language.")
    ] = None,
    limit: Limit = 0,
    as_json: Json = False,
) -> None:
    """Print statistics of a token corpus: rates, bits, entropy, codebook use; with --language those of its ids as a language."""
    if not language:
        given = {"--against": against, "--text": text, "--lm": lm, "--plots": plots, "--limit": limit or None}
        if extra := [flag for flag, value in given.items() if value is not None]:
            raise ValueError(f"{', '.join(extra)} belongs to the statistics of a language; add --language.")
        from ..zoo.corpus.check import stats

        found = stats(folder, packing=packing)
        print(json.dumps(asdict(found), indent=1) if as_json else found.table())
        return
    if packing is not None:
        raise ValueError("--packing belongs to the plain statistics; leave --language out.")
    from ..zoo.corpus.language.plots import write_plots
    from ..zoo.corpus.language.report import language as measure

    figures = measure(folder, against=against, text=text, text_unit=text_as, lm=lm, limit=limit, progress=True)
    print(json.dumps(figures.as_json(), indent=1) if as_json else figures.table())
    if plots is not None:
        print(f"{plots}: {', '.join(p.name for p in write_plots(figures, plots))}", file=sys.stderr)


def fit_prior(
    folder: Tokens,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")] = Path("tokens.prior"),
    name: Annotated[str, typer.Option(help="What token files call it (default: the tokenizer's name).")] = "",
    rank: Annotated[int, typer.Option(help="Numbers of each vector of the model; the file grows with it.")] = 16,
    epochs: Annotated[int, typer.Option(help="Times that the ids are trained on.")] = 2,
    ids: Annotated[int, typer.Option(min=1, help="Ids of each codebook that are trained on, drawn from the corpus.")] = 1_000_000,
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
    as_json: Json = False,
) -> None:
    """Fit a prior of ids to a token corpus, for `tokenzoo encode --prior` and `tokens.save(path, prior=...)`."""
    from ..zoo.corpus.prior import PriorConfig
    from ..zoo.corpus.prior import fit_prior as fit

    out.parent.mkdir(parents=True, exist_ok=True)
    prior, report = fit(folder, name=name, config=PriorConfig(rank=rank, epochs=epochs, most_ids=ids, seed=seed), progress=True)
    prior.save(out)
    if as_json:
        print(json.dumps({"file": str(out), "name": prior.name, "fingerprint": prior.fingerprint, **asdict(report)}, indent=1))
        return
    print(f"{out}: {report.bytes:,} bytes, prior {prior.name!r} ({prior.fingerprint[:8]}), fitted to {report.items:,} items")
    print(f"bits an id, by codebook: {', '.join(f'{b:.2f}' for b in report.bits)}; {report.saving:.1%} less than plain, on this corpus")


def learn_merges(
    folder: Tokens,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, for --packing and TokenDataset.")] = Path("packing.json"),
    merges: Annotated[int, typer.Option(min=1, help="Ids that are added.")] = 4096,
    packing: Annotated[str | None, typer.Option(metavar="NAME", help="Pattern whose steps are merged.")] = None,
    min_frequency: Annotated[int, typer.Option(help="Times that a pair must occur.")] = 2,
    max_span: Annotated[int, typer.Option(help="Ids that a merged one may stand for.")] = 64,
    limit: Annotated[int, typer.Option(min=0, help="Only the first items, this many (0: all).")] = 0,
    as_json: Json = False,
) -> None:
    """Learn byte-pair merges of ids from a token corpus: a packing of fewer steps, with an exact inverse."""
    from ..zoo.corpus.bpe import learn_bpe

    out.parent.mkdir(parents=True, exist_ok=True)
    config, report = learn_bpe(
        folder, merges=merges, packing=packing, min_frequency=min_frequency, max_span=max_span, limit=limit, progress=True
    )
    config.build().save(out)
    if as_json:
        print(json.dumps({"file": str(out), "vocab_size": config.vocabulary.size, **asdict(report)}, indent=1))
        return
    before, after = (n / report.items for n in (report.before, report.after))
    print(f"{out}: {report.merges:,} merges over {config.pattern}, of up to {report.longest} ids; {config.vocabulary.size:,} ids")
    print(f"steps an item: {before:,.1f} before, {after:,.1f} after merging, {1 - after / before:.1%} less, on this corpus")


def generate_ids(
    language_model: Annotated[Path, typer.Argument(metavar="LM", help="A folder that `tokenzoo lm` wrote.", show_default=False)],
    folder: Tokens,
    out: Out,
    keep: Annotated[float, typer.Option(help="Share of positions that keep their true ids.")] = 0.7,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest id.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Draw among this many likeliest ids (0: among all).")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    batch: Annotated[int, typer.Option(help="Items that go through the model together.")] = 32,
    limit: Annotated[int, typer.Option(help="Only the first items, this many (0: all).")] = 0,
    device: Device = "auto",
) -> None:
    """Write ids as a language model draws them beside those of a corpus, to train a decoder on (needs transformers)."""
    from ..codecs.devices import pick_device
    from ..zoo.corpus.generated import GeneratedConfig, generate

    config = GeneratedConfig(keep=keep, temperature=temperature, top_k=top_k, seed=seed, batch=batch)
    made = generate(language_model, folder, out, config=config, device=pick_device(device), limit=limit)
    print(f"{out}: ids of {made.items} items, of which {made.changed:.1%} are not the true ones")


def push_tokens(
    folder: Tokens,
    repo_id: Annotated[str, typer.Argument(metavar="REPO", help="org/name of the data set on the hub.", show_default=False)],
    licence: Licence = "",
    source: Annotated[
        list[str] | None, typer.Option("--source", metavar="ID", help="Hub id of a data set that the media come from. Repeatable.")
    ] = None,
    private: Private = False,
    revision: Branch = None,
) -> None:
    """Publish a token corpus as a data set of the hub; the same command resumes one that was stopped."""
    from ..zoo.corpus.publish import push_corpus

    if not licence:
        raise ValueError("the licence of the tokens, and so of their media, must be stated: --licence cc-by-4.0, for example.")
    print(push_corpus(folder, repo_id, licence=licence, sources=source or (), private=private, revision=revision, progress=True))


def build_data(
    name: Annotated[str, typer.Argument(metavar="NAME", help="photos, pages, speech or music.", show_default=False)],
    out: Out = Path("data"),
    cache: Annotated[Path, typer.Option(help="Folder that keeps downloaded packages between runs.")] = Path("data/cache"),
    workers: Annotated[int, typer.Option(min=1, help="Number of processes that decode.")] = 2,
    offline: Annotated[bool, typer.Option("--offline", help="Use only what the cache holds.")] = False,
    any_version: Annotated[bool, typer.Option("--any-version", help="Accept other versions of packages than the pinned ones.")] = False,
) -> None:
    """Build one of the project's training corpora from the software packages that hold its media."""
    from ..zoo.training_data import build, report

    print(report(build(name, out, cache=cache, workers=workers, offline=offline, strict=not any_version, progress=True)))


def lm(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file, or a bundled one: lm/speech, lm/photos, ...")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings to change, e.g. steps=1000.")] = None,
) -> None:
    """Train a small language model on tokens, measure it, sample from it and decode the samples (needs transformers)."""
    from ..zoo.corpus.lm import main as run

    run(config, overrides or [])
