"""Every snippet of `codecs/quantizers/README.md` runs, and what its comments claim holds."""

import ast
import re
from pathlib import Path

import pytest
import tokenzoo.codecs.quantizers as quantizers
import torch

PAGE = Path(quantizers.__file__).with_name("README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
CLAIM = re.compile(r"  # ([\[(]?[\d'].*|\[.*\]|\(.*\))$")


def test_every_kind_has_a_section():
    sections = set(re.findall(r"^### `(\w+)`", PAGE, flags=re.MULTILINE))
    assert sections == set(quantizers.QUANTIZERS.names())


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda s: (re.findall(r'build\("(\w+)"', s) or ["?"])[0])
def test_snippet(snippet):
    """Runs line by line; `x  # [2, 3]` claims the shape of x, `x  # 5` its value."""
    torch.manual_seed(0)
    assert len(snippet.strip().splitlines()) <= 11
    names: dict = {}
    claims = 0
    for node in ast.parse(snippet).body:
        line = snippet.splitlines()[node.end_lineno - 1]
        source = ast.get_source_segment(snippet, node)
        claim = CLAIM.search(line)
        if not (isinstance(node, ast.Expr) and claim):
            exec(source, names)
            continue
        value, claims = eval(source, names), claims + 1
        expected = ast.literal_eval(claim[1])
        assert (list(value.shape) if isinstance(value, torch.Tensor) else value) == expected, line
    assert claims >= 1, "a snippet must state a shape"
