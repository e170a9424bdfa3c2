"""Values of rows and columns for each cell of a grid. Run: pytest tests/codecs/layers/test_grid_cells.py"""

import pytest
import torch
from tokenzoo.codecs.layers.grid_cells import of_cells


@pytest.mark.parametrize("rest", [(), (4,)])
def test_cells_row_by_row(rest):
    rows, columns = torch.randn(2, *rest), torch.randn(3, *rest)
    above, beside = of_cells(rows, columns)
    assert torch.equal(above, rows.repeat_interleave(3, dim=0))
    assert torch.equal(beside, columns.repeat(2, *(1 for _ in rest)))
