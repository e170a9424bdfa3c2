"""Devices and number types by name. Run: pytest tests/codecs/test_devices.py"""

import pytest
import tokenzoo
import torch
from tokenzoo.codecs import devices


def gpus(monkeypatch, count):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize("count, found", [(0, "cpu"), (2, "cuda")])
def test_auto_takes_a_gpu_if_there_is_one(monkeypatch, count, found):
    gpus(monkeypatch, count)
    assert devices.pick_device("auto") == torch.device(found)
    assert devices.pick_device(None) == devices.pick_device("cpu") == torch.device("cpu")
    assert devices.pick_device(torch.device("meta")) == torch.device("meta")


def test_one_of_several_gpus_by_number(monkeypatch):
    gpus(monkeypatch, 2)
    assert devices.pick_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ValueError, match="cuda:2.*2 CUDA GPUs: cuda:0 to cuda:1"):
        devices.pick_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "cuda", "cuda:0", "CPU!", "cuda:x"])
def test_what_is_not_there_is_named_with_what_is_allowed(monkeypatch, name):
    gpus(monkeypatch, 0)
    with pytest.raises(ValueError, match=f"'{name}'.*no CUDA GPU"):
        devices.pick_device(name)


def test_number_types():
    assert [devices.pick_dtype(n) for n in (*devices.DTYPES, torch.float64, None)] == [
        torch.float32, torch.bfloat16, torch.float16, torch.float64, None,
    ]  # fmt: skip
    for wrong in ("half", "int64", torch.int64, 32):
        with pytest.raises(ValueError, match="float32, bfloat16, float16"):
            devices.pick_dtype(wrong)


def test_load_takes_both_as_text():
    tok = tokenzoo.load("photo-f16-rvq7", device="cpu", dtype="bfloat16")
    assert (tok.device.type, tok.dtype) == ("cpu", torch.bfloat16)
    assert tokenzoo.load("photo-f16-rvq7", device="auto").device.type in ("cpu", "cuda")
    with pytest.raises(ValueError, match="device is 'gpu'"):
        tokenzoo.load("acme/never-asked-for", device="gpu")
