"""Engine on a Ray cluster, with Ray Data: a pool of actors (workers), each of which loads the tokenizer once.

    tokenzoo tokenize NAME SOURCE --out DIR --engine ray --workers 8

Actors write unit files into OUT, which must have the same path on all nodes, and return only counts; the process that
started the job writes the shards, as in all engines. Ray restarts dead actors and reassigns their units.
Encoding is idempotent: a unit that is retried gives the same file, which replaces the first.

Which Ray is used: one that this process is connected to already; else the cluster at `Pace.ray["address"]` or `RAY_ADDRESS`
("auto": the one that runs on this machine), as it is; else Ray is started here, for this job only. A Ray that is started here has
its node address set to 127.0.0.1 and no dashboard, so that all its servers listen on the loopback interface: other machines cannot
connect. Ray itself would listen on all interfaces. On a cluster of several machines, whose servers must be reachable,
close Ray's ports to others by a firewall.
"""

import contextlib
import dataclasses
import ipaddress
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...codecs.config import ConfigError
from .ledger import Ledger
from .pipeline import UnitDone, UnitOrder

#: "0" makes Ray use the loopback address; so it does by default where the system's firewall would ask the user.
_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


class RayEngine:
    """Runs units of a ledger on a Ray cluster.

    Args:
        ledger: the job, with its units planned; OUT is on storage that all nodes share.
        workers: number of actors; None: one a CPU of the cluster, or one a GPU where the tokenizer runs on one.
        readers: reader threads in each actor.
        settings: further arguments of `ray.init`, where Ray is not connected yet (`{"address": "auto"}`).
    """

    def __init__(self, ledger: Ledger, workers: int | None, readers: int, settings: dict[str, Any]) -> None:
        try:
            import ray
        except ImportError as error:
            raise ConfigError("engine 'ray' needs the extra 'ray': pip install 'tokenzoo[ray]'.") from error
        self.ray, self.ledger, self.workers, self.readers = ray, ledger, workers, readers
        self.settings = settings

    def run(self, units: Sequence[int]) -> Iterator[UnitDone]:
        """Encode units; yields each when it is on disk.

        Raises:
            ConfigError: Ray would listen to other machines although it is started for this job.
            OSError: an actor could not write: the disk of its node is full, or the like.
        """
        if not units:
            return
        started = not self.ray.is_initialized()
        if started:
            connect(self.ray, self.settings)
        try:
            yield from self._run(units)
        finally:
            if started:
                self.ray.shutdown()

    def _run(self, units: Sequence[int]) -> Iterator[UnitDone]:
        ray = self.ray
        gpus = 1 if self.ledger.options.device.startswith("cuda") else 0
        workers = self.workers or int(ray.cluster_resources().get("GPU" if gpus else "CPU", 1))
        pool = ray.data.ActorPoolStrategy(size=min(workers, len(units)))
        numbers = ray.data.from_items([{"unit": u} for u in units], override_num_blocks=len(units))
        done = numbers.map_batches(
            EncodeUnits,
            fn_constructor_args=(str(self.ledger.out.resolve()), self.readers),
            batch_size=1,
            compute=pool,
            num_cpus=0 if gpus else 1,
            num_gpus=gpus,
        )
        for row in done.iter_rows():
            if fault := row.pop("fault"):
                raise OSError(*json.loads(fault))
            yield UnitDone(**{k: int(v) for k, v in row.items()})


def connect(ray: Any, settings: dict[str, Any]) -> None:
    """Connect to the cluster that `settings` or the environment name, or start Ray on this machine, on the loopback interface.

    Raises:
        ConfigError: the Ray that was started is reachable from other machines; it is stopped again.
    """
    options = {"log_to_driver": False, **settings}
    if options.get("address", "local") != "local" or os.environ.get("RAY_ADDRESS"):
        ray.init(**options)
        return
    with _loopback():
        ray.init(**{"include_dashboard": False, **options, "address": "local"})
    reachable = [a for a in (node["NodeManagerAddress"] for node in ray.nodes()) if not ipaddress.ip_address(a).is_loopback]
    if reachable:
        ray.shutdown()
        raise ConfigError(
            f"this version of Ray would listen on {', '.join(reachable)}, which other machines may reach, instead of 127.0.0.1. "
            "Start Ray yourself (`ray start --head`) behind a firewall, and set RAY_ADDRESS=auto."
        )


@contextlib.contextmanager
def _loopback() -> Iterator[None]:
    """Context manager: a Ray that is started takes 127.0.0.1 as its node's address, and so binds its servers to it.

    `_node_ip_address` cannot do this: Ray replaces a loopback address by that of the network, unless clusters are switched off.
    """
    from ray._private import ray_constants

    before, clusters = os.environ.get(_CLUSTERS), getattr(ray_constants, "ENABLE_RAY_CLUSTER", None)
    os.environ[_CLUSTERS] = "0"  # for the processes that Ray starts
    ray_constants.ENABLE_RAY_CLUSTER = False  # for this one, where Ray read the variable when it was imported
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clusters
        if before is None:
            del os.environ[_CLUSTERS]
        else:
            os.environ[_CLUSTERS] = before


class EncodeUnits:
    """What each actor does: units in, counts out."""

    def __init__(self, out: str, readers: int) -> None:
        import torch

        from .ledger import attach
        from .pipeline import Pipeline
        from .worker import tokenizer_of

        ledger = attach(Path(out))
        torch.set_num_threads(ledger.options.threads)
        self.pipeline = Pipeline(ledger, tokenizer_of(ledger), readers)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Encode the one unit of a batch. A fault of the disk is returned, not raised: Ray would wrap it into errors of its own."""
        from .worker import arguments_of

        unit, fault = int(batch["unit"][0]), ""
        try:
            (done,) = self.pipeline.run([UnitOrder(unit)])
        except OSError as error:
            done, fault = UnitDone(unit, 0, 0, 0), json.dumps(arguments_of(error))
        counts = {name: np.array([value]) for name, value in dataclasses.asdict(done).items()}
        return counts | {"fault": np.array([fault])}
