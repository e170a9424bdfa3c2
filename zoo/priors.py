"""The priors of ids that ship with the package, each beside the weights of its checkpoint."""

from functools import cache
from importlib import resources

from ..codecs.entropy.prior import Prior
from ..codecs.identity import TokenizerId

#: Name of the file in a checkpoint's folder.
FILE = "tokens.prior"


@cache
def _priors() -> dict[str, Prior]:
    """Checkpoint -> prior, of those that have one."""
    folders = resources.files(__spec__.parent).joinpath("checkpoints").iterdir()
    files = {folder.name: folder.joinpath(FILE) for folder in folders if folder.is_dir()}
    return {name: Prior.from_bytes(file.read_bytes(), f"{name}/{FILE}") for name, file in files.items() if file.is_file()}


def prior_of_maker(tokenizer: TokenizerId | None) -> Prior | None:
    """The shipped prior of the tokens of a tokenizer, whatever name it was loaded by; None if none ships."""
    return next((p for p in _priors().values() if p.tokenizer and TokenizerId(**p.tokenizer) == tokenizer), None)


def shipped_prior(*, checkpoint: str = "", fingerprint: str = "") -> Prior | None:
    """The prior of a checkpoint, by its name or by the prior's fingerprint; None if none ships."""
    priors = _priors()
    return priors.get(checkpoint) if checkpoint else next((p for p in priors.values() if p.fingerprint == fingerprint), None)
