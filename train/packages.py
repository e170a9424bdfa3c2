"""The optional package transformers, which some teachers and losses need."""

import importlib
from types import ModuleType

from ..codecs.config import ConfigError


def transformers_package(who: str) -> ModuleType:
    """Return the package transformers; `who` needs it, for the message.

    Raises:
        ConfigError: the package is not installed.
    """
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise ConfigError(f"{who} needs the package transformers: pip install 'tokenzoo[transformers]'.") from error
