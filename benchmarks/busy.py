"""Busy machines: our blocked computations alone, and while other programs want the cores.

    python benchmarks/busy.py                  all cases, one and two threads, about two minutes
    python benchmarks/busy.py --threads 8      one and eight threads

Each case is measured on one thread and on several, with nothing beside it and beside one endless loop a core, the calls taking turns
in one process; median wall time. `alone` is as quiet as the load average before it says. A call that gives each thread whole blocks
takes about twice as long beside the loops, since it has half of every core; one in which threads wait for each other at every small
step takes ten to a hundred times as long.
Letters: N vectors, V codes, D latent width, C channels, H W positions.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from measure import head_lines, header, show, table_lines, take_turns, write

COLUMNS = ("case", "threads", "alone ms", "beside loops ms", "slower", "alone, over one thread", "beside loops, over one thread")


def cases() -> dict[str, Callable[[], Any]]:
    """The computations, by name."""
    from tokenzoo.codecs.kernels.norm import channel_moments
    from tokenzoo.codecs.kernels.winograd import convolve3x3
    from tokenzoo.codecs.quantizers.parts.nearest import nearest_code

    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw)

    vectors, table, wide, narrow = normal(8192, 32), normal(16384, 32), normal(4096, 128), normal(1024, 128)
    x, weight = normal(1, 128, 256, 256).contiguous(memory_format=torch.channels_last), normal(128, 128, 3, 3) / 34
    gain, zeros = torch.ones(1, 128), torch.zeros(1024, 128)
    return {
        "search, N 8192, D 32, V 16384": lambda: nearest_code(vectors, table),
        "search, N 4096, D 128, V 1024": lambda: nearest_code(wide, narrow),
        "search, 1024 zeros": lambda: nearest_code(wide, zeros),
        "norm, SiLU and 3x3 convolution, C 128, 256 x 256": lambda: convolve3x3(x, weight, norm=(gain, gain), activation=F.silu),
        "moments of a norm, C 128, 256 x 256": lambda: channel_moments(x),
    }


@contextlib.contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """`count` processes that never rest, until the block ends."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(1)
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def measure(threads: int, seconds: float) -> list[dict[str, Any]]:
    """Median milliseconds of each case: `alone_1_ms`, `alone_N_ms`, `busy_1_ms`, `busy_N_ms`."""

    def on(count: int, call: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            torch.set_num_threads(count)
            with torch.no_grad():
                call()

        return run

    results = [{"case": name, "threads": threads} for name in cases()]
    for state, loops in (("alone", 0), ("busy", os.cpu_count() or 1)):
        with busy_loops(loops):
            for result, call in zip(results, cases().values(), strict=True):
                times = take_turns({"1": on(1, call), "N": on(threads, call)}, seconds=seconds)
                result |= {f"{state}_{key}": value for key, value in times.items()}
    return results


def table_rows(results: list[dict[str, Any]]) -> list[list[str]]:
    """The results as text, two rows a case."""
    out = []
    for r in results:
        for count, key in ((1, "1"), (r["threads"], "N")):
            alone, busy = r[f"alone_{key}_ms"], r[f"busy_{key}_ms"]
            over = ["", ""] if key == "1" else [f"{r['alone_1_ms'] / alone:.2f}x", f"{r['busy_1_ms'] / busy:.2f}x"]
            out.append([r["case"] if key == "1" else "", str(count), f"{alone:.1f}", f"{busy:.1f}", f"{busy / alone:.1f}x", *over])
    return out


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=8.0, help="for each case, alone and beside the loops")
    parser.add_argument("--print-only", action="store_true", help="write no results")
    args = parser.parse_args()
    head = header(__file__, threads=args.threads, packages=("torch",))
    results = measure(args.threads, args.seconds)
    show(COLUMNS, table_rows(results))
    if not args.print_only:
        about = (__doc__ or "").split("\n\n")[2]
        write("busy", head, results, [*head_lines("Busy machines", about, head), *table_lines(COLUMNS, table_rows(results))])


if __name__ == "__main__":
    main()
