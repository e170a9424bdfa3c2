"""Before anything imports `huggingface_hub`: its endpoint is a port of this machine, its cache a folder of this run."""

import os
import socket
import tempfile

import pytest


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{_free_port()}"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="tokenzoo-hf-")
os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ.pop("HF_HUB_OFFLINE", None)
os.environ.pop("HF_TOKEN", None)


@pytest.fixture(autouse=True)
def _one_thread():
    """Tiny models: threads only get in each other's way."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def hub():
    """A hub on 127.0.0.1 that speaks the real protocol; see `hub_server.py`."""
    from hub_server import Hub

    server = Hub(int(os.environ["HF_ENDPOINT"].rsplit(":", 1)[1]))
    server.start()
    yield server
    server.stop()
