"""Plain text tables for terminals, pipes and files: one line for each row, never truncated or wrapped."""

from collections.abc import Collection, Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> str:
    """A table as text: the rows under their header, columns two spaces apart.

    Args:
        header: a word or two for each column.
        rows: as many cells each as the header; "" is shown as "-".
        right: indices (from 0) of right-aligned columns, as for numbers.
    """
    cells = [[str(c) for c in header], *([str(c) or "-" for c in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = ("  ".join(c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths))) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; signs that would end a cell are escaped."""
    cells = [[str(c).replace("|", "\\|").replace("\n", " ") for c in row] for row in rows]
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in cells)])


def facts_table(rows: dict[str, str], *, indent: str = "") -> str:
    """One line `name  value` for each entry, with the values aligned."""
    width = max(map(len, rows), default=0)
    return "\n".join(f"{indent}{key:{width}}  {value}".rstrip() for key, value in rows.items())


def counted(number: int, one: str, many: str = "") -> str:
    """A count with its noun in singular or plural: `1 shard`, `2 shards`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
