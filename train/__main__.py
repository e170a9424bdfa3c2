"""`python -m tokenzoo.train CONFIG [key=value ...]`; under `accelerate launch` or `torchrun` on several devices."""

import sys

from ..codecs.config import ConfigError
from .files import bundled, load_run


def main(arguments: list[str]) -> int:
    """Train as the arguments say; returns the exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"{__doc__}\n\nBundled configs: {', '.join(bundled())}")
        return 0 if arguments else 2
    try:
        config = load_run(arguments[0], arguments[1:])
        from .loop import NonFiniteLoss, train

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
