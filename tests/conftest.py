"""Before anything imports `huggingface_hub`: its endpoint is a port of this machine, its cache a folder of this run."""

import atexit
import os
import shutil
import socket
import tempfile

import pytest
import quick
from own_parts import house_parts as house_parts


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{_free_port()}"
for name in ("HF_HOME", "TOKENZOO_CACHE"):
    os.environ[name] = tempfile.mkdtemp(prefix=f"tokenzoo-{name.lower()}-")
    atexit.register(shutil.rmtree, os.environ[name], ignore_errors=True)
os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ.pop("HF_HUB_OFFLINE", None)
os.environ.pop("HF_TOKEN", None)


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """The cache of the package datasets is a folder of this test, and nothing is fetched."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    # `datasets` waits some seconds at each end of a shuffled stream.
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0, raising=False)


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="only what tests/quick.py names: under a minute")


def pytest_ignore_collect(collection_path, config):
    """Files that `--quick` leaves out are not even imported."""
    leave_out = config.getoption("--quick") and collection_path.suffix == ".py" and quick.names_in(collection_path) is None
    return True if leave_out else None


def pytest_collection_modifyitems(config, items):
    named_by_place = [item.nodeid[:200] for item in items if " at 0x" in item.name]
    if named_by_place:  # other in each process, so that tests cannot be shared among them
        raise pytest.UsageError(f"parameters without names of their own; give ids=: {named_by_place[0]}")
    if not config.getoption("--quick"):
        return
    wanted = [item for item in items if is_quick(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
    items[:] = wanted


def is_quick(item):
    names = quick.names_in(item.path)
    return names is not None and not item.get_closest_marker("slow") and (not names or any(n in item.name for n in names))


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
