"""What docs/serving.md shows runs as it stands. Run: pytest tests/zoo/export/test_serving.py"""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import tokenzoo
import torch
from cli_runs import run

PAGE = (Path(tokenzoo.__file__).parent / "docs/serving.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)
COMMANDS = [shlex.split(line) for block in re.findall(r"```bash\n(.*?)```", PAGE, re.S) for line in block.splitlines()]


def test_halves_and_precision():
    names: dict = {}
    for block in BLOCKS[:2]:
        exec(block, names)
    assert names["waveforms"].shape == (3, 1, 16000)
    mixed = names["mixed"]
    assert {p.dtype for p in mixed.encoder.parameters()} == {torch.float32}
    assert {p.dtype for p in mixed.decoder.parameters() if p.is_floating_point()} == {torch.bfloat16}


@pytest.mark.slow
def test_streams():
    """With the published sizes and random weights."""
    names: dict = {"torch": torch, "tokenzoo": tokenzoo}
    exec(BLOCKS[2], names)
    assert names["tokens"].lengths.tolist() == [1, 0]
    assert [y.shape[-1] for y in names["samples"]] == [names["frame"], 0]


@pytest.mark.slow
def test_exported_files(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    for program, *words in COMMANDS:
        ran = run(*words)
        assert program == "tokenzoo" and ran.code == 0, ran.err
    sound = torch.randn(1, 1, 16007, generator=torch.Generator().manual_seed(0)) * 0.1
    names: dict = {"waveforms": sound}
    exec(BLOCKS[3], names)
    tokens = tokenzoo.load("speech-16khz-4kbps").encode(sound[..., :16000])
    ids = tokens.ids.numpy()
    assert names["ids"].shape == ids.shape and np.mean(names["ids"] != ids) <= 0.01
    decode = torch.export.load("exported/speech-16khz-4kbps-decoder.pt2").module()
    want = tokenzoo.load("speech-16khz-4kbps").decode(tokens)
    assert tokens.scale is not None
    torch.testing.assert_close(decode(tokens.ids, tokens.scale)[0], want, atol=1e-4, rtol=1e-3)
