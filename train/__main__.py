"""`python -m tokenzoo.train CONFIG [key=value ...]`; under `accelerate launch` or `torchrun` on several devices."""

import os
import sys
from collections.abc import Sequence

# Read when torch loads: threads that wait sleep instead of spinning. On a machine that does other work too, spinning
# makes a step of two threads ten times slower than a step of one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from ..codecs.config import ConfigError
from .files import bundled_names, bundled_purpose, load_run


def main(arguments: Sequence[str], *, debug: bool = False) -> int:
    """Train with the run file and overrides in the arguments.

    Args:
        arguments: a run file or its name, then overrides.
        debug: raise errors instead of printing them.

    Returns:
        The exit code: 0; 1 after an error; 2 for a wrong run file or none; 130 after a second Ctrl-C.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    try:
        config = load_run(arguments[0], arguments[1:])
        from .loop import train

        result = train(config)
    except (ValueError, OSError, ArithmeticError) as error:  # a wrong config, an unreachable hub, a full disk, a loss that is NaN
        if debug:
            raise
        print(f"{'stopped' if isinstance(error, ArithmeticError) else 'error'}: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:  # the loop has logged what is saved
        return 130
    print(result.model)
    return 0


def usage() -> str:
    """Usage, and every bundled run with its purpose."""
    names = bundled_names()
    width = max(len(n) for n in names)
    rows = "\n".join(f"  {name:{width}}  {bundled_purpose(name)}" for name in names)
    return (
        "tokenzoo train CONFIG [KEY=VALUE ...]     for example: tokenzoo train image/convnet-debug data.train=photos steps=100\n\n"
        "CONFIG is a YAML file of your own (its `base:` may name a bundled one), or one of these bundled runs. A `-debug` run takes\n"
        f"a minute and shows that all works.\n\n{rows}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
