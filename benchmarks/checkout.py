"""Makes this checkout importable as `tokenzoo` where it is not installed; importing this file does it."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

if importlib.util.find_spec("tokenzoo") is None:
    _found = importlib.util.spec_from_file_location("tokenzoo", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    assert _found is not None and _found.loader is not None
    sys.modules["tokenzoo"] = importlib.util.module_from_spec(_found)
    _found.loader.exec_module(sys.modules["tokenzoo"])
