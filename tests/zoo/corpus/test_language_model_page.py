"""The blocks of docs/language-models.md, run one after the other. Run: pytest tests/zoo/corpus/test_language_model_page.py"""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tokenzoo
from PIL import Image

ROOT = Path(tokenzoo.__file__).parent
PAGE = ROOT / "docs" / "language-models.md"


@pytest.mark.slow
def test_the_page(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    for folder, name in (("clips", "speech.flac"), ("photos", "chelsea.png")):
        Path(folder).mkdir()
        (Path(folder) / name).write_bytes((ROOT / "zoo" / "demo" / "media" / name).read_bytes())
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    code = "\n".join(blocks)
    for name, large, small in (("STEPS = ", "2000", "2"), ("hidden_size=", "256", "32"), ("num_hidden_layers=", "6", "1")):
        assert code.count(name + large) == 1
        code = code.replace(name + large, name + small)
    found: dict = {}
    exec(compile(code, str(PAGE), "exec"), found)
    assert soundfile.info("sample.wav").frames == 100 * 320 and np.std(soundfile.read("sample.wav")[0]) > 1e-4
    assert Image.open("sample.png").size == (8 * 16, 8 * 16)
    assert found["report"].after < found["report"].before
    assert found["tokens"].num_codebooks == 8
