"""`python -m tokenzoo.train CONFIG [key=value ...]`; under `accelerate launch` or `torchrun` on several devices."""

import os
import sys

# Read when torch loads: threads that wait sleep instead of spinning. On a machine that does other work too, spinning
# makes a step of two threads ten times slower than a step of one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from ..codecs.config import ConfigError
from .files import bundled, load_run


def main(arguments: list[str]) -> int:
    """Train as the arguments say; returns the exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"{__doc__}\n\nBundled configs: {', '.join(bundled())}")
        return 0 if arguments else 2
    try:
        config = load_run(arguments[0], arguments[1:])
        from .finite import NonFiniteLoss
        from .loop import train

        try:
            result = train(config)
        except NonFiniteLoss as error:
            print(f"stopped: {error}", file=sys.stderr)
            return 1
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(result.model)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
