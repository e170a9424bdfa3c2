"""`python -m tokenzoo.train CONFIG [key=value ...]`; under `accelerate launch` or `torchrun` on several devices."""

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# Read when torch loads: threads that wait sleep instead of spinning. On a machine that does other work too, spinning
# makes a step of two threads ten times slower than a step of one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from ..codecs.config import ConfigError
from .config import RunConfig
from .files import NotValidated, bundled_rows, load_run

if TYPE_CHECKING:
    from .pretrained import Pretrained

#: The bundled run that trains a loaded tokenizer on, by modality.
FINE_TUNE = {"audio": "audio/fine-tune", "image": "image/fine-tune"}


def main(arguments: Sequence[str], *, source: str | None = None, dry: bool = False, debug: bool = False) -> int:
    """Train with the run file and overrides in the arguments.

    Args:
        arguments: a run file or its name, then overrides; with `source` the run file may be left out.
        source: the tokenizer to train on, as `init` names it: its family, config and weights take the place of the run's `model`.
        dry: build everything, take one step on noise, and print what the run is and needs.
        debug: raise errors instead of printing them.

    Returns:
        The exit code: 0; 1 after an error; 2 for a wrong run file or none; 130 after a second Ctrl-C.
    """
    if (not arguments and not source) or (arguments and arguments[0] in ("-h", "--help")):
        print(usage())
        return 0 if arguments else 2
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", NotValidated)
            warnings.showwarning = lambda message, *rest, **named: print(f"warning: {message}", file=sys.stderr)
            config, init = _run_of(arguments, source)
        if dry:
            from .dry_run import dry_run

            facts = dry_run(config, init=init)
            width = max(map(len, facts))
            print("\n".join(f"{name:{width}}  {value}" for name, value in facts.items()))
            return 0
        from .loop import train

        result = train(config, init=init)
    except (ValueError, OSError, ArithmeticError) as error:  # a wrong config, an unreachable hub, a full disk, a loss that is NaN
        if debug:
            raise
        print(f"{'stopped' if isinstance(error, ArithmeticError) else 'error'}: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:  # the loop has logged what is saved
        return 130
    print(result.model)
    return 0


def _run_of(arguments: Sequence[str], source: str | None) -> "tuple[RunConfig, Pretrained | None]":
    """The run that the arguments of `main` describe, and the weights that it starts from, where they had to be read for that."""
    if source is None:
        return load_run(arguments[0], arguments[1:]), None
    init = None
    if arguments and ("=" not in arguments[0] or Path(arguments[0]).is_file()):
        name, overrides = arguments[0], arguments[1:]
    else:
        from .pretrained import open_pretrained

        init = open_pretrained(source)
        modality, overrides = init.modality, arguments
        if modality not in FINE_TUNE:
            raise ConfigError(f"{source!r} takes {modality} media; name a run file with data and losses for these.")
        name = FINE_TUNE[modality]
    config = load_run(name, [f"init={source}", "model=from_init", *overrides])
    return config, init if config.init == source else None


def usage() -> str:
    """Usage, and every bundled run with its purpose."""
    rows = "\n".join(f"  {row}" for row in bundled_rows())
    return (
        "tokenzoo train CONFIG [KEY=VALUE ...]     for example: tokenzoo train image/convnet-debug data.train=photos steps=100\n\n"
        "CONFIG is a YAML file of your own (its `base:` may name a bundled one), or one of these bundled runs. A `-debug` run takes\n"
        f"a minute and shows that all works.\n\n{rows}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
