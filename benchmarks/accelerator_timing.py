"""How `accelerator.py` measures: the time that is left, calls on a device, peak memory, synchronisations, launches.

On a CUDA device a call is timed from an idle device to an idle device; the rate is that of calls which wait for nothing in between.
"""

import copy
import statistics
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from measure import take_turns

Call = Callable[[], Any]


@dataclass
class Run:
    """What a section gets.

    Attributes:
        device: that is measured.
        tiny: toy sizes, to see that all runs.
        forms: labels of `tests/families.py`; empty: all.
        ends: when the section should end, on the clock `time.monotonic`.
        made: models by name, which sections share.
    """

    device: torch.device
    tiny: bool = False
    forms: tuple[str, ...] = ()
    ends: float = float("inf")
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def cuda(self) -> bool:
        """Whether the device is a CUDA device, which has events, graphs and a count of its memory."""
        return self.device.type == "cuda"

    def left(self) -> float:
        """Seconds until the section should end."""
        return self.ends - time.monotonic()

    def each(self, timings: int) -> float:
        """Seconds for one of `timings` timings that are still to come, all of which together take half of what is left."""
        return 0.01 if self.tiny else min(1.0, max(0.05, self.left() / 2 / max(timings, 1)))

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.cuda:
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


# --- one case -----------------------------------------------------------------------------------------------------------


def attempt(run: Run, row: dict[str, Any], measure: Call) -> dict[str, Any]:
    """`row` with what `measure` returns, or with the first line of its error, whose trace goes to stderr."""
    try:
        return row | measure()
    except Exception as error:
        traceback.print_exc()
        return row | {"error": described(run, error)}


def described(run: Run, error: Exception) -> str:
    """Type and first line of an error, for the table; memory that was held for it is given back."""
    text = f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')[:160]}"
    error.__traceback__ = None
    if run.cuda and isinstance(error, torch.OutOfMemoryError):
        torch.cuda.empty_cache()
    return text


def usable(run: Run) -> bool:
    """Whether the device still works: after some errors a process gets no further work done on it."""
    try:
        run.wait()
        return bool(torch.ones(1, device=run.device).sum().item() == 1)
    except Exception:
        return False


def set_precision(name: str) -> None:
    """Have float32 products computed as TF32 where `name` is that, else as float32, in matrix products and convolutions alike."""
    torch.set_float32_matmul_precision("high" if name == "TF32" else "highest")
    torch.backends.cudnn.allow_tf32 = name == "TF32"


def in_precision(run: Run, name: str, model: Any) -> Any:
    """`model` itself, or a copy of it with weights in bfloat16; products of float32 are set to `name`."""
    set_precision(name)
    if name != "bfloat16":
        return model
    key = f"bfloat16 {id(model)}"
    if key not in run.made:
        run.made[key] = copy.deepcopy(model).to(torch.bfloat16)
    return run.made[key]


# --- calls --------------------------------------------------------------------------------------------------------------


def compare(run: Run, calls: Mapping[str, Call], *, seconds: float) -> dict[str, Any]:
    """Times of calls that take turns. A side whose first call fails is left out, and `NAME_error` states why.

    Returns:
        `NAME_ms`, the median from an idle device to an idle device; `NAME_queued_ms`, the mean of calls in a row without waiting;
        `NAME_peak_mib`, memory that the call takes beyond what is held before it, on a CUDA device.
    """
    out: dict[str, Any] = {}
    working: dict[str, Call] = {}
    for name, call in calls.items():
        try:
            call()  # loads kernels, and chooses among them
            out |= {f"{name}_{what}": value for what, value in peak_of(run, call).items()}
            working[name] = call
        except Exception as error:
            traceback.print_exc(limit=-3)
            out[f"{name}_error"] = described(run, error)
    if not working:
        return out
    timed = take_turns({n: _waited(run, c) for n, c in working.items()}, seconds=seconds * len(working), least=2, warm=False)
    out |= {name: value for name, value in timed.items() if not name.endswith("_cpu_ms")}
    for name, call in working.items():
        out[f"{name}_queued_ms"] = queued(run, call, seconds=seconds / 2, once=out[f"{name}_ms"] / 1e3)
    return out


def _waited(run: Run, call: Call) -> Call:
    def timed() -> None:
        call()
        run.wait()

    run.wait()
    return timed


def queued(run: Run, call: Call, *, seconds: float, once: float) -> float:
    """Milliseconds a call of calls in a row, about as many as `seconds` has room for; `once` is the time of one, in seconds."""
    count = max(2, min(200, int(seconds / max(once, 1e-6))))
    run.wait()
    if not run.cuda:
        begin = time.perf_counter()
        for _ in range(count):
            call()
        run.wait()
        return 1e3 * (time.perf_counter() - begin) / count
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(count):
        call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / count


def peak_of(run: Run, call: Call) -> dict[str, float]:
    """Memory in MiB that a call takes beyond what is held before it; nothing where the device does not count it."""
    if not run.cuda:
        return {}
    run.wait()
    torch.cuda.reset_peak_memory_stats(run.device)
    before = torch.cuda.memory_allocated(run.device)
    call()
    run.wait()
    return {"peak_mib": (torch.cuda.max_memory_allocated(run.device) - before) / 2**20}


def waits_of(run: Run, call: Call) -> dict[str, int]:
    """How often the host waits for the device in a call (PyTorch's own count), and kernels and copies that the call launches."""
    if not run.cuda:
        return {}
    run.wait()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    found = {"waits": sum("called a synchronizing" in str(w.message) for w in seen)}
    try:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            call()
            run.wait()
        events = [e for e in profile.events() or () if e.device_type == torch.autograd.DeviceType.CUDA]
        found |= {"launches": len(events), "copies": sum("memcpy" in e.name.lower() for e in events)}
    except Exception:  # the profiler is not allowed everywhere
        traceback.print_exc(limit=-1)
    return found


def graphed(run: Run, call: Callable[[torch.Tensor], Any], x: torch.Tensor) -> Call:
    """`call(x)` as a CUDA graph: a function that replays it on what `x` holds then. `call` must not wait for the device."""
    if not run.cuda:
        raise ValueError("graphs are of CUDA devices")
    side = torch.cuda.Stream(run.device)
    side.wait_stream(torch.cuda.current_stream(run.device))
    with torch.cuda.stream(side), torch.no_grad():
        for _ in range(2):
            call(x)
    torch.cuda.current_stream(run.device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        held = call(x)

    def replay() -> Any:
        graph.replay()
        return held

    return replay


def seconds_of(call: Call) -> float:
    """Wall time of one call."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of `values` lie."""
    return statistics.quantiles(values, n=100, method="inclusive")[round(100 * share) - 1] if len(values) > 1 else values[0]


def say(text: str) -> None:
    """A line for whoever watches."""
    print(text, file=sys.stderr, flush=True)
