"""How cost grows: processor time against length, pixels, batch, codes and workers, the exponent of each curve, peers beside.

    python benchmarks/scaling.py                     all sections, an hour or two on two idle cores; what is measured is kept
    python benchmarks/scaling.py --only pixels       one section; results of the others stay
    python benchmarks/scaling.py --again             measure what is there once more
    python benchmarks/scaling.py --quick             the smallest sizes, in a minute; printed only

Each point is a process of its own, with one thread (workers: one each), that calls until `--seconds` are over, twice at least, and
gives the median. A call that takes longer than `--longest` ends its curve, as does one that needs more than 10 GB. Memory: peak
of the resident set during the calls, less what was there before. The exponent is the slope of log(processor time) over log(size)
from the middle of the sizes on, where what a call costs at least no longer counts: 1 is proportional, 2 is the square.
Curves: `scaling-*.svg` beside the table.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from curves import drawing, exponent
from measure import (
    MEMORY_LIMIT,
    RESULTS,
    head_lines,
    header,
    in_process,
    kept_rows,
    limit_memory,
    resident,
    show,
    table_lines,
    take_turns,
    watched,
    write,
)

#: A call with everything that it needs in memory.
Call = Callable[[], Any]


@dataclass(frozen=True)
class Section:
    """One quantity that grows.

    Attributes:
        title: the quantity with its unit.
        sizes: measured values, ascending.
        quick: those of `--quick`.
        series: name -> what makes the call of one size.
    """

    title: str
    sizes: tuple[int, ...]
    quick: tuple[int, ...]
    series: dict[str, Callable[[int], Call]]


# --- calls ----------------------------------------------------------------------------------------------------------------------


def speech(seconds: int, batch: int = 1) -> Call:
    """Ids of `batch` clips with the shipped codec."""
    import tokenzoo

    tokenizer = tokenzoo.load("speech-16khz-4kbps")
    x = 0.1 * torch.randn(batch, 1, seconds * 16000, generator=torch.Generator().manual_seed(0))
    return lambda: tokenizer.encode(x.clamp(-1, 1))


def encodec(side: str) -> Callable[[int], Call]:
    """Ids of one clip with EnCodec 24 kHz, random weights: ours, or transformers' with the same weights."""

    def make(seconds: int) -> Call:
        from audio_peers import Ours, Theirs, codecs, waveform

        codec = codecs()[0]
        sides: dict[str, Any] = {"ours": Ours, "transformers": Theirs}
        model, x = sides[side](codec, codec.peers[0]), waveform(codec, 1, seconds)
        return lambda: model.encode(x)

    return make


def photo(side: int, batch: int = 1) -> Call:
    """Ids of `batch` square pictures with the shipped tokenizer."""
    import tokenzoo

    tokenizer = tokenzoo.load("photo-f16-rvq7")
    x = torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return lambda: tokenizer.encode(x)


def vqmodel(who: str) -> Callable[[int], Call]:
    """Ids of one picture with VQModel f4, random weights: ours, or diffusers' with the same weights."""

    def make(side: int) -> Call:
        from image import make_ours, make_peer, save_weights

        peer = make_peer("diffusers-vqmodel", {})
        x = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
        if who == "diffusers":
            return torch.no_grad()(lambda: peer.encode(x))
        with tempfile.TemporaryDirectory() as folder:
            save_weights("diffusers-vqmodel", peer, f"{folder}/weights.safetensors")
            ours = make_ours("diffusers-vqmodel", f"{folder}/weights.safetensors")
        return lambda: ours.encode(x)

    return make


def codes(side: str) -> Callable[[int], Call]:
    """Ids of 1,024 vectors of width 8 in a table of V codes: ours, vector-quantize-pytorch, all products alone."""

    def make(size: int) -> Call:
        import quantizers

        settings = {"dim": 8, "codebook_size": size}
        ours = {"kmeans_init": False, "replace_below": 0.0, "commitment_weight": 1.0}
        peer = {"decay": 0.99, "rotation_trick": False}
        case = quantizers.Case("scaling", ("vq", settings | ours), ("VectorQuantize", settings | peer), 1024, 1024, (size, 1))
        if side == "bare matmul":
            return quantizers.bare_matmul(case, 512, 1024)
        quantizer = quantizers.make({"ours": "ours", "vector-quantize-pytorch": "peer"}[side], case)
        z = quantizer.latents(quantizers.rows_of(case, 1024))
        return lambda: quantizer.encode(z)

    return make


def bulk(workers: int) -> Call:
    """`tokenize` of 1,024 JPEG photographs of 512 x 512 on this many worker processes, their start included."""
    import tokenzoo
    from PIL import Image
    from tokenzoo.zoo.corpus import Options, Pace, tokenize

    source = Path(tokenzoo.__file__).parent / "zoo" / "demo" / "media" / "chelsea.png"
    folder = Path(tempfile.mkdtemp())
    with Image.open(source) as opened:
        whole = opened.convert("RGB").resize((1024, 700))
    (folder / "in").mkdir()
    for i in range(1024):
        left, top = (37 * i) % 512, (53 * i) % 188
        whole.crop((left, top, left + 512, top + 512)).save(folder / "in" / f"{i:04d}.jpg", quality=90)
    runs = iter(range(1000))

    def call() -> None:
        options = Options(unit_items=32)
        out = folder / f"out{next(runs)}"
        tokenize("photo-f16-rvq7", str(folder / "in"), out, options=options, pace=Pace(workers=workers, progress=False))

    return call


SECTIONS = {
    "length": Section(
        "seconds of sound", (1, 4, 16, 60, 240, 900, 3600), (1, 2),
        {"speech-16khz-4kbps": speech, "encodec-24khz": encodec("ours"), "encodec-24khz, transformers": encodec("transformers")},
    ),
    "pixels": Section(
        "pixels on a side", (256, 512, 1024, 2048, 4096, 8192), (64, 128),
        {"photo-f16-rvq7": photo, "VQModel f4": vqmodel("ours"), "VQModel f4, diffusers": vqmodel("diffusers")},
    ),
    "batch": Section(
        "items of a batch", (1, 2, 4, 8, 16, 32, 64), (1, 2),
        {"speech-16khz-4kbps, 2 s": lambda n: speech(2, n), "photo-f16-rvq7, 256 x 256": lambda n: photo(256, n)},
    ),
    "codes": Section(
        "codes", tuple(2**k for k in range(10, 19)), (2**10, 2**11),
        {side: codes(side) for side in ("ours", "vector-quantize-pytorch", "bare matmul")},
    ),
    "workers": Section("worker processes", (1, 2), (1,), {"photo-f16-rvq7, 512 x 512": bulk}),
}  # fmt: skip


# --- points ---------------------------------------------------------------------------------------------------------------------


def point(section: str, series: str, size: int, seconds: float) -> dict[str, Any]:
    """Median times of one call and its peak of memory, in this process."""
    if section != "workers":  # whose own processes inherit the limit
        limit_memory()
    torch.set_num_threads(1)
    call = SECTIONS[section].series[series](size)
    before = resident()
    with watched() as peak:
        times = take_turns({"call": call}, seconds=seconds, least=2, warm=section != "workers" and size == SECTIONS[section].sizes[0])
    return {"ms": times["call_ms"], "cpu_ms": times["call_cpu_ms"], "rounds": times["rounds"], "peak_mb": (peak.bytes - before) / 2**20}


def measure(given: argparse.Namespace, results: list[dict[str, Any]], keep: Callable[[], None]) -> None:
    """Measure what `results` has not, and add it; `keep` is called after each point."""
    for name, section in SECTIONS.items():
        if given.only and name != given.only:
            continue
        for series in section.series:
            for size in section.quick if given.quick else section.sizes:
                key = {"section": name, "series": series, "size": size}
                known = next((r for r in results if key.items() <= r.items()), None)
                if known is None:
                    found = in_process(__file__, "--point", json.dumps([name, series, size, given.seconds]), bound=name != "workers")
                    known = key | ({"error": found} if isinstance(found, str) else found)
                    results.append(known)
                    print(known, file=sys.stderr, flush=True)
                    keep()
                if "error" in known or known["ms"] > given.longest * 1e3:
                    break


# --- report ---------------------------------------------------------------------------------------------------------------------

COLUMNS = ("series", "sizes", "at the smallest", "at the largest", "peak memory there", "exponent")


def curves_of(results: Sequence[dict[str, Any]], section: str) -> dict[str, list[tuple[float, float]]]:
    """Series -> its points (size, seconds); of workers wall time, else processor time."""
    unit = "ms" if section == "workers" else "cpu_ms"
    names = [s for s in SECTIONS[section].series if any(r["series"] == s and r["section"] == section for r in results)]
    mine = [r for r in results if r["section"] == section and "error" not in r]
    return {s: sorted((float(r["size"]), r[unit] / 1e3) for r in mine if r["series"] == s) for s in names}


def rows_of_section(results: Sequence[dict[str, Any]], section: str) -> list[list[str]]:
    """A line of the table for each series."""
    rows = []
    for series, points in curves_of(results, section).items():
        error = next((r["error"] for r in results if r["series"] == series and r["section"] == section and "error" in r), "")
        if not points:
            rows.append([series, "", "", "", error, ""])
            continue
        last = next(r for r in results if r["section"] == section and r["series"] == series and r["size"] == points[-1][0])
        steep = f"{exponent(points):.2f}" if len(points) > 1 else ""
        ends = [f"{seconds:.3g} s" for _, seconds in (points[0], points[-1])]
        memory = f"{last['peak_mb']:,.0f} MB" + (f", then {error}" if error else "")
        rows.append([series, f"{points[0][0]:,.0f} to {points[-1][0]:,.0f}", *ends, memory, steep])
    return rows


def page(head: dict[str, Any], results: list[dict[str, Any]]) -> list[str]:
    """The committed page."""
    lines = head_lines("How cost grows", (__doc__ or "").split("\n\n")[-1], head)
    for name, section in SECTIONS.items():
        if rows := rows_of_section(results, name):
            what = "wall time" if name == "workers" else "processor time"
            lines += [f"## {name.capitalize()}", "", f"{what.capitalize()} against {section.title}.", ""]
            lines += [f"![{what} against {section.title}](scaling-{name}.svg)", "", *table_lines(COLUMNS, rows), ""]
    return lines


def main() -> int:
    """Measure, print, and write the committed table and curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=SECTIONS, help="one section")
    parser.add_argument("--quick", action="store_true", help="smallest sizes, nothing is written")
    parser.add_argument("--again", action="store_true", help="forget what was measured before (of the section, with --only)")
    parser.add_argument("--seconds", type=float, default=10.0, help="a point, at least two calls")
    parser.add_argument("--longest", type=float, default=240.0, help="seconds of a call after which a curve ends")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.point:
        print(json.dumps(point(*json.loads(given.point))))
        return 0
    options = ["--seconds", f"{given.seconds:g}", "--longest", f"{given.longest:g}"]
    head = header(__file__, threads=1, packages=("torch", "transformers", "diffusers", "vector-quantize-pytorch"), options=options)
    head["memory_limit_gb"] = MEMORY_LIMIT >> 30
    kept = [] if given.quick else kept_rows("scaling", head)
    results = [r for r in kept if not (given.again and given.only in (None, r["section"]))]

    def keep() -> None:
        if not given.quick:
            write("scaling", head, results, page(head, results))

    measure(given, results, keep)
    for name, section in SECTIONS.items():
        if points := curves_of(results, name):
            show((f"{name}: {section.title}", *COLUMNS[1:]), rows_of_section(results, name))
            if not given.quick:
                unit = "wall time, s" if name == "workers" else "processor time, s"
                (RESULTS / f"scaling-{name}.svg").write_text(drawing(points, x=section.title, y=unit))
    keep()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
