"""The command `tokenzoo` and its subcommands, in the order in which `--help` shows them."""

from typing import Annotated

import typer

from . import corpora, exporting, measuring, media, models, training
from .errors import ended

_HELP = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="tokenzoo",
    help="Discrete tokenizers of images and audio: load, encode, decode, train, evaluate.",
    epilog="An error is one or two lines; --debug, anywhere in a command, or TOKENZOO_DEBUG=1 shows its traceback.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=_HELP,
)
corpus = typer.Typer(
    help="Check a token corpus, print statistics of it, fit a prior or merges to it, or write generated ids.",
    no_args_is_help=True,
    context_settings=_HELP,
)
data = typer.Typer(help="Build the training data of the shipped models.", no_args_is_help=True, context_settings=_HELP)

_USE, _MANY, _MAKE = "Use a tokenizer", "Many media at once", "Make and publish a tokenizer"
_VERBS = {
    _USE: {
        "list": models.list_models,
        "info": models.info,
        "encode": media.encode,
        "decode": media.decode,
        "reconstruct": media.reconstruct,
        "eval": measuring.evaluate,
        "bench": measuring.bench,
        "demo": media.demo,
    },
    _MANY: {"tokenize": corpora.tokenize, "lm": corpora.lm},
    _MAKE: {
        "train": training.train,
        "configs": training.configs,
        "quantize": training.quantize,
        "push": models.push,
        "export": exporting.export,
    },
}
for _panel, _verbs in _VERBS.items():
    for _name, _verb in _verbs.items():
        app.command(_name, rich_help_panel=_panel)(ended(_verb, only_prints=_name in ("list", "info")))
app.add_typer(corpus, name="corpus", rich_help_panel=_MANY)
app.add_typer(data, name="data", rich_help_panel=_MAKE)
corpus.command("verify")(ended(corpora.verify_corpus))
corpus.command("stats")(ended(corpora.corpus_stats))
corpus.command("bpe")(ended(corpora.learn_merges))
corpus.command("prior")(ended(corpora.fit_prior))
corpus.command("generate")(ended(corpora.generate_ids))
corpus.command("push")(ended(corpora.push_tokens))
data.command("build")(ended(corpora.build_data))


def _version(value: bool) -> None:
    if value:
        from .. import __version__

        print(f"tokenzoo {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", "-V", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options of `tokenzoo` itself. Nothing runs here: `--version` has a callback, and `cli/errors.py` looks for `--debug`."""
