"""Many items of work on all of PyTorch's threads, with one fork and one join for all of them.

Every operator of PyTorch divides its own work among its threads and waits for the last of them. A computation in hundreds of blocks
that fit the caches does so hundreds of times, and when other programs want the cores, each time waits for a thread that does not
run: seconds instead of a tenth of one. Here each thread takes one block after the other and computes all of it alone, so that a
thread that does not run holds up one block, and the other threads take what it would have taken.

    def prepare():                    # called once
        table = transform(weight)
        return lambda block: compute(block, table)

    results = on_threads(prepare, blocks)
"""

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_pool: ThreadPoolExecutor | None = None


def on_threads(prepare: Callable[[], Callable[[Item], Result]], items: Sequence[Item]) -> list[Result]:
    """Results of all items, in their order, computed without gradients on at most `torch.get_num_threads()` threads.

    Operators called in `prepare` and for an item use one thread each. A result must not depend on which thread computes it, nor on
    what that thread has computed before.

    Args:
        prepare: called once, by the first thread; returns the function of an item, which several threads call at the same time.
        items: the work, in pieces of at least a tenth of a millisecond.
    """
    todo, prepared, results = [*enumerate(items)][::-1], [], {}
    lock = threading.Lock()

    def work() -> None:
        with lock:
            if not prepared and todo:
                prepared.append(prepare())
        while todo:
            try:
                place, item = todo.pop()
            except IndexError:  # another thread took the last one
                return
            results[place] = prepared[0](item)

    if torch.get_num_threads() == 1:
        with torch.no_grad():
            work()
    else:
        inference = torch.is_inference_mode_enabled()  # tensors made in this mode can only be written to in it

        def on_thread() -> None:
            try:
                with torch.inference_mode(inference), torch.no_grad():
                    work()
            except BaseException:
                todo.clear()
                raise

        tasks = [_threads().submit(on_thread) for _ in range(min(torch.get_num_threads(), len(items)))]
        try:
            wait(tasks)
        finally:  # also where the caller is interrupted
            todo.clear()
        for task in tasks:
            task.result()
    return [results[place] for place in range(len(items))]


def _threads() -> ThreadPoolExecutor:
    """The threads of this process; more are started when all are at work."""
    global _pool
    if _pool is None:
        most = max(64, 4 * (os.cpu_count() or 1))
        _pool = ThreadPoolExecutor(most, "tokenzoo", initializer=_use_one_thread, initargs=(bound_cores(),))
    return _pool


def _forget() -> None:
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)  # a forked process has none of its parent's threads


def on_all_cores(call: Callable[[], Result]) -> Result:
    """What `call` returns, in a thread that may use all cores: processes that a bound thread starts would share its single core."""
    cores = bound_cores()
    if cores is None:
        return call()
    with ThreadPoolExecutor(1, initializer=os.sched_setaffinity, initargs=(0, cores)) as free:
        return free.submit(call).result()


def bound_cores() -> set[int] | None:
    """The cores of OpenMP's threads, where these are bound; None: they are not."""
    if os.environ.get("OMP_PROC_BIND", "false").lower() == "false" or not os.path.isdir("/proc/self/task"):
        return None
    usual, all_of_them = torch.get_num_threads(), os.cpu_count() or 1
    torch.set_num_threads(all_of_them)
    torch.zeros(all_of_them << 15).add_(1)  # OpenMP starts its threads in the first large operator
    torch.set_num_threads(usual)
    cores: set[int] = set()
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):  # it has ended
            cores |= os.sched_getaffinity(int(thread))
    return cores


def _use_one_thread(cores: set[int] | None) -> None:
    """Operators called by this thread use no others. `set_num_threads` also sets the number for threads that begin later."""
    if cores:
        os.sched_setaffinity(0, cores)
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    other = threading.Thread(target=torch.set_num_threads, args=(usual,))
    other.start()
    other.join()
