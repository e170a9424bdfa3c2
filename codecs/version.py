"""The library's version, which is also stored in the files that it writes."""

__version__ = "0.2.0"
