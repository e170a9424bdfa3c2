"""Engine on a Ray cluster, with Ray Data: a pool of actors (workers), each of which loads the tokenizer once.

    tokenzoo tokenize NAME SOURCE --out DIR --engine ray --workers 8

Actors write unit files into OUT, which must have the same path on all nodes, and return only counts; the process that
started the job writes the shards, as in all engines. Ray restarts dead actors and reassigns their units.
Encoding is idempotent: a unit that is retried gives the same file, which replaces the first.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...codecs.config import ConfigError
from .ledger import Ledger
from .pipeline import UnitDone, UnitOrder


class RayEngine:
    """Runs units of a ledger on a Ray cluster.

    Args:
        ledger: the job, with its units planned; OUT is on storage that all nodes share.
        workers: number of actors; None: one a CPU of the cluster, or one a GPU where the tokenizer runs on one.
        readers: reader threads in each actor.
        settings: further arguments of `ray.init`, where no cluster is connected yet (`{"address": "auto"}`).
    """

    def __init__(self, ledger: Ledger, workers: int | None, readers: int, settings: dict[str, Any]) -> None:
        try:
            import ray
        except ImportError as error:
            raise ConfigError("engine 'ray' needs the extra 'ray': pip install 'tokenzoo[ray]'.") from error
        self.ray, self.ledger, self.workers, self.readers = ray, ledger, workers, readers
        self.settings = settings

    def run(self, units: Sequence[int]) -> Iterator[UnitDone]:
        """Encode units; yields each when it is on disk."""
        if not units:
            return
        ray = self.ray
        if not ray.is_initialized():
            # Ray's way of starting uv and of copying the folder along is not wanted: actors import the installed package.
            ray.init(**{"log_to_driver": False, "include_dashboard": False, **self.settings})
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
            yield UnitDone(**{k: int(v) for k, v in row.items()})


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
        """Encode the units of a batch."""
        done = list(self.pipeline.run([UnitOrder(int(u)) for u in batch["unit"]]))
        return {f.name: np.array([getattr(d, f.name) for d in done]) for f in dataclasses.fields(UnitDone)}
