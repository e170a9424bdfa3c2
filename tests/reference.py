"""Reference outputs of the authors' implementations: some stand in `tests/goldens/`, all in the folder TOKENZOO_GOLDENS names."""

import os
from pathlib import Path

import pytest

SHIPPED = Path(__file__).parent / "goldens"


def reference_folder(modality: str, system: str) -> Path:
    """The folder of `system`, or a skipped test that says what is missing."""
    roots = [SHIPPED] + ([Path(os.environ["TOKENZOO_GOLDENS"])] if os.environ.get("TOKENZOO_GOLDENS") else [])
    for root in roots:
        if (root / modality / system / "io.safetensors").is_file():
            return root / modality / system
    pytest.skip(f"no reference outputs of {system} here; set TOKENZOO_GOLDENS to the folder that holds {modality}/{system}")


def load_io(folder: Path) -> dict:
    """The stored tensors by name."""
    from safetensors.torch import load_file

    return load_file(folder / "io.safetensors")
