"""Arrays of pickles without running them: joblib's and pickle's forms, compressed or not, and files made to harm.

pytest tests/zoo/test_pickled_arrays.py
"""

import base64
import bz2
import gzip
import lzma
import os
import pickle
import resource
import struct
import sys
import types
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile_values import SHARES, end, seeds, shown
from tokenzoo.codecs.serialize import CheckpointError
from tokenzoo.zoo.pickled_arrays import is_pickle, read_arrays
from tokenzoo.zoo.weight_files import read_weights

#: `joblib.dump(KMeans(3).fit(x), file, compress=("zlib", 9))` of scikit-learn 1.9.1 and joblib 1.6.0, x of 6 points.
JOBLIB = base64.b64decode(
    "eNplUk1v1DAQzX50v4roIgSVWs6oVdvAIoQAIZZqD0hE3QMXjpaTuHVYx4lsB5oDUjlQFslCSMz+Qa78AW7LxJuylRjJiWc0Y7/3/C7ai82m58Ju65lgVEk/"
    "EoU2TPlkljIqNdhOcOI2P2H/M3yCPTuQpG7SELRsO5GJAdufHbmBgwOwvZSekwQb4OSwYVsmE/B6vPPk1+97kyPbkcRNBA3b/cBUmGkGgWdvKCrjLCXaUOMK"
    "nSjLS3IOc9un4ixTieEp2A0hsjIGe1OSU0ZNoZjG4wgETdsm1UX2rizSvPRJlCnmp4UwCVWKlkhER1RQhUTshuvBf2zKnFWV5ulj+Db/Cm9hDzk1XsB0On2z"
    "xHCfwDMQTtpPv0fP4RJ7bJesWQzIGh/fwlQSwxWjsa5QDWutSMRkJRkBe/t9Fook9B0IkicRSg/21rRKjyus7xTNc6bWkvd0EUaCag38ju3KeMWoIqI5RQJB"
    "K2heYpapGMdsY/KPGt+xA4qafSRpSnMUc3d1qzsBgSdnMkVgJCwNQ7zDIuwvr8LzLl553g9cw2P0yHhlFW+8iOqd3SLXniErTOWHrqAhE8iT31+h5/v8gB8G"
    "nS/Aff6AP+TbtplcU5vv/q81H835owrN5nIdlVdrv7po1Gvx8gpPL5FM4YMT9NufutaVzorOIkNS25yg83SSSdRp5D/zR1CE/l8+qCkD"
)
CENTRES = torch.tensor([[4, 4.5], [9, 0.5], [0, 0.5]])
FLAG = "ran"


class Runs:
    """A pickle that would leave a file, were it executed."""

    def __reduce__(self) -> Any:
        return os.system, (f"touch {FLAG}",)


def file(folder: Path, data: bytes) -> Path:
    path = folder / "km.bin"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("compress", [zlib.compress, gzip.compress, bz2.compress, lzma.compress, lambda data: data])
def test_an_estimator_of_joblib(compress, tmp_path):
    path = file(tmp_path, compress(zlib.decompress(JOBLIB)))
    assert is_pickle(path)
    found = read_arrays(path)
    assert torch.equal(found["cluster_centers_"], CENTRES) and found["labels_"].tolist() == [2, 2, 0, 0, 1, 1]
    assert torch.equal(read_weights(str(path), Path)["cluster_centers_"], CENTRES)


class Estimator:
    """Stands for a class that is not installed."""

    def __init__(self, **values: Any) -> None:
        self.__dict__ = values


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<i8", "|u1"])
def test_an_array_of_pickle(protocol, order, dtype, tmp_path):
    array = np.arange(12).reshape(3, 4).astype(dtype, order=order)
    inner = Estimator(cluster_centers_=array, names=np.array(["a"], dtype=object), deep=[{"w": array[:1].copy()}], again=array)
    found = read_arrays(file(tmp_path, pickle.dumps(inner, protocol=protocol)))
    assert set(found) == {"cluster_centers_", "deep.0.w", "again"}
    assert np.array_equal(found["cluster_centers_"].numpy(), array) and found["cluster_centers_"].is_contiguous()
    assert read_arrays(file(tmp_path, pickle.dumps(array, protocol=protocol)))[""].shape == (3, 4)


def test_what_torch_writes_is_no_pickle_here(tmp_path):
    for zipped in (True, False):
        torch.save({"w": torch.ones(2)}, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
        assert not is_pickle(tmp_path / "x.pt")
        assert read_weights(str(tmp_path / "x.pt"), Path)["w"].tolist() == [1, 1]


def stored(shape: object, dtype: str = "f4", data: bytes = b"") -> bytes:
    """A pickle with joblib's description of an array, and `data` behind it."""
    wrapper = Wrapper({"subclass": np.ndarray, "shape": shape, "order": "C", "dtype": np.dtype(dtype), "allow_mmap": True})
    return pickle.dumps(wrapper, protocol=2)[:-1] + data + b"."


class Wrapper:
    """Becomes joblib's description when it is pickled; its last operation is the one that sets its state."""

    def __init__(self, state: dict) -> None:
        self.state = state

    def __reduce__(self) -> Any:
        return NAMED, (), self.state


def NAMED() -> None: ...


NAMED.__module__, NAMED.__qualname__ = "joblib.numpy_pickle", "NumpyArrayWrapper"


@pytest.fixture(autouse=True)
def joblib_by_name(monkeypatch):
    """`pickle` looks a function up by its name before it writes that name."""
    for name in ("joblib", "joblib.numpy_pickle"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["joblib.numpy_pickle"].NumpyArrayWrapper = NAMED


def test_the_description_above_is_read(tmp_path):
    assert read_arrays(file(tmp_path, stored((2,), data=b"\0" * 8)))[""].tolist() == [0, 0]


HARMFUL = {
    "code": lambda: pickle.dumps([Runs(), 1], protocol=4),
    "code in a compressed file": lambda: zlib.compress(pickle.dumps({"w": Runs()})),
    "cut off": lambda: zlib.decompress(JOBLIB)[:-60],
    "cut off within its compression": lambda: JOBLIB[:-9],
    "a bomb": lambda: zlib.compress(b"\x80\x04" + b"N0" * 150_000_000),
    "an array of objects": lambda: stored((1,), "O", pickle.dumps(Runs())),
    "more numbers than bytes": lambda: stored((10**6,), data=b"\0" * 40),
    "10^12 numbers": lambda: stored((10**12,), data=b"\0" * 40),
    "many axes": lambda: stored((1,) * 20, data=b"\0" * 4),
    "a negative shape": lambda: stored((-1,), data=b"\0" * 40),
    "bytes that are not there": lambda: b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",
    "arrays in other files": lambda: pickle.dumps(3).replace(b"K\x03", b"cjoblib.numpy_pickle\nNDArrayWrapper\n"),
    "no array": lambda: pickle.dumps({"a": 1}),
    "no pickle": lambda: b"\x80\x04\xff\xfe",
    "nested without end": lambda: b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
}


@pytest.mark.parametrize("name", sorted(HARMFUL))
def test_harmful_files_end_in_one_clear_error(name, tmp_path, monkeypatch):
    path = file(tmp_path, HARMFUL[name]())
    monkeypatch.chdir(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError) as caught:
        read_arrays(path)
    assert "km.bin" in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / FLAG).exists()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


@pytest.mark.parametrize("share", SHARES)
def test_bytes_changed_at_random(share, capsys, tmp_path):
    """Arrays as they stand there, or refused. Nothing in them runs."""
    plain = zlib.decompress(JOBLIB)
    files = [plain, JOBLIB, pickle.dumps(Estimator(cluster_centers_=CENTRES.numpy()), protocol=4), stored((2,), data=b"\0" * 8)]
    count: Counter = Counter()
    for rng in seeds("pickled arrays", 200 * share):
        data = bytearray(rng.choice(files))
        for _ in range(rng.choice((1, 1, 3, 20))):
            data[rng.randrange(len(data))] = rng.choice((rng.randrange(256), *b"cR.(]}){tsubqh\x80\x85\x86K\x8aX\xff\x00Q"))
        if rng.random() < 0.1:
            del data[rng.randrange(9, len(data)) :]
        count[end(read_arrays, file(tmp_path, bytes(data)))] += 1
    shown(capsys, "pickles of arrays", count)
