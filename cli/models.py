"""Subcommands about models: list, info, push."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from .arguments import Branch, Json, Licence, Model, Private


def list_models(
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="A part of a name, family, hub id or description, or a wildcard: 'encodec*'.")
    ] = "*",
    modality: Annotated[str | None, typer.Option(metavar="KIND", help="audio, image or latent (features of a network).")] = None,
    family: Annotated[str | None, typer.Option(metavar="FAMILY", help="Only this family, e.g. dac.")] = None,
    licence: Annotated[str | None, typer.Option("--licence", "--license", metavar="TEXT", help="Part of the weights' licence.")] = None,
    rate: Annotated[str | None, typer.Option(metavar="RATE", help="A sample rate, 24khz, or a bitrate: '<1.5kbps', '>6kbps'.")] = None,
    streamable: Annotated[bool, typer.Option("--streamable", "--causal", help="Only sound that streams.")] = False,
    as_json: Json = False,
) -> None:
    """Show the models of the registry, one in each line."""
    from ..codecs.config import nearest
    from ..zoo import listing, registry

    wanted = registry.list_models(text, modality=modality, family=family, licence=licence, streamable=streamable or None)
    if rate is not None:
        wanted = [c for c in wanted if listing.parse_rate(rate)(c)]
    if as_json:
        print(json.dumps([listing.as_json(c) for c in wanted], indent=1))
    elif wanted:
        print(listing.tables(wanted))
    if not wanted:
        hint = nearest(text.strip("*"), list(registry.cards())) if not registry.list_models(text) else ""
        print(f"no model of the registry fits.{hint}", file=sys.stderr)
        raise typer.Exit(1)


def info(model: Model, as_json: Json = False) -> None:
    """Show what is known of a model: facts, licence, options, metrics with their sources, how parity was checked."""
    from ..zoo.about import about

    found = about(model)
    print(json.dumps(found.as_json(), indent=1) if as_json else found.text())


def push(
    folder: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder that save_pretrained or a training run wrote.")],
    repo_id: Annotated[str, typer.Argument(metavar="REPO", help="org/repo on the hub.")],
    licence: Licence = "",
    base_model: Annotated[
        list[str] | None, typer.Option("--base-model", metavar="ID", help="Hub id of a model that it was made from. Repeatable.")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option("--dataset", metavar="ID", help="Hub id of a data set that it was trained on. Repeatable.")
    ] = None,
    bench: Annotated[
        Path | None, typer.Option("--bench", metavar="FILE", help="A bench.json with figures of it; by default one in MODEL.")
    ] = None,
    samples: Annotated[
        list[str] | None, typer.Option("--sample", metavar="FILE", help="A picture or sound for the card, or 'none'. Repeatable.")
    ] = None,
    private: Private = False,
    revision: Branch = None,
    discriminators: Annotated[
        bool, typer.Option("--discriminators", help="And the discriminators of the run, so that others can train on with them.")
    ] = False,
) -> None:
    """Publish a tokenizer on the hub, with a card that states its licence, figures and samples; a card of yours is kept."""
    from ..zoo.hub import load
    from ..zoo.publishing.push import push_to_hub

    shown = False if samples == ["none"] else samples or None
    judges = folder if discriminators else None
    print(
        push_to_hub(
            load(folder), repo_id, licence=licence, base_models=base_model or (), datasets=dataset or (), bench=bench, samples=shown,
            private=private, revision=revision, discriminators=judges,
        )
    )  # fmt: skip
