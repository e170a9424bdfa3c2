"""`docs/scaling.md` agrees with the results, exponents and curves are right, a history is that of the results. Run: pytest THIS"""

import importlib
import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import tokenzoo

FOLDER = Path(tokenzoo.__file__).resolve().parent / "benchmarks"
if not FOLDER.is_dir():
    pytest.skip("not a checkout", allow_module_level=True)


@pytest.fixture
def script(monkeypatch):
    """Imports a script of `benchmarks/`, whose folder is on the path only meanwhile."""
    monkeypatch.syspath_prepend(FOLDER)
    before = set(sys.modules)
    yield importlib.import_module
    own = {p.stem for p in FOLDER.glob("*.py")}
    for name in own & (set(sys.modules) - before):
        del sys.modules[name]


def test_the_page_has_the_figures_of_the_results(script):
    estimate = script("estimate")
    page = estimate.PAGE.read_text(encoding="utf-8")
    assert estimate.filled(page) == page, "run: python benchmarks/estimate.py"
    with pytest.raises(ValueError, match="needs the marks"):
        estimate.filled(page.replace("<!-- end of parts -->", ""))


def test_estimates_follow_from_the_figures(script):
    estimate = script("estimate")
    pictures, speech = estimate.costs()
    case = estimate.results("corpus")["photographs, 256 x 256"]
    hours = 1e9 * case["whole_cpu_ms"] / 1e3 / case["extent"] * 256 * 256 / 1e6 / 3600
    assert pictures[3:5] == [f"{hours:,.0f} h", f"{hours / 64:,.0f} h"]
    assert pictures[5:8] == ["1.79e+12", "3.58 TB", "2.24 TB"], "16 x 16 positions of 7 codebooks of 10 bits"
    assert speech[5:8] == ["1.44e+12", "2.88 TB", "1.8 TB"], "3.6e9 seconds of 400 ids of 10 bits"
    assert [estimate.size(n) for n in (12, 4096, 3.1e6, 2e9, 1.5e13)] == ["12 B", "4.1 kB", "3.1 MB", "2 GB", "15 TB"]


def test_exponents_are_those_of_powers_beyond_what_a_call_costs_at_least(script):
    curves = script("curves")
    for power in (0.5, 1, 2):
        assert curves.exponent([(n, 3 * n**power) for n in (1, 10, 100)]) == pytest.approx(power)
        assert curves.exponent([(n, 1 + 0.1 * n**power) for n in (1, 10, 10**5, 10**6)]) == pytest.approx(power, abs=0.02)
    for points in ([(1, 2)], [(1, 2), (1, 3)], [(1, 0), (2, 1)]):
        with pytest.raises(ValueError, match="needs two sizes"):
            curves.exponent(points)


def test_curves_are_drawn_within_the_picture(script):
    svg = script("curves").drawing({"a < b": [(1, 0.1), (10, 1.1), (100, 9)], "one": [(10, 2)]}, x="items", y="s")
    root = ET.fromstring(svg)
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    places = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in root.iter() if c.tag.endswith("circle")]
    assert len(places) == 4 and all(0 < a < width and 0 < b < height for a, b in places)
    assert places[0][0] < places[1][0] < places[2][0] and places[0][1] > places[1][1] > places[2][1]
    words = [t.text for t in root.iter() if t.tag.endswith("text")]
    assert any(w.startswith("a < b, exponent 0.9") for w in words) and "one" in words and "10" in words


def test_a_table_has_exponents_and_what_ended_a_curve(script):
    scaling = script("scaling")
    point = {"section": "codes", "series": "ours", "ms": 9.0, "rounds": 2, "peak_mb": 5.0}
    results = [point | {"size": n, "cpu_ms": n / 1024} for n in (1024, 2048, 4096)]
    results += [{"section": "codes", "series": "bare matmul", "size": 1024, "error": "> 10 GB"}]
    ours, matmul = scaling.rows_of_section(results, "codes")
    assert ours == ["ours", "1,024 to 4,096", "0.001 s", "0.004 s", "5 MB", "1.00"]
    assert matmul == ["bare matmul", "", "", "", "> 10 GB", ""]
    text = "\n".join(scaling.page({"date": "2026-01-01", "versions": {}}, results))
    assert "## Codes" in text and "scaling-codes.svg" in text and "## Length" not in text


def test_points_are_measured_once_and_kept(script, monkeypatch):
    scaling = script("scaling")
    asked, kept = [], []

    def in_process(path, flag, words, bound=True):
        asked.append(json.loads(words)[:3])
        slow = asked[-1][2] == 4
        return "> 10 GB" if asked[-1][1] == "bare matmul" else {"ms": 1e9 if slow else 1.0, "cpu_ms": 1.0, "rounds": 2, "peak_mb": 1.0}

    monkeypatch.setattr(scaling, "in_process", in_process)
    section = scaling.Section("codes", (1, 2, 4, 8), (1,), dict.fromkeys(("ours", "bare matmul")))
    monkeypatch.setattr(scaling, "SECTIONS", {"codes": section, "batch": section})
    given = scaling.argparse.Namespace(only="codes", quick=False, seconds=1.0, longest=10.0)
    results = [{"section": "codes", "series": "ours", "size": 1, "ms": 1.0, "cpu_ms": 1.0, "rounds": 2, "peak_mb": 1.0}]
    scaling.measure(given, results, lambda: kept.append(len(results)))
    assert asked == [["codes", "ours", 2], ["codes", "ours", 4], ["codes", "bare matmul", 1]], "ends where it is slow or fails"
    assert kept == [2, 3, 4]
    scaling.measure(given, results, lambda: kept.append(len(results)))
    assert len(asked) == 3, "nothing is measured twice"


def test_a_point_is_measured_in_a_process_of_its_own(script):
    found = script("measure").in_process(str(FOLDER / "scaling.py"), "--point", json.dumps(["codes", "ours", 1024, 0.01]))
    assert found["rounds"] >= 2 and found["cpu_ms"] > 0 and found["peak_mb"] >= 0


# --- history of the results -----------------------------------------------------------------------------------------------------


def test_the_history_ends_with_the_results_as_they_are(script):
    history = script("history")
    rows = json.loads((FOLDER / "results/history.json").read_text(encoding="utf-8"))
    assert (FOLDER / "results/history.md").read_text(encoding="utf-8") == history.page(rows)
    for name in history.HEADLINES:
        newest = history.row_of(name, json.loads((FOLDER / f"results/{name}.json").read_text(encoding="utf-8")))
        assert newest in rows, "run: python benchmarks/history.py"
        assert newest["date"] == max(row["date"] for row in rows if row["file"] == name)


def test_a_new_result_adds_one_row(script):
    history = script("history")
    document = {"date": "2031-01-02", "command": "python benchmarks/audio.py", "device": "a CPU"}
    times = {"ours_ms": 2.0, "ours_cpu_ms": 1.0, "compiled_ms": 1.0, "a_ms": 8.0, "a_cpu_ms": 0.1, "b_ms": 9.0}
    slower = times | {"ours_ms": 8.0}
    new = history.row_of("audio", document | {"results": [{"encode": times, "decode": times}, {"encode": slower, "decode": slower}]})
    assert new["figures"] == {
        "cases": "2",
        "encode, mean": "2.00",
        "encode, least": "1.00",
        "decode, mean": "2.00",
        "decode, least": "1.00",
    }
    rows = json.loads((FOLDER / "results/history.json").read_text(encoding="utf-8"))
    longer = history.merged(rows, [new, new])
    assert len(longer) == len(rows) + 1 and history.merged(longer, [new]) == longer
    assert [row for row in longer if row["file"] == "audio"][-1] == new, "rows of a file stand by date"
    assert "2031-01-02 | 2 | 2.00 | 1.00" in history.page(longer)
    with pytest.raises(KeyError):
        history.row_of("audio", {"date": "2020-01-01"})
