"""What `pytest --quick` runs: under a minute, and enough to see that nothing common is broken. Used by conftest.py.

Of tests over all families and all kinds it takes a handful; whoever works on one of the others adds `-k NAME` to the whole.
"""

from pathlib import Path

#: Of the tests over all families these forms: one of each modality and of each kind of network.
LABELS = ("convnet", "vqgan", "titok", "encodec", "dac", "mimi", "latent")

#: How these stand in the names of tests.
_FORMS = tuple(f"{before}{label}{after}" for label in LABELS for before, after in (("[", "]"), ("[", "-torch")))

#: Folder or file below `tests/` -> what the names of its tests contain; (): all of them.
WHERE: dict[str, tuple[str, ...]] = {
    "test_contract.py": (*_FORMS, "every_family"),
    "test_half_precision.py": _FORMS,
    "test_tests.py": (),
    "codecs/quantizers": ("plain_reference", "numpy_reference"),
    "codecs/layers": (),
    "codecs/test_tokens.py": (),
    "codecs/test_config.py": (),
    "codecs/test_kinds.py": (),
    "train/losses": (),
    "train/test_config.py": (),
    "cli/test_common.py": (),
}


def names_in(path: Path) -> tuple[str, ...] | None:
    """What names of tests in the file `path` contain that run; (): all; None: none does."""
    own = path.relative_to(Path(__file__).parent).as_posix()
    found = [names for where, names in WHERE.items() if own == where or own.startswith(f"{where}/")]
    return found[0] if found else None
