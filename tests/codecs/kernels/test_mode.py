"""When the kernels run. Run: pytest tests/codecs/kernels/test_mode.py"""

import torch
from tokenzoo.codecs.kernels.mode import channels_last, cpu_inference, watched
from torch import nn


def test_kernels_run_on_a_cpu_without_gradients_and_autocast():
    x = torch.randn(1, 2, 3, 3)
    assert not cpu_inference(x) and channels_last(x) is x
    with torch.no_grad():
        assert cpu_inference(x) and not cpu_inference(x.to("meta"))
        assert channels_last(x).is_contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert not cpu_inference(x)


def test_hooks_of_any_part_are_noticed():
    for register in ("register_forward_hook", "register_forward_pre_hook"):
        net = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Tanh()))
        handle = getattr(net[1][0], register)(lambda *given: None)
        assert watched(net) and watched(net[1]) and not watched(net[0])
        handle.remove()
        assert not watched(net)
