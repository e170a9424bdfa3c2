"""What belongs to rows and columns of a grid, for each of its cells.

    rows, columns = of_cells(torch.arange(2), torch.arange(3))       # 0 0 0 1 1 1 and 0 1 2 0 1 2
"""

from torch import Tensor


def of_cells(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Of each cell, row by row, the value of its row and that of its column: `[h, ...]` and `[w, ...]` to `[h w, ...]` each.

    By broadcasting: an exported graph with a free grid cannot repeat values a free number of times.
    """
    h, w = len(rows), len(columns)
    return (
        rows[:, None].expand(h, w, *rows.shape[1:]).flatten(0, 1),
        columns[None].expand(h, w, *columns.shape[1:]).flatten(0, 1),
    )
