"""The command `tokenzoo` in this process, and what it printed."""

import contextlib
import io
from dataclasses import dataclass

import tokenzoo
import torch
from families import TINY
from tokenzoo import cli


@dataclass(frozen=True)
class Ran:
    """Exit code, standard output and error output of one command."""

    code: int
    out: str
    err: str


def run(*words: object) -> Ran:
    """`tokenzoo WORDS ...`, as a shell would run it."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main([str(w) for w in words])
        except SystemExit as end:
            code = int(end.code or 0)
    return Ran(code, out.getvalue(), err.getvalue())


def saved(label: str, folder: object) -> str:
    """A tiny tokenizer of `families.TINY` as a folder; its name for commands."""
    torch.manual_seed(0)
    return str(tokenzoo.save_pretrained(tokenzoo.build_tokenizer(*TINY[label]), str(folder)))
