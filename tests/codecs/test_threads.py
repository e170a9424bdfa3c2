"""Work on several threads: order, errors, modes, forked processes. Run: pytest tests/codecs/test_threads.py"""

import multiprocessing
import os
import subprocess
import sys
import threading

import pytest
import torch
import waiting
from tokenzoo.codecs.threads import on_threads


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_in_order_prepared_once(threads):
    calls = []

    def prepare():
        calls.append(threading.get_ident())
        return lambda x: (x * x, threading.get_ident(), torch.get_num_threads())

    results = on_threads(prepare, range(50))
    assert [r[0] for r in results] == [x * x for x in range(50)]
    assert len(calls) == 1
    assert len({r[1] for r in results}) <= threads
    assert {r[2] for r in results} == {1}
    assert on_threads(prepare, []) == []
    assert torch.get_num_threads() == threads


def test_threads_work_at_the_same_time(threads):
    together = threading.Barrier(threads, timeout=waiting.PATIENCE_SECONDS)
    assert len({on for on in on_threads(lambda: lambda _: (together.wait(), threading.get_ident())[1], range(threads))}) == threads


def test_threads_that_begin_later_have_the_usual_number(threads):
    on_threads(lambda: abs, range(20))
    seen = []
    other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert seen == [threads]


def test_an_error_reaches_the_caller(threads):
    def fail(x):
        if x == 5:
            raise KeyError("five")
        return x

    with pytest.raises(KeyError, match="five"):
        on_threads(lambda: fail, range(100))
    with pytest.raises(ZeroDivisionError):
        on_threads(lambda: 1 // 0, range(100))
    assert on_threads(lambda: abs, [-1, -2]) == [1, 2]


def test_modes_of_gradients(threads):
    weight = torch.ones(3, requires_grad=True)
    assert not any(y.requires_grad for y in on_threads(lambda: lambda x: x * weight, range(4)))
    assert torch.is_grad_enabled()
    with torch.inference_mode():
        buffer = torch.zeros(4)
        on_threads(lambda: lambda i: buffer[i : i + 1].fill_(i), range(4))  # fails outside of this mode
    assert buffer.tolist() == [0, 1, 2, 3]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity") or os.cpu_count() == 1, reason="this system binds no threads, or has one core")
def test_what_bound_threads_start_does_not_share_one_core():
    code = """
import os, subprocess, sys
before = os.sched_getaffinity(0)
import torch
from tokenzoo.codecs.threads import on_all_cores, on_threads
torch.set_num_threads(1)
ask = [sys.executable, "-c", "import os; print(len(os.sched_getaffinity(0)))"]
print(int(on_all_cores(lambda: subprocess.check_output(ask))) == len(before), torch.get_num_threads())
torch.set_num_threads(2)
assert len(before) < 2 or len(os.sched_getaffinity(0)) == 1
print(on_threads(lambda: lambda _: os.sched_getaffinity(0), range(2))[0] >= set(sorted(before)[:2]))
"""
    own = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_PROC_BIND": "true", "OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=own)
    assert done.stdout.split() == ["True", "1", "True"], done.stderr


def _square_in_child(queue):
    queue.put(on_threads(lambda: lambda x: x * x, range(5)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_threads_of_its_own(threads):
    on_threads(lambda: abs, range(20))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_square_in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=waiting.PATIENCE_SECONDS) == [0, 1, 4, 9, 16]
    child.join(waiting.PATIENCE_SECONDS)
