"""The kernel for CUDA devices, in Triton's interpreter, against the search on a CPU.

pytest tests/codecs/quantizers/parts/test_nearest_triton.py
"""

import importlib.util
import os
import subprocess
import sys

import pytest

CODE = """
import torch
from tokenzoo.codecs.quantizers.parts import nearest, nearest_triton
from tokenzoo.codecs.quantizers.parts.nearest import _Search, largest_dot, nearest_code, unit

torch.set_num_threads(1)
torch.manual_seed(0)
nearest_triton._PROGRAMS = 4  # so that several share the codes, and each has several blocks of them
launched = []
best_two = nearest_triton.best_two
nearest_triton.best_two = lambda *args, **options: launched.append(len(args[0])) or best_two(*args, **options)


def check(name, z, codes, dot=False):
    z, codes = z.float(), codes.float()
    launched.clear()
    search = _Search(codes, len(z), dot=dot, fused=True)
    ids, unsure = search.search(z)
    expected = (largest_dot if dot else nearest_code)(z, codes)
    assert launched[0] == len(z), name
    ids[unsure] = search.decide(z[unsure]) if len(unsure) else ids[unsure]
    assert torch.equal(ids, expected), name
    return 1 - len(unsure) / len(z)


for case in ((1, 1, 1), (3, 5, 4), (70, 300, 8), (65, 129, 33), (20, 1025, 70), (5, 16384, 4), (20, 300, 256)):
    num, size, dim = case
    z, codes = torch.randn(num, dim), torch.randn(size, dim)
    assert check(case, z, codes) > 0.9
    if size < 1000:
        check((case, "dot"), z, codes, dot=True)
        check((case, "cosine"), unit(z), unit(codes))
        check((case, "bfloat16"), z.bfloat16(), codes.bfloat16())

codes = torch.randn(600, 24)
codes[torch.randint(600, (90,))] = codes[torch.randint(600, (90,))] * (1 + 1e-6 * torch.randn(90, 1))
check("near ties", (codes[:50] + codes[50:100]) / 2, codes)
check("zeros", torch.randn(50, 24), torch.zeros(300, 24))
check("half dead", torch.randn(50, 24), torch.cat([codes[:200], torch.zeros(100, 24)]))
assert check("far from the origin", torch.randn(50, 24) + 1000, codes[:300] + 1000) > 0.9
bad = torch.randn(50, 24)
bad[3], bad[5, 0] = float("nan"), float("inf")
ids = _Search(codes, 50, fused=True)(bad)
assert 0 <= int(ids.min()) and int(ids.max()) < 600
assert torch.equal(ids[6:], nearest_code(bad[6:], codes))

# The second best score decides what is certain: it must be that of another code, in whichever part it lies.
z, codes = torch.randn(33, 6), torch.randn(700, 6)
ids, best, second = best_two(z, codes, torch.zeros(700))
values, places = (z @ codes.t()).topk(2)
assert torch.equal(ids, places[:, 0])
torch.testing.assert_close(torch.stack([best, second], dim=1), values)
print("equal")
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_kernel_gives_the_ids_of_the_cpu():
    own = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False, env=own)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["equal"]
