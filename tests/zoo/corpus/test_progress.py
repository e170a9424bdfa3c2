"""What a job says of itself while it runs. Run: pytest tests/zoo/corpus/test_progress.py"""

from corpus_cases import lively, make, sounds
from tokenzoo.zoo.corpus import Pace, progress
from tokenzoo.zoo.corpus.progress import Progress


def test_rates_and_time_left(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress(100, 20, show=False) as p:
        now[0] += 10
        p.add(28, 5000, 2)
    assert p.rates() == "3.0 items/s, 500 tokens/s, 2 failed"
    assert p.line() == "50 of 100 items, 3.0 items/s, 500 tokens/s, 2 failed, 00:00:16 left"


def test_lines_where_there_is_no_terminal_and_a_bar_where_there_is(tmp_path, capsys, monkeypatch):
    source = sounds(tmp_path / "in", 6)
    monkeypatch.setattr(progress, "EVERY", 0.0)
    make(lively("spectral"), source, tmp_path / "lines", pace=Pace(workers=0))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("4 of 6 items") and lines[-1].startswith("6 of 6 items") and "tokens/s" in lines[-1]
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True)
    make(lively("spectral"), source, tmp_path / "bar", pace=Pace(workers=0))
    bar = capsys.readouterr().err
    assert "6/6" in bar and "items/s" in bar and "tokens/s" in bar
    make(lively("spectral"), source, tmp_path / "quiet", pace=Pace(workers=0, progress=False))
    assert capsys.readouterr().err == ""
