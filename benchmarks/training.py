"""A training step of ours beside the authors' own: the same weights, the same batch, the same losses and optimisers.

    pip install tokenzoo[peers]
    python benchmarks/training.py --threads 1 --llamagen LlamaGen --one-d-tokenizer 1d-tokenizer --audiocraft audiocraft
    python benchmarks/training.py --only plain-vq                               one case, printed only

Peers: descript-audio-codec and vector-quantize-pytorch, which pip installs, and checkouts of FoundationVision/LlamaGen,
bytedance/1d-tokenizer and facebookresearch/audiocraft (its package, if it is installed). What is not there is left out. The modules,
losses and optimisers are theirs; the order of calls is that of their training scripts (`training_images.py`, `training_sound.py`).
Ours is the bundled run of that name: `TrainState` and `train_step`, with all of its checks and metrics.

Losses: the largest relative difference of a named loss or gradient norm at the first step, of both players. Later steps differ in
the last digits, which Adam and the ids enlarge. Times: the sides take turns; median of wall time and of processor time of all
threads, and the ratio of each pair of processor times: median, smallest, largest. Memory: each side in a process of its own, the
peak of the resident set over building it and two steps, less what was there before. Batches are seeded noise; float32.
"""

import argparse
import contextlib
import ctypes
import gc
import importlib.util
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measure import RESULTS, head_lines, header, in_process, resident, show, table_lines, watched, write
from training_case import Sides

#: Options that name a checkout, and the package that may be installed in its place.
FOLDERS = {"llamagen": "", "one_d_tokenizer": "", "audiocraft": "audiocraft"}


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        batch: for the table.
        module: of this folder that has the function `build`, which makes both sides.
        arguments: its first arguments.
        folder: option that names the checkout; "": none.
        package: to be imported; "": none.
    """

    batch: str
    module: str
    build: str
    arguments: tuple[str, ...] = ()
    folder: str = ""
    package: str = ""

    def where(self, folders: dict[str, str]) -> str | None:
        """The checkout or the name of the package, None if it is not there."""
        if self.folder:
            return folders.get(self.folder) or _installed(FOLDERS[self.folder])
        return self.package if importlib.util.find_spec(self.package) else None

    def sides(self, folders: dict[str, str], tiny: bool) -> Sides:
        """Both sides."""
        build = getattr(importlib.import_module(self.module), self.build)
        return build(*self.arguments, *([self.where(folders)] if self.folder else []), tiny)


def _installed(package: str) -> str | None:
    """Folder that holds an installed package."""
    found = importlib.util.find_spec(package) if package else None
    return str(Path(found.origin).parents[1]) if found and found.origin else None


CASES = {
    "plain-vq": Case("8 x 128 px", "training_images", "plain_loop", ("vq",), package="vector_quantize_pytorch"),
    "plain-residual-vq": Case("8 x 128 px", "training_images", "plain_loop", ("residual_vq",), package="vector_quantize_pytorch"),
    "titok-s128-stage1": Case("2 x 256 px", "training_images", "titok", folder="one_d_tokenizer"),
    "encodec-24khz": Case("2 x 1 s", "training_sound", "encodec", folder="audiocraft"),
    "dac-44khz": Case("2 x 0.38 s", "training_sound", "dac", package="dac"),
    "llamagen-vq16": Case("2 x 128 px", "training_images", "llamagen", folder="llamagen"),
}


# --- measuring ----------------------------------------------------------------------------------------------------------


def compare(case: Case, folders: dict[str, str], *, pairs: int, tiny: bool) -> dict[str, Any]:
    """Losses of the first step, and times of `pairs` steps after it; the first side changes from pair to pair."""
    from tokenzoo.train import train_step

    sides = case.sides(folders, tiny)
    state = sides.ours()
    calls: dict[str, Callable[[], Any]] = {
        "theirs": partial(sides.theirs, sides.batch),
        "ours": partial(train_step, state, sides.batch),
    }
    first = {side: call() for side, call in calls.items()}
    losses = {name: [float(value), float(first["ours"][name])] for name, value in first["theirs"].items()}
    wall: dict[str, list[float]] = {side: [] for side in calls}
    cpu: dict[str, list[float]] = {side: [] for side in calls}
    for i in range(pairs):
        for side in calls if i % 2 else reversed(calls):
            begin, used = time.perf_counter(), time.process_time()
            calls[side]()
            wall[side].append(1e3 * (time.perf_counter() - begin))
            cpu[side].append(1e3 * (time.process_time() - used))
    ratios = sorted(a / b for a, b in zip(cpu["theirs"], cpu["ours"], strict=True))
    out: dict[str, Any] = {"losses": losses, "largest_difference": max(abs(b - a) / max(abs(a), 1e-12) for a, b in losses.values())}
    out |= {f"{side}_ms": statistics.median(wall[side]) for side in calls}
    out |= {f"{side}_cpu_ms": statistics.median(cpu[side]) for side in calls}
    return out | {"pairs": pairs, "faster_cpu": [statistics.median(ratios), ratios[0], ratios[-1]]}


def memory(case: Case, side: str, folders: dict[str, str], *, tiny: bool) -> float:
    """Peak megabytes of one side; run this in a separate process."""
    from tokenzoo.train import train_step

    small = case.sides(folders, True)  # loads modules, kernels and the matmul library's buffers
    train_step(small.ours(), small.batch)
    del small
    free()
    before = resident()
    sides = case.sides(folders, tiny)
    if side == "theirs":
        call: Callable[[], Any] = partial(sides.theirs, sides.batch)
    else:
        call = partial(train_step, sides.ours(), sides.batch)
        del sides
    free()  # ours is built from their weights
    with watched() as peak:
        for _ in range(2):
            call()
    return (peak.bytes - before) / 2**20


def free() -> None:
    """Give memory back, also what the C library keeps (Linux)."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


# --- reporting ----------------------------------------------------------------------------------------------------------

COLUMNS = (
    *("case", "batch", "losses differ by", "theirs ms", "ours ms", "faster", "faster (CPU)", "smallest, largest"),
    *("theirs MB", "ours MB"),
)


def row(name: str, result: dict[str, Any]) -> list[str]:
    """One case as text."""
    start = [name, CASES[name].batch]
    if "problem" in result:
        return [*start, str(result["problem"]), *[""] * (len(COLUMNS) - 3)]
    middle, low, high = result["faster_cpu"]
    return [
        *start,
        f"{result['largest_difference']:.0e}",
        *(f"{result[f'{side}_ms']:.0f}" for side in ("theirs", "ours")),
        f"{result['theirs_ms'] / result['ours_ms']:.2f}x",
        f"{middle:.2f}x",
        f"{low:.2f}, {high:.2f}",
        *(f"{m:.0f}" if isinstance(m := result.get(f"{side}_mb"), float) else str(m or "-") for side in ("theirs", "ours")),
    ]


def page(head: dict[str, Any], results: dict[str, dict[str, Any]]) -> list[str]:
    """The committed page."""
    about = (__doc__ or "").split("\n\n", 2)[2]
    lines = head_lines("A training step: ours and the authors'", about, head)
    return [*lines, *table_lines(COLUMNS, [row(name, r) for name, r in results.items()]), "", *FOUND]


def measure(name: str, folders: dict[str, str], common: list[str]) -> dict[str, Any]:
    """Losses, times and memory of a case, in processes of their own."""
    if CASES[name].where(folders) is None:
        return {"problem": "not installed"}
    result = in_process(__file__, "--times", name, *common)
    if not isinstance(result, dict):
        return {"problem": result}
    return result | {f"{side}_mb": in_process(__file__, "--memory", name, side, *common) for side in ("theirs", "ours")}


def main() -> None:
    """Command line; `--times` and `--memory` are how it calls itself."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=None, choices=CASES, help="some cases, without writing results")
    parser.add_argument("--update", action="store_true", help="with --only: write these rows, and keep the others of the last run")
    for option in FOLDERS:
        parser.add_argument(f"--{option.replace('_', '-')}", default="", metavar="DIR", help="a checkout")
    parser.add_argument("--pairs", type=int, default=5, help="timed steps of each side")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tiny", action="store_true", help="small networks, without writing results: shows that all runs")
    parser.add_argument("--times", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--memory", nargs=2, metavar=("CASE", "SIDE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    folders = {option: getattr(args, option) for option in FOLDERS}
    if args.times:
        print("\n" + json.dumps(compare(CASES[args.times], folders, pairs=args.pairs, tiny=args.tiny)))
        return
    if args.memory:
        print("\n" + json.dumps(memory(CASES[args.memory[0]], args.memory[1], folders, tiny=args.tiny)))
        return
    head = header(__file__, threads=args.threads, packages=_present("torch", "vector-quantize-pytorch", "descript-audio-codec"))
    common = ["--threads", str(args.threads), "--pairs", str(args.pairs), *(["--tiny"] if args.tiny else [])]
    common += [part for option in FOLDERS if folders[option] for part in (f"--{option.replace('_', '-')}", folders[option])]
    results = earlier() if args.update else {}
    for name in args.only or CASES:
        results[name] = measure(name, folders, common)
        print(json.dumps({"case": name} | results[name]), file=sys.stderr, flush=True)
        if (args.only is None or args.update) and not args.tiny:
            results = {n: results[n] for n in CASES if n in results}
            write("training", head, [{"case": n} | r for n, r in results.items()], page(head, results))
    show(COLUMNS, [row(name, r) for name, r in results.items()])


def earlier() -> dict[str, dict[str, Any]]:
    """Results of the last run."""
    file = RESULTS / "training.json"
    found = json.loads(file.read_text())["results"] if file.is_file() else []
    return {r["case"]: {k: v for k, v in r.items() if k != "case"} for r in found}


def _present(*distributions: str) -> list[str]:
    """Those that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    out = []
    for name in distributions:
        with contextlib.suppress(PackageNotFoundError):
            version(name)
            out.append(name)
    return out


#: What the table does not show.
FOUND = [
    "Measured on 2026-11-29 case by case (`--only`, 2 or 3 pairs) while other programs used the cores: wall times are several times",
    "those of an idle machine; the ratios of processor time are what counts.",
    "",
    "## Where the time goes",
    "",
    "- **Discriminators**: both players' gradients are taken at the same weights, so each batch is judged once; the authors judge the",
    "  reconstructions twice, DAC's and EnCodec's loops the originals too. Gradients of the discriminators' weights are not computed",
    "  for the tokenizer's loss (LlamaGen's and DAC's loops do so, and throw them away).",
    "- **Adam** is one fused kernel: a quarter of the time of torch's default on a CPU. Norms without a limit change no gradients.",
    "- **3x3 convolutions** of pictures are nine tenths of LlamaGen's step. On a CPU they, the gradient of their input and that of",
    "  their filter take Winograd's way (`codecs/kernels/winograd.py`); an enlarged picture is convolved by its own pixels, with 4",
    "  products of 9. Errors against float64 are as large as oneDNN's. Channels-last memory does not pay here: oneDNN's gradient of a",
    "  filter takes 377 ms in it, 137 otherwise (128 channels, two pictures of 128 x 128).",
    "- **Codes** are searched in blocks and counted without one-hot matrices, hence time and memory of the plain loops.",
    "",
    "Equal losses need these changes to the authors' modules, in the script: LlamaGen's LPIPS without the dropout of its heads;",
    "centred frames in DAC's and EnCodec's spectral discriminators; their discriminators' rate at 0, since they are updated first;",
    "EnCodec without its spectral loss, replaced codes and dropped codebooks; DAC without dropped codebooks.",
    "With weight norm, as their recipes have it, DAC and EnCodec spend a part of the step in norms, the same on both sides.",
    "vector-quantize-pytorch's residual stack passes the decoder's gradient to the encoder once for each level (8 times here).",
    "",
    "**Not met**: 1.3x for DAC (two pairs of steps on a busy machine); EnCodec's memory, 5 % above the authors'.",
]


if __name__ == "__main__":
    main()
