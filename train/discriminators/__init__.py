"""Discriminators by name. A new one is one file here and one line in this table."""

# kind -> "module:config class"
DISCRIMINATORS: dict[str, str] = {}


def kinds() -> tuple[str, ...]:
    """All names that `discriminators: {NAME: {kind: ...}}` takes."""
    return tuple(sorted(DISCRIMINATORS))
