"""What the command `tokenzoo tokenize` does with its arguments."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...codecs.config import from_mapping
from .bulk import report, tokenize
from .files import read_json
from .options import Options, Pace


def run_tokenize(
    name: str, source: list[str], out: Path, options: Mapping[str, Any], pace: Mapping[str, Any], **where: Any
) -> bool:
    """Run a job and print what came of it; True where items failed."""
    options = dict(options)
    if (options["packing"] or "").endswith(".json"):
        options["packing"] = read_json(Path(options["packing"]))
    result = tokenize(name, source, out, options=from_mapping(Options, options), pace=from_mapping(Pace, pace), **where)
    print(report(result), file=sys.stderr if result.failures else sys.stdout)
    return bool(result.failures)
