"""What a mechanism does, as a line of figures: printed, and collected by `benchmarks/mechanisms.py`."""

import json
import os

#: Names the file to which `effect` adds a line of JSON.
FILE = "TOKENZOO_EFFECTS"


def effect(name: str, figure: str, *, with_: float, without: float) -> None:
    """Print what a mechanism does, and add it to the file named by the environment variable `TOKENZOO_EFFECTS`, if any.

    Args:
        name: the mechanism.
        figure: what was measured, and where.
        with_, without: the figure of the run with the mechanism, and of the same run without it.
    """
    row = {"effect": name, "figure": figure, "with": float(with_), "without": float(without)}
    print(f"{name}: {figure}: {row['with']:.4g} with, {row['without']:.4g} without")
    if path := os.environ.get(FILE):
        test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
        with open(path, "a") as f:
            f.write(json.dumps(row | {"test": test}) + "\n")
