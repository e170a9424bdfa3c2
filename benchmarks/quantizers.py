"""Quantizers: ours and vector-quantize-pytorch side by side, against the bare matmul where a table is searched.

    python benchmarks/quantizers.py                    all cases, two threads, about 10 minutes
    python benchmarks/quantizers.py --only vq-8192x32  one case, printed only

Times: wall time and processor time of all threads, ours and the peer's calls taking turns in one process, median. Memory:
each call in a separate process, the peak of the resident set from before the quantizer is built until two calls are
done, less what was there before.
`encode` is ids from latents without gradients (the peer has no call for it: its forward in eval mode); `step` is forward
and backward in training mode, moving averages and losses included. Weights and latents are shared.
Letters: N vectors, V codes, D latent width, K codebooks.
"""

import argparse
import gc
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from measure import head_lines, header, in_process, limit_memory, resident, show, table_lines, take_turns, watched, write
from torch import Tensor


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        ours: kind and settings of our quantizer.
        peer: class of vector-quantize-pytorch and its arguments.
        vectors: N of encode.
        step_vectors: N of the training step; smaller where the peer's would not fit in memory.
        table: (V, K) of what is searched, None for closed forms.
    """

    name: str
    ours: tuple[str, dict[str, Any]]
    peer: tuple[str, dict[str, Any]]
    vectors: int = 16384
    step_vectors: int = 16384
    table: tuple[int, int] | None = None
    note: str = ""

    @property
    def dim(self) -> int:
        """D."""
        return self.ours[1]["dim"]


def _table_case(name: str, size: int, dim: int, vectors: int = 16384) -> Case:
    ours = {"dim": dim, "codebook_size": size, "kmeans_init": False, "replace_below": 0.0, "commitment_weight": 1.0}
    peer = {"dim": dim, "codebook_size": size, "decay": 0.99, "rotation_trick": False}
    return Case(name, ("vq", ours), ("VectorQuantize", peer), vectors, vectors, (size, 1))


def cases() -> list[Case]:
    """The list of all comparisons with peers."""
    common = {"dim": 128, "codebook_size": 1024}
    ours_rvq = common | {"num_codebooks": 8, "kmeans_init": False, "replace_below": 0.0, "commitment_weight": 1.0}
    peer_rvq = common | {"num_quantizers": 8, "decay": 0.99, "rotation_trick": False}
    lfq = {"dim": 18, "commitment_weight": 0.25}
    bsq = {"dim": 36, "bits": 36, "entropy": "grouped", "entropy_group_bits": 18, "entropy_temperature": 0.01}
    two_groups = {"dim": 36, "codebook_size": 2**18, "num_codebooks": 2, "spherical": True, "commitment_loss_weight": 0.25}
    return [
        _table_case("vq-8192x32", 8192, 32),
        _table_case("vq-16384x8", 16384, 8),
        _table_case("vq-262144x8", 2**18, 8, 1024),
        Case("residual-8x1024x128", ("residual_vq", ours_rvq), ("ResidualVQ", peer_rvq), 4096, 4096, (1024, 8)),
        Case("fsq-64k", ("fsq", {"dim": 6, "levels": (8, 8, 8, 5, 5, 5)}), ("FSQ", {"levels": [8, 8, 8, 5, 5, 5]})),
        Case(
            "lfq-18",
            ("lfq", lfq | {"bits": 18}),
            ("LFQ", {"dim": 18, "codebook_size": 2**18, "commitment_loss_weight": 0.25}),
            step_vectors=256,
            note="The peer's step holds several N x 2^18 tensors; its entropies cut probabilities off at 1e-5.",
        ),
        Case(
            "bsq-36",
            ("bsq", bsq),
            ("LFQ", two_groups),
            step_vectors=128,
            note="The peer builds its codebook, 2^36 codes, so it runs as two codebooks of 2^18.",
        ),
    ]


# --- the two sides ------------------------------------------------------------------------------------------------------


class Ours:
    """Our quantizer, latents `[B, D, L]`."""

    def __init__(self, case: Case) -> None:
        from tokenzoo.codecs.quantizers import build

        self.q = build(case.ours[0], **case.ours[1])

    def latents(self, rows: Tensor) -> Tensor:
        """Rows `[B, L, D]` as this side takes them."""
        return rows.transpose(1, 2).contiguous()

    def encode(self, z: Tensor) -> Tensor:
        """Ids `[B, L, K]`."""
        return self.q.eval().encode(z).transpose(1, 2)

    def step(self, z: Tensor) -> None:
        """Forward and backward in training mode."""
        out = self.q.train()(z.requires_grad_())
        (out.z_q.sum() + out.loss).backward()
        z.grad = None

    def tables(self) -> list[Tensor]:
        """The searched tables `[V, D]`, to be filled."""
        return [b for name, b in self.q.state_dict().items() if name.endswith("embed")]


class Peer:
    """vector-quantize-pytorch, latents `[B, L, D]`."""

    def __init__(self, case: Case) -> None:
        import vector_quantize_pytorch

        self.q = getattr(vector_quantize_pytorch, case.peer[0])(**case.peer[1])

    def latents(self, rows: Tensor) -> Tensor:
        """Rows as this side takes them."""
        return rows.clone()

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """Ids `[B, L, K]`."""
        ids = self.q.eval()(z)[1]
        return ids if ids.ndim == 3 else ids.unsqueeze(-1)

    def step(self, z: Tensor) -> None:
        """Forward and backward in training mode."""
        z_q, _, *loss = self.q.train()(z.requires_grad_())
        (z_q.sum() + sum(term.sum() for term in loss)).backward()
        z.grad = None

    def tables(self) -> list[Tensor]:
        """The searched tables `[V, D]`, to be filled."""
        return [b[0] for name, b in self.q.state_dict().items() if name.endswith("embed")]


SIDES: dict[str, Callable[[Case], Ours | Peer]] = {"ours": Ours, "peer": Peer}


def make(side: str, case: Case) -> Ours | Peer:
    """Build one side with the seeded tables that both have."""
    torch.manual_seed(0)
    made = SIDES[side](case)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for k, table in enumerate(made.tables()):
            table.copy_(torch.randn(table.shape, generator=generator) * 0.7**k)
    return made


def rows_of(case: Case, number: int) -> Tensor:
    """Latents `[16, N / 16, D]`."""
    return torch.randn(16, number // 16, case.dim, generator=torch.Generator().manual_seed(2))


# --- measuring ----------------------------------------------------------------------------------------------------------


def measure_times(case: Case, seconds: float) -> dict[str, Any]:
    """Median milliseconds of every call, the calls taking turns, and the share of equal ids."""
    calls: dict[str, Callable[[], Any]] = {}
    result: dict[str, Any] = {"equal_ids": agreement(case)}
    for side in SIDES:
        made = make(side, case)
        z, z_step = (made.latents(rows_of(case, n)) for n in (case.vectors, case.step_vectors))
        calls[f"encode_{side}"] = lambda made=made, z=z: made.encode(z)
        calls[f"step_{side}"] = lambda made=made, z=z_step: made.step(z)
    if case.table:
        for rows, columns in ((512, 1024), (1024, 2048), (256, 8192)):
            calls[f"matmul_{rows}x{columns}"] = bare_matmul(case, rows, columns)
    result |= take_turns(calls, seconds=seconds)
    if case.table:
        blocks = [name for name in calls if name.startswith("matmul_")]
        for unit in ("ms", "cpu_ms"):
            result[f"matmul_{unit}"] = min(result.pop(f"{name}_{unit}") for name in blocks)
    return result


def agreement(case: Case) -> float:
    """Share of equal ids on the same latents and tables."""
    rows = rows_of(case, min(case.vectors, 4096))
    ids = [made.encode(made.latents(rows)) for made in (make(side, case) for side in SIDES)]
    return float((ids[0] == ids[1]).float().mean())


def bare_matmul(case: Case, rows: int, columns: int) -> Callable[[], None]:
    """All products of the search in blocks that stay in the cache, and nothing else."""
    assert case.table
    size, number = case.table
    z, table = torch.randn(case.vectors, case.dim), torch.randn(size, case.dim)
    out = torch.empty(min(rows, case.vectors), min(columns, size))

    def run() -> None:
        for _ in range(number):
            for part in z.split(rows):
                for block in table.split(columns):
                    torch.mm(part, block.t(), out=out[: len(part), : len(block)] if len(part) == len(out) else None)

    return run


def measure_memory(case: Case, side: str, call: str) -> float:
    """Peak megabytes of building one side and calling it twice; run this in a separate process."""
    limit_memory()
    warm = _table_case("warm", 4, 2)  # loads code, thread pools and the matmul library's own buffers
    small = make(side, warm)
    small.encode(small.latents(rows_of(warm, 16)))
    small.step(small.latents(rows_of(warm, 16)))
    rows = rows_of(case, case.vectors if call == "encode" else case.step_vectors)
    torch.mm(rows[0], rows[0].T)
    del small
    gc.collect()
    before = resident()
    with watched() as peak:
        made = make(side, case)
        z = made.latents(rows)
        for _ in range(2):
            getattr(made, call)(z)
    return (peak.bytes - before) / 2**20


# --- reporting ----------------------------------------------------------------------------------------------------------

COLUMNS = (
    *("case", "call", "N", "ours ms", "peer ms", "faster", "faster (CPU)", "x matmul"),
    *("ours MB", "peer MB", "less memory", "ids equal"),
)


def table_rows(results: list[dict[str, Any]]) -> list[list[str]]:
    """The results as text, one row a case and call."""
    out = []
    for r in results:
        for call in ("encode", "step"):
            times = [r.get(f"{call}_{side}_ms") for side in SIDES]
            memory = [r[f"{call}_{side}_mb"] for side in SIDES]
            cpu = [r.get(f"{call}_{side}_cpu_ms") for side in SIDES]
            over = r.get("matmul_cpu_ms") if call == "encode" else None
            out.append(
                [r["case"] if call == "encode" else "", call, str(r["vectors" if call == "encode" else "step_vectors"])]
                + [f"{t:.2f}" if t else "-" for t in times]
                + [f"{t[1] / t[0]:.1f}x" if all(t) else "-" for t in (times, cpu)]
                + [f"{cpu[0] / over:.2f}" if over else ""]
                + [f"{m:.1f}" if isinstance(m, float) else str(m) for m in memory]
                + [f"{memory[1] / max(memory[0], 0.1):.0f}x" if all(isinstance(m, float) for m in memory) else "-"]
                + [f"{100 * r['equal_ids']:.2f} %" if call == "encode" and "equal_ids" in r else ""]
            )
    return out


def page(head: dict[str, Any], results: list[dict[str, Any]]) -> list[str]:
    """Lines of the committed page."""
    lines = head_lines("Quantizers: ours and vector-quantize-pytorch", (__doc__ or "").split("\n\n")[2], head)
    lines += table_lines(COLUMNS, table_rows(results))
    lines += ["", "`x matmul`: our encode over the bare products in the fastest of three block sizes, processor time.", ""]
    return lines + [f"{c.name}: {c.note}" for c in cases() if c.note]


def main() -> None:
    """Command line; `--times` and `--memory` are how it calls itself."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=None, metavar="CASE", help="some cases, without writing results")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20.0, help="for the timing of each case")
    parser.add_argument("--times", metavar="CASE", help=argparse.SUPPRESS)
    parser.add_argument("--memory", nargs=3, metavar=("CASE", "SIDE", "CALL"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    by_name = {case.name: case for case in cases()}
    common = ["--threads", str(args.threads), "--seconds", str(args.seconds)]
    if args.times:
        print(json.dumps(measure_times(by_name[args.times], args.seconds)))
        return
    if args.memory:
        print(json.dumps(measure_memory(by_name[args.memory[0]], *args.memory[1:])))
        return
    packages = ("torch", "vector-quantize-pytorch")
    head, results = header(__file__, threads=args.threads, packages=packages), []
    for name in args.only or by_name:
        case = by_name[name]
        result: dict[str, Any] = {"case": name, "vectors": case.vectors, "step_vectors": case.step_vectors}
        times = in_process(__file__, "--times", name, *common)
        result |= times if isinstance(times, dict) else {"problem": times}
        for side in SIDES:
            for call in ("encode", "step"):
                result[f"{call}_{side}_mb"] = in_process(__file__, "--memory", name, side, call, *common)
        results.append(result)
        print(json.dumps(result), file=sys.stderr)
    show(COLUMNS, table_rows(results))
    if args.only is None:
        write("quantizers", head, results, page(head, results))


if __name__ == "__main__":
    main()
