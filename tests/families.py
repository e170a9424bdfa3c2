"""Every registered family in tiny form: what the files `tiny.py` beside the families' tests hold.

A new family adds such a file; `pytest -k LABEL` picks a form.
"""

import importlib
from pathlib import Path

from tiny_parts import FACTORISED

_HERE = Path(__file__).parent

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "latent": ("latent", {"dim": 6, "quantizer": FACTORISED, "alternatives": {"scalar": {"kind": "scalar"}}}),
}

for _file in sorted(_HERE.glob("audio/*/tiny.py")) + sorted(_HERE.glob("image/*/tiny.py")):
    for _label, _form in importlib.import_module(".".join(_file.relative_to(_HERE).with_suffix("").parts)).TINY.items():
        assert _label not in TINY, f"{_file}: the label {_label!r} is taken"
        TINY[_label] = _form
