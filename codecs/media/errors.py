"""The error for media that cannot be used: one class, always with the name of the item in the message."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager


class MediaError(ValueError):
    """Media that cannot be read or encoded. The message names the item, and what is allowed or what to do."""


def shown(name: str | os.PathLike[str]) -> str:
    """A name as one line of text that is safe in terminals, logs and tables.

    Control characters, and bytes that are not valid Unicode (of old file systems), are escaped.
    """
    text = os.fspath(name).encode("utf-8", "backslashreplace").decode()
    return re.sub(r"[\x00-\x1f\x7f]", lambda found: repr(found[0])[1:-1], text)


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Context manager: turn any exception of a decoder into a `MediaError` that names the item."""
    try:
        yield
    except MediaError:
        raise
    except MemoryError as error:
        raise MediaError(f"cannot read {name}: it needs more memory than there is.") from error
    except Exception as error:
        raise MediaError(f"cannot read {name}: {reason(error)}") from error


def reason(error: Exception) -> str:
    """An exception as one line of text that is the same in every run: without file descriptors and addresses of objects."""
    text = getattr(error, "error_string", "") or str(error)  # soundfile: without the prefix that names the file object
    if strerror := getattr(error, "strerror", None):
        text = str(strerror)
    kind = type(error).__name__
    return f"{kind}: {' '.join(text.split())}" if text else kind
