"""Audio tokenizers: ours, transformers' and the authors' packages side by side, on the same weights.

    pip install tokenzoo[peers]
    python benchmarks/audio.py                                   all cases, two threads, about 35 minutes
    python benchmarks/audio.py --only encodec-24khz --batch 1    one case; of the same device and versions, other rows stay

Peers: transformers' `EncodecModel`, `DacModel` and `MimiModel`, and the packages `encodec`, `descript-audio-codec` and `snac` of
the authors, at their published sizes (`audio_peers.py`). All run as their authors call them, eagerly, without gradients. Where
there are two, both run at batch 1, and the better one, of both calls together, at larger batches.

Times: wall time, median, the calls taking turns in one process: the peers, ours, and ours after `tokenizer.compile()`. OpenMP's
threads are bound to a core each (OMP_PROC_BIND): otherwise Linux kept both on one now and then, and two took as long as one.
Memory: each side in a separate process, the peak of the resident set in each call, less what was there before
the model was built. Clips are 10 s of noise under a slow envelope; weights and codebooks are random, the weights scaled and shifted
so that activations go both ways, as those of trained networks do (`audio_peers.evened_out`).
GFLOP/s: operations of convolutions, linear layers and LSTMs over our time.
"""

import argparse
import contextlib
import ctypes
import gc
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from audio_peers import Codec, Ours, Peer, Theirs, codecs, waveform
from measure import head_lines, header, in_process, kept_rows, merged, resident, show, table_lines, take_turns, watched, write
from torch import nn

CODECS = {codec.name: codec for codec in codecs()}
CALLS = ("encode", "decode")
OURS = ("ours", "compiled")
SECONDS = 10.0


# --- measuring ----------------------------------------------------------------------------------------------------------


def peer_of(codec: Codec, package: str) -> Peer:
    """The codec's peer from `package`; our own sides take the first one's weights."""
    return next((p for p in codec.peers if p.package == package), codec.peers[0])


def make(codec: Codec, side: str) -> Theirs | Ours:
    """A side: the name of a peer's package, "ours" or "compiled"."""
    if side not in OURS:
        return Theirs(codec, peer_of(codec, side))
    ours = Ours(codec, codec.peers[0])
    if side == "compiled":
        ours.tokenizer.compile()
    return ours


def measure_times(name: str, batch: int, packages: list[str], seconds: float) -> dict[str, Any]:
    """Median milliseconds of every call, and how the results compare; the comparison is the first call of each."""
    codec = CODECS[name]
    x = waveform(codec, batch, SECONDS)
    sides = {side: make(codec, side) for side in (*packages, *OURS)}
    codes: dict[str, Any] = {}
    audio: dict[str, Any] = {}
    result: dict[str, Any] = {}
    for side, model in sides.items():
        with counted(model) as count:
            codes[side] = model.encode(x)
        encode = count()
        with counted(model) as count:
            audio[side] = model.decode(codes[side])
        if side == "ours":
            result |= {"encode_gflop": encode, "decode_gflop": count()}
    ids = {side: model.ids(codes[side]) for side, model in sides.items()}
    result["distinct_ids"] = len(ids["ours"].unique())
    result["equal_ids_compiled"] = share_equal(ids["ours"], ids["compiled"])
    for package in packages:
        same = package == codec.peers[0].package
        ours = sides["ours"] if same else Ours(codec, peer_of(codec, package))
        tokens = codes["ours"] if same else ours.encode(x)
        result[f"equal_ids_{package}"] = share_equal(ids[package], ours.ids(tokens))
        if not codec.noisy:
            length = min(audio[package].shape[-1], x.shape[-1])  # DAC gives fewer samples than went in
            got, want = (audio["ours"] if same else ours.decode(tokens))[..., :length], audio[package][..., :length]
            result[f"waveform_{package}"] = float((got - want).abs().max() / want.abs().max())
    for call in CALLS:
        given = {side: x if call == "encode" else codes[side] for side in sides}
        calls = {side: _bound(getattr(model, call), given[side]) for side, model in sides.items()}
        result[call] = take_turns(calls, seconds=seconds, least=1, warm=False)
    return result | {"matmul_gflops": bare_matmul()}


@contextlib.contextmanager
def counted(side: Theirs | Ours) -> Iterator[Callable[[], float]]:
    """Gives a function that returns the GFLOP of convolutions, linear layers and LSTMs so far; of our side."""
    total = [0.0]

    def hook(part: nn.Module, given: tuple[Any, ...], out: Any) -> None:
        if isinstance(part, nn.LSTM):
            total[0] += 2e-9 * given[0].numel() / part.input_size * sum(p.numel() for p in part.parameters())
        elif isinstance(part, nn.ConvTranspose1d):
            total[0] += 2e-9 * given[0].numel() * part.weight[0].numel()
        else:
            total[0] += 2e-9 * out.numel() * part.weight[0].numel()

    parts = side.tokenizer.modules() if isinstance(side, Ours) else ()
    hooks = [p.register_forward_hook(hook) for p in parts if isinstance(p, (nn.Conv1d, nn.ConvTranspose1d, nn.Linear, nn.LSTM))]
    yield lambda: total[0]
    for handle in hooks:
        handle.remove()


def _bound(call: Callable[[Any], Any], given: Any) -> Callable[[], Any]:
    return lambda: call(given)


def share_equal(a: torch.Tensor, b: torch.Tensor) -> float:
    """Share of ids that are equal, over the positions that both have."""
    length = min(a.shape[-1], b.shape[-1])
    return float((a[..., :length] == b[..., :length]).float().mean())


def bare_matmul() -> float:
    """GFLOP/s of products of float32 matrices about as large as the convolutions here are: what this CPU can give."""
    best = 0.0
    for rows, inner, columns in ((8192, 512, 128), (2048, 2560, 512), (2000, 2000, 2000)):
        a, b = torch.randn(rows, inner), torch.randn(inner, columns)
        for _ in range(20):
            start = time.perf_counter()
            torch.mm(a, b)
            best = max(best, 2e-9 * rows * inner * columns / (time.perf_counter() - start))
    return best


def measure_memory(name: str, batch: int, side: str) -> dict[str, float]:
    """Peak megabytes of one side in encode, and then in decode; run this in a separate process."""
    codec = CODECS[name]
    short = make(codec, side)  # what a process loads once: modules, kernels, the matmul library's buffers, the compiler
    short.decode(short.encode(waveform(codec, 1, 0.5)))
    del short
    free()
    x, before = waveform(codec, batch, SECONDS), resident()
    model = make(codec, side)
    free()  # ours is built from the peer's weights
    with watched() as encoding:
        codes = model.encode(x)
    free()
    with watched() as decoding:
        model.decode(codes)
    return {"encode": (encoding.bytes - before) / 2**20, "decode": (decoding.bytes - before) / 2**20}


def free() -> None:
    """Give memory back, also what the C library keeps (Linux)."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


# --- reporting ----------------------------------------------------------------------------------------------------------

COLUMNS = (
    *("case", "call", "batch", "peers ms", "ours ms", "compiled ms", "faster", "compiled"),
    *("peers MB", "ours MB", "compiled MB", "ids equal", "ours GFLOP/s"),
)


def row(result: dict[str, Any], call: str) -> list[str]:
    """One call of one case as text; the better peer is what ours is compared with."""
    times, packages = result.get(call, {}), result["peers"]
    if not times:
        return [result["case"], call, str(result["batch"]), str(result.get("problem")), *[""] * (len(COLUMNS) - 4)]
    wall = [min(times[f"{p}_ms"] for p in packages), *(times[f"{s}_ms"] for s in OURS)]
    memory = [" / ".join(megabytes(result, p, call) for p in packages), *(megabytes(result, s, call) for s in OURS)]
    equal = min(result["equal_ids_compiled"], *(result[f"equal_ids_{p}"] for p in packages))
    return [
        result["case"],
        call,
        str(result["batch"]),
        " / ".join(f"{times[f'{p}_ms']:.0f}" for p in packages),
        *(f"{t:.0f}" for t in wall[1:]),
        *(f"{wall[0] / t:.2f}x" for t in wall[1:]),
        *memory,
        f"{100 * equal:.2f} %",
        f"{1e3 * result[f'{call}_gflop'] / wall[1]:.0f} of {result['matmul_gflops']:.0f}",
    ]


def megabytes(result: dict[str, Any], side: str, call: str) -> str:
    """Peak memory as text, or what went wrong."""
    memory = result["memory"][side]
    return f"{memory[call]:.0f}" if isinstance(memory, dict) else str(memory)


def page(head: dict[str, Any], results: list[dict[str, Any]]) -> list[str]:
    """The committed page."""
    rows = [row(r, call) for r in results for call in CALLS]
    order = [f"{r['case']}, batch {r['batch']}: {' / '.join(r['peers'])}" for r in results]
    far = [f"{k[9:]} {r['case']} {v:.1e}" for r in results for k, v in r.items() if k.startswith("waveform_") and r["batch"] == 1]
    return [
        *head_lines("Audio tokenizers: ours, transformers and the authors' packages", (__doc__ or "").split("\n\n", 2)[2], head),
        *table_lines(COLUMNS, rows),
        "",
        f"Peers, in the order of their figures: {'; '.join(order)}.",
        "",
        f"Largest distance of a sample, as a share of the loudest one: {'; '.join(far)}.",
        "",
        "`ours GFLOP/s`: of how many that products of matrices alone reach in the same process.",
        "",
        *FOUND,
    ]


def measure(name: str, batch: int, packages: list[str], common: list[str]) -> dict[str, Any]:
    """Times and memory of one case, in separate processes."""
    result: dict[str, Any] = {"case": name, "batch": batch, "peers": packages}
    times = in_process(__file__, "--times", name, str(batch), *packages, *common)
    result |= times if isinstance(times, dict) else {"problem": times}
    result["memory"] = {side: in_process(__file__, "--memory", name, str(batch), side, *common) for side in (*packages, *OURS)}
    return result


def better(result: dict[str, Any]) -> list[str]:
    """The peer whose calls take the least time together."""
    return [min(result["peers"], key=lambda p: sum(result[call][f"{p}_ms"] for call in CALLS))]


def main() -> None:
    """Command line; `--times` and `--memory` are how it calls itself."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=None, choices=CODECS, help="some cases, written where the other rows can stay")
    parser.add_argument("--batch", nargs="*", type=int, default=[1, 8])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=15.0, help="for the timing of each call; one round at least")
    parser.add_argument("--times", nargs="+", metavar="CASE BATCH PEER", help=argparse.SUPPRESS)
    parser.add_argument("--memory", nargs=3, metavar=("CASE", "BATCH", "SIDE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    if args.times:
        name, batch, *packages = args.times
        print(json.dumps(measure_times(name, int(batch), packages, args.seconds)))
        return
    if args.memory:
        name, batch, side = args.memory
        print(json.dumps(measure_memory(name, int(batch), side)))
        return
    distributions = ("torch", "transformers", "encodec", "descript-audio-codec", "snac")
    head, results = header(__file__, threads=args.threads, packages=distributions, options=["--seconds", f"{args.seconds:g}"]), []
    common = ["--threads", str(args.threads), "--seconds", str(args.seconds)]
    kept = kept_rows("audio", head) if args.only else []
    for name in args.only or CODECS:
        packages = [p.package for p in CODECS[name].peers]
        for batch in args.batch:
            results.append(measure(name, batch, packages, common))
            print(json.dumps(results[-1]), file=sys.stderr, flush=True)
            packages = better(results[-1]) if len(packages) > 1 and "problem" not in results[-1] else packages
            if args.only is None or kept:
                rows = merged(kept, results)
                write("audio", head, rows, page(head, rows))
    show(COLUMNS, [row(r, call) for r in results for call in CALLS])


#: What the table does not show.
FOUND = [
    "## What was found (2026-11-26, the same machine; one thread, processor time, unless it says otherwise)",
    "",
    "Before, EnCodec's encoder took 797 ms for 10 s: ELU 271, convolutions 335, the LSTM 117, padding by mirroring 36, the search",
    "over codes 25.",
    "",
    "- **ELU**: PyTorch's takes 9.1 ms for a million values, `torch.expm1` 10.8, 2 t / (1 - t) with t = tanh(x / 2) 3.8, all to",
    "  the last two bits. `exp(x) - 1` takes 2.7, but keeps 1e-7 of 1 only: quiet sounds lose digits. In some processes PyTorch's",
    "  takes 1.3 instead, for all values alike; why was not found. Mimi's peer is one of them, and so no slower than ours at batch 1.",
    "- **Layout**: as pictures of height 1 in channels-last memory, convolutions copy no input, and those of 1 are products of",
    "  matrices. With weights stored like that at load, EnCodec's go from 335 ms to 260.",
    "- **Transposed convolutions** as one product for each s steps of the kernel: 7 % of EnCodec's decoder; nothing elsewhere.",
    "- **Padding**: one copy that joins what the ends need, 35 ms for all of EnCodec's encoder.",
    "- **Tiles** of 4 MB: 5 to 8 % of the time at batch 1; at batch 8 the memory, and with it most of what is won there: the",
    "  peers' activations are up to 250 MB each, which no cache holds.",
    "- **Snake** in place, with one buffer. `compile()` makes it, and ELU, one pass over memory; it does no more than that.",
    "- **The LSTM** (oneDNN's, the same on all sides) is a quarter of EnCodec's time now, and `compile()` does not touch it.",
    "",
    "What did not help and was taken out again: samples of a single channel side by side as one product; a product for each tap where",
    "a convolution has one output; kernels of 2 s as two products; depthwise convolutions tap by tap; each within 3 %, both ways.",
    "Tiles of equal length for each clip: oneDNN keeps a convolution for every length it meets, and memory grew with every new one.",
    "Threads that sleep (OMP_WAIT_POLICY=PASSIVE): Linux put both on one core, and two threads took as long as one.",
    "Winograd's way (as in `image.md`) along time: kernels of 7 in tiles of 4 outputs take 14 products of 28, at no loss of digits,",
    "and are 1.0 to 1.25 times as fast; kernels of 2 and 3 are slower. Products of matrices run at 185 GFLOP/s, oneDNN's convolutions",
    "at 225. ELU through `exp` and a polynomial near 0: no faster where it stands.",
    "",
    "On an Intel Xeon (AVX-512, 2 MB of L2 cache a core, shared with other programs; 2026-11-30, one thread, processor time):",
    "products of matrices run at 120 to 145 GFLOP/s, oneDNN's convolutions as well, but at 71 with 8 million weights and 106 with 11",
    "million, which it reorders in each call: from 1.5 million weights on, one product for each s steps of the kernel is 5 to 40 %",
    "faster. The LSTM of EnCodec (38 % of its encoder) takes 0.2 ms a step and layer, no more than its product with a vector alone:",
    "4 MB of weights from the L3 cache.",
    "ELU of 7.7 million values there, on two threads: PyTorch's 8.6 ms, but the last values of a tensor get other last bits than those",
    "before them, so ids would depend on an item's place in the batch; by tanh 34; by `torch.expm1`, which treats all alike, 11: taken",
    "on Intel's processors. Compiled into one pass: by tanh 20, by `expm1` 12, by a power series above -1/2 and `exp` below 8.1: taken",
    "everywhere. Before, `compile()` made EnCodec and Mimi slower there than their peers.",
    "Within the models no gain: ELU and Snake in blocks of 256 kB (alone 1.4 times as fast), tiles of 0.5 to 2 MB (up to 20 % slower).",
    "Kernels of 2 s by 3 products for 2 outputs instead of 4: 10 % faster than two products at 256 channels, no faster below or above.",
    "",
    "**Not met**: at batch 1, 1.5x for EnCodec's encoder, Mimi and DAC, and 2x compiled for all but SNAC; at batch 8, 2x compiled for",
    "Mimi and, by a hundredth, DAC's decoder; memory of DAC compiled at batch 1 (the loaded compiler). DAC runs at 150 to 170 GFLOP/s",
    "of the 200 that products of matrices reach (last column): at 200, it would be 1.7x as fast as the peer, and no float32",
    "implementation gets far beyond. EnCodec and Mimi run at half of it, out of the same library as the peers do: narrow layers,",
    "activations and, in EnCodec, the LSTM are the rest.",
]


if __name__ == "__main__":
    main()
