"""Plain tables for terminals, pipes and files: a line a row, nothing cut, nothing wrapped, whatever the width."""

from collections.abc import Collection, Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> str:
    """Rows under their header, columns two spaces apart.

    Args:
        header: a word or two for each column.
        rows: cells, as many as the header has; "" is shown as "-".
        right: numbers of the columns that are set to the right, as figures are.
    """
    cells = [[str(c) for c in header], *([str(c) or "-" for c in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = ("  ".join(c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths))) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def facts_table(rows: dict[str, str], *, indent: str = "") -> str:
    """`name  value` lines, values below each other."""
    width = max(map(len, rows), default=0)
    return "\n".join(f"{indent}{key:{width}}  {value}".rstrip() for key, value in rows.items())


def counted(number: int, one: str, many: str = "") -> str:
    """`1 shard`, `2 shards`: a number with the word that fits it."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
