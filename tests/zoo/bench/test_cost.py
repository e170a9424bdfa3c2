"""Parameters and operations against closed forms. Run: pytest tests/zoo/bench/test_cost.py"""

import subprocess
import sys

import pytest
import tokenzoo
import torch
from families import TINY
from tokenzoo.codecs.kernels.conv2d import Conv2d
from tokenzoo.zoo.bench import memory
from tokenzoo.zoo.bench.cost import cost_of, operations, parameters
from waiting import PATIENCE_SECONDS


@pytest.mark.parametrize("channels, side", [(8, 16), (64, 64)])
def test_operations_are_those_of_the_model_not_of_a_fast_algorithm(channels, side):
    conv = Conv2d(channels, channels, 3, padding=1).eval()
    x = torch.randn(1, channels, side, side)
    with torch.no_grad():
        assert conv.quick(x) == (channels == 64), "the larger one would be computed with fewer products"
        assert operations(lambda: conv(x)) == 2 * 9 * channels * channels * side * side
        assert conv.quick(x) == (channels == 64), "and is again afterwards"


def test_operations_of_lstms_and_attention():
    lstm, x = torch.nn.LSTM(5, 7, num_layers=2), torch.randn(11, 3, 5)
    q, k = torch.randn(2, 4, 6, 8), torch.randn(2, 4, 10, 8)
    with torch.no_grad():
        assert operations(lambda: lstm(x)) == 2 * 11 * 3 * 4 * 7 * ((5 + 7) + (7 + 7))
        assert operations(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, k)) == 2 * 2 * 4 * 6 * 10 * (8 + 8)


def test_parameters_of_the_halves():
    tokenizer = tokenzoo.build_tokenizer(*TINY["convnet"])
    found = {n: round(v * 1e6) for n, v in parameters(tokenizer).items()}
    every = sum(p.numel() for p in tokenizer.parameters())
    decoder = sum(p.numel() for p in tokenizer.decoder.parameters())
    encoder = sum(p.numel() for p in tokenizer.encoder.parameters())
    assert found == {"parameters": every, "encoder parameters": every - decoder, "decoder parameters": every - encoder}
    assert 0 < encoder < every and 0 < decoder < every


def test_cost_is_a_rate():
    tokenizer = tokenzoo.build_tokenizer(*TINY["convnet"]).eval()
    small, large = (cost_of(tokenizer, torch.zeros(3, 32, 32 * n, dtype=torch.uint8), rounds=1) for n in (1, 2))
    name = "decode GFLOPs a megapixel"
    assert small[name] == pytest.approx(large[name], rel=0.2) and small[name] > 0
    assert small["encode pictures/s"] == pytest.approx(1 / small["encode s"])
    assert "peak MiB" not in small, "without a baseline the libraries would count"


#: In a process of its own, whose resident set nothing else changes: the peak of 80 MiB, beside the resident set before.
PEAK = """
import importlib.util, sys, time
import numpy as np

path, counted_anew, patience = sys.argv[1], sys.argv[2] == "True", float(sys.argv[3])
spec = importlib.util.spec_from_file_location("memory", path)
memory = importlib.util.module_from_spec(spec)
spec.loader.exec_module(memory)
if not counted_anew:  # a system that takes the request and does nothing, in a process that was larger before
    np.ones(120 << 20, dtype=np.uint8).sum()
    memory._RESET = memory.Path("/dev/null")
with memory.watched() as found:
    before, way = found.bytes, found.counted_anew
    held = np.ones(80 << 20, dtype=np.uint8)
    end = time.monotonic() + (0 if way else patience)
    while found._sampled - before < 60 << 20 and time.monotonic() < end:
        time.sleep(0.01)
    del held
print(way, (found.bytes - before) / (1 << 20))
"""


@pytest.mark.parametrize("counted_anew", [True, False])
def test_the_peak_of_memory(counted_anew):
    if not memory.resident():
        pytest.skip("this system does not tell the resident set")
    command = [sys.executable, "-c", PEAK, memory.__file__, str(counted_anew), str(PATIENCE_SECONDS)]
    way, more = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    if counted_anew and way == "False":
        pytest.skip("this system does not count the peak anew")
    assert way == str(counted_anew)
    assert 60 < float(more) < 110
