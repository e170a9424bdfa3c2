"""Our tokenizers on an accelerator: ids, speed and memory beside the peers, quantizers, streams, training steps.

    python benchmarks/accelerator.py                                 a CUDA device, about eight minutes
    python benchmarks/accelerator.py --minutes 4                     fewer and smaller cases
    python benchmarks/accelerator.py --device cpu --tiny --out DIR   toy sizes, about a minute: shows that all runs

Needs this checkout and PyTorch with what it builds on. Peers run where they are installed: transformers, diffusers,
vector-quantize-pytorch, and the packages encodec, descript-audio-codec and snac of the authors, on the same weights. All sections
run in one process, which is replaced where it dies or hangs; results are written after each, errors among them.

Precisions: float32; TF32, float32 weights whose products are computed as TF32; bfloat16 weights. Times: wall time from an idle device
to an idle device, median, the sides taking turns; the rate is that of calls in a row. "network" is `encode_latents` or
`decode_latents` alone, "graph" the same as a CUDA graph, "channels-last" with weights in that layout. Memory: the peak of what a call
takes beyond what is held before it. Waits: how often the host waits for the device in one call. Weights are random, scaled so that
activations go both ways, codes drawn about the latents; sounds are 10 s of noise under a slow envelope, pictures crops of the demo
photograph at 256 x 256.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import checkout as checkout  # first: it makes `tokenzoo` importable
import torch
from accelerator_timing import Run, say, usable
from measure import RESULTS, head_lines, header, table_lines, write

SECTIONS = ("ids", "speed", "search", "stream", "train", "compile")
PACKAGES = ("torch", "triton", "transformers", "diffusers", "vector-quantize-pytorch", "encodec", "descript-audio-codec", "snac")
#: A section that has taken this many times its time, and this many seconds more, hangs.
PATIENCE, MORE_SECONDS = 1.5, 45.0


# --- the process that measures --------------------------------------------------------------------------------------------


def work(args: argparse.Namespace) -> None:
    """Run the sections named, and append each row to `args.rows` as a line of JSON."""
    from accelerator_sections import SECTIONS as FUNCTIONS

    warnings.simplefilter("ignore")
    run = Run(torch.device(args.device), tiny=args.tiny, forms=tuple(args.forms))
    ends = time.monotonic() + 60 * args.minutes
    with open(args.rows, "a", buffering=1) as out:
        for i, name in enumerate(args.only):
            function, share = FUNCTIONS[name]
            rest = sum(FUNCTIONS[later][1] for later in args.only[i:])
            seconds = max(0.0, ends - time.monotonic()) * share / rest
            run.ends = time.monotonic() + (seconds if not args.tiny else 3600)
            out.write(json.dumps({"begins": name, "seconds": seconds}) + "\n")
            for row in function(run):
                out.write(json.dumps({"section": name} | row) + "\n")
                if any(k.endswith("error") for k in row) and not usable(run):
                    sys.exit("the device no longer works in this process")
            if run.cuda:
                torch.cuda.empty_cache()
            out.write(json.dumps({"ends": name}) + "\n")


# --- the process that watches ---------------------------------------------------------------------------------------------


def supervise(args: argparse.Namespace, head: dict[str, Any]) -> list[dict[str, Any]]:
    """Run all sections, in a new process where one died or hung; writes results after every section; returns the rows."""
    results: list[dict[str, Any]] = []
    left, ends = list(args.only), time.monotonic() + 60 * args.minutes
    with tempfile.TemporaryDirectory() as folder:
        while left:
            rows = Path(folder) / f"rows-{len(left)}.jsonl"
            rows.touch()
            minutes = max(0.2, (ends - time.monotonic()) / 60)
            command = [sys.executable, __file__, "--work", "--rows", str(rows), "--device", args.device, "--minutes", str(minutes)]
            command += ["--only", *left, *(["--forms", *args.forms] if args.forms else []), *(["--tiny"] if args.tiny else [])]
            left, found = watch(subprocess.Popen(command), rows, left, args, head, results)
            results += found
            save(args, head, results)
    return results


def watch(
    process: "subprocess.Popen[bytes]", rows: Path, left: list[str], args: argparse.Namespace, head: dict[str, Any], before: list[Any]
) -> tuple[list[str], list[dict[str, Any]]]:
    """Wait for a process; what it left to be done, and its rows. A section that hangs, or in which it dies, gets a row."""
    section, limit, seen = left[0], time.monotonic() + 60 * args.minutes + MORE_SECONDS, 0
    while True:
        ended = process.poll() is not None
        events = [json.loads(line) for line in rows.read_text().splitlines(keepends=True) if line.endswith("\n")]
        for event in events[seen:]:
            if "begins" in event:
                section, limit = event["begins"], time.monotonic() + PATIENCE * event["seconds"] + MORE_SECONDS
                limit += 3600 * args.tiny
                say(f"{section}: {event['seconds']:.0f} s")
            elif "ends" in event:
                save(args, head, before + [e for e in events if "section" in e])
        seen = len(events)
        late = time.monotonic() > limit
        if ended or late:
            break
        time.sleep(0.2)
    if late:
        process.kill()
    code = process.wait()
    found = [e for e in events if "section" in e]
    done = [e["ends"] for e in events if "ends" in e]
    remaining = [name for name in left if name not in done]
    if code == 0 and not late:
        return [], found
    reason = "it hung, and was ended" if late else f"the process ended with code {code}"
    found.append({"section": section, "case": "the section", "error": reason})
    return [name for name in remaining if name != section], found


def save(args: argparse.Namespace, head: dict[str, Any], results: list[dict[str, Any]]) -> None:
    """Write all rows so far."""
    write("accelerator", head, results, page(head, results), Path(args.out))


# --- the page -------------------------------------------------------------------------------------------------------------


def page(head: dict[str, Any], results: list[dict[str, Any]]) -> list[str]:
    """The committed page: a table for each section, and all errors."""
    lines = head_lines("On an accelerator", (__doc__ or "").split("\n\n", 3)[3], head)
    for name in SECTIONS:
        rows = [r for r in results if r["section"] == name]
        good = [r for r in rows if "error" not in r]
        if rows:
            lines += [f"## {TITLES[name]}", "", *(TABLES[name](good) if good else ["No results."]), ""]
        errors = [f"- {_of(r)}: {r['error']}" for r in rows if "error" in r]
        errors += [f"- {_of(r)}, {k[:-6]}: {v}" for r in good for k, v in r.items() if k.endswith("_error")]
        if errors:
            lines += ["Not measured:", "", *errors, ""]
    return lines


TITLES = {
    "ids": "Ids of the device and of the CPU",
    "speed": "Encode and decode",
    "search": "Quantizers",
    "stream": "Streams of Mimi",
    "train": "Training steps",
    "compile": "`compile()`",
}


def _of(row: dict[str, Any]) -> str:
    """Which case a row is about."""
    return ", ".join(str(row[k]) for k in ("case", "size", "precision", "batch", "rows", "state", "way", "call") if k in row)


def _number(row: dict[str, Any], key: str, form: str = ".2f") -> str:
    return format(row[key], form) if isinstance(row.get(key), (int, float)) else "-"


def _over(row: dict[str, Any], slow: str, fast: str) -> str:
    """How many times as fast one side is as the other."""
    return f"{row[slow] / row[fast]:.2f}x" if row.get(slow) and row.get(fast) else "-"


def _ids_table(rows: list[dict[str, Any]]) -> list[str]:
    same = [r for r in rows if r["size"] == "tiny" and r["ids"] == 1 and r.get("search", 1) == 1 and r["same_from_host"]]
    columns = ("case", "ids equal", "same latents: ids equal", "distinct ids", "latents differ by", "decoded differ by")
    shown = [
        [
            f"{r['case']} ({r['size']})",
            *(_number(r, k, ".4%") for k in ("ids", "search")),
            str(r["distinct"]),
            *(_number(r, k, ".0e") for k in ("latents", "decoded")),
        ]
        for r in rows
        if r not in same
    ]
    line = f"{len(same)} of {sum(r['size'] == 'tiny' for r in rows)} tiny forms: all ids equal, those of the same latents among them."
    return [line, "", *(table_lines(columns, shown) if shown else [])]


def _speed_table(rows: list[dict[str, Any]]) -> list[str]:
    columns = ("case", "call", "precision", "batch", "ours ms", "network ms", "channels-last ms", "graph ms", "peer ms")
    columns += ("faster than the peer",)
    columns += ("rate", "peer's rate", "MiB", "peer's MiB", "waits", "launches", "ids as the peer's")
    out = []
    for r in rows:
        rates = [f"{1e3 * r['extent'] / r[k]:.0f} {r['unit']}/s" if r.get(k) else "-" for k in ("ours_queued_ms", "peer_queued_ms")]
        out.append([
            *(r["case"], r["call"], r["precision"], str(r["batch"])),
            *(_number(r, f"{side}_ms") for side in ("ours", "network", "channels_last", "graph", "peer")),
            _over(r, "peer_ms", "ours_ms"),
            *rates,
            *(_number(r, k, ".0f") for k in ("ours_peak_mib", "peer_peak_mib", "waits", "launches")),
            _number(r, "equal_to_peer", ".2%"),
        ])  # fmt: skip
    return table_lines(columns, out)


def _search_table(rows: list[dict[str, Any]]) -> list[str]:
    columns = ("case", "precision", "N", "ours ms", "peer ms", "plain ms", "matmul ms", "faster than the peer", "x matmul")
    columns += ("MiB", "peer's MiB", "plain MiB", "waits", "launches", "ids as the CPU's", "as the peer's")
    out = [
        [
            *(r["case"], r["precision"], str(r["vectors"])),
            *(_number(r, f"{side}_ms", ".3f") for side in ("ours", "peer", "plain", "matmul")),
            _over(r, "peer_ms", "ours_ms"),
            _over(r, "ours_ms", "matmul_ms"),
            *(_number(r, k, ".0f") for k in ("ours_peak_mib", "peer_peak_mib", "plain_peak_mib", "waits", "launches")),
            *(_number(r, k, ".2%") for k in ("ids", "equal_to_peer")),
        ]
        for r in rows
    ]
    return table_lines(columns, out)


def _stream_table(rows: list[dict[str, Any]]) -> list[str]:
    columns = ("precision", "rows", "state", "encode ms", "decode ms", "both, 95 of 100", "a frame lasts", "x real time")
    columns += ("MiB", "waits", "launches")
    out = [
        [
            *(r["precision"], str(r["rows"]), r["state"]),
            *(_number(r, k) for k in ("encode_ms", "decode_ms", "both_p95_ms", "frame_ms")),
            *(_number(r, k, ".0f") for k in ("x_real_time", "held_mib", "waits", "launches")),
        ]
        for r in rows
    ]
    return table_lines(columns, out)


def _train_table(rows: list[dict[str, Any]]) -> list[str]:
    columns = ("case", "precision", "batch", "ms a step", "items/s", "MiB", "waits", "launches")
    out = [
        [
            *(r["case"], r["precision"], str(r["batch"]), _number(r, "ours_queued_ms")),
            f"{1e3 * r['items'] / r['ours_queued_ms']:.0f}" if r.get("ours_queued_ms") else "-",
            *(_number(r, k, ".0f") for k in ("ours_peak_mib", "waits", "launches")),
        ]
        for r in rows
    ]
    return table_lines(columns, out)


def _compile_table(rows: list[dict[str, Any]]) -> list[str]:
    columns = ("case", "precision", "way", "batch", "call", "first call s", "eager ms", "compiled ms", "faster")
    columns += ("MiB", "eager MiB", "ids equal")
    out = [
        [
            *(r["case"], r["precision"], r["way"], str(r["batch"]), call, _number(r, f"{call}_first_s", ".1f")),
            *(_number(r, f"{call}_{side}_ms") for side in ("eager", "fast")),
            _over(r, f"{call}_eager_ms", f"{call}_fast_ms"),
            *(_number(r, f"{call}_{side}_peak_mib", ".0f") for side in ("fast", "eager")),
            _number(r, "ids", ".2%") if call == "encode" else "",
        ]
        for r in rows
        for call in ("encode", "decode")
        if f"{call}_first_s" in r
    ]
    return table_lines(columns, out)


TABLES = {
    "ids": _ids_table,
    "speed": _speed_table,
    "search": _search_table,
    "stream": _stream_table,
    "train": _train_table,
    "compile": _compile_table,
}


def main() -> None:
    """Command line; `--work` is how it calls itself."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=8.0, help="sizes shrink with the time that is left")
    parser.add_argument("--tiny", action="store_true", help="toy sizes; needs --out")
    parser.add_argument("--out", default="", metavar="DIR", help="folder of the results; default: benchmarks/results")
    parser.add_argument("--only", nargs="+", default=list(SECTIONS), choices=SECTIONS)
    parser.add_argument("--forms", nargs="+", default=[], metavar="FORM", help="labels of tests/families.py, for the section `ids`")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rows", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args)
        return
    if (args.tiny or args.only != list(SECTIONS)) and not args.out:
        parser.error("these are not the results that are kept: name a folder with --out.")
    args.out = args.out or str(RESULTS)
    head = header(__file__, threads=torch.get_num_threads(), packages=[p for p in PACKAGES if _installed(p)])
    head |= {"device": _device(args.device, head["device"]), "dtype": "float32, TF32, bfloat16"}
    save(args, head, supervise(args, head))
    say(f"written to {args.out}")


def _device(name: str, host: str) -> str:
    if torch.device(name).type != "cuda":
        return host
    found = torch.cuda.get_device_properties(torch.device(name))
    return f"{found.name}, {found.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}; {host}"


def _installed(distribution: str) -> bool:
    from importlib.metadata import PackageNotFoundError, version

    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    main()
