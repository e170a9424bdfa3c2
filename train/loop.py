"""The training loop, one for all modalities: what differs between pictures and sound is in the data, the losses and
the tokenizer, which a `TrainState` holds as objects.

    trainer = Trainer(load_run("image/convnet-debug", ["data.train=photos"]))
    trainer.run()                     # resumes from the newest checkpoint in the output folder, if there is one
"""

import contextlib
import errno
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn

from ..codecs.config import ConfigError
from ..codecs.locks import only_one
from ..codecs.position_statistics import PositionStatistics
from ..codecs.quantizers.external import External
from ..codecs.tokenizer import Tokenizer
from . import checkpoint, resume
from .config import RunConfig
from .curves import write_curves
from .data import open_batches, open_clips
from .data.loader import Batch
from .evaluate import Validation
from .log import RunLog
from .losses.lengths import check_crop
from .pretrained import Pretrained
from .processes import any_process, mean_over
from .randomness import randomness_kept
from .state import TrainState
from .step import train_step
from .stop import StopRequest

#: The disk is full, over its quota, at the limit of a file's size, broken, or became read-only.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


@dataclass(frozen=True)
class Result:
    """How a run ended: number of finished steps, folder of the tokenizer, and files that could not be used (name -> reason)."""

    step: int
    model: Path
    broken: dict[str, str]


class Trainer:
    """Builds everything that a config names, and trains it.

    Args:
        config: the run.
        tokenizer: trained in place of a new one of `config.model`, which may be left out then.
        init: what `config.init` names, where it is read already.

    Attributes:
        state: all that is trained, and the step reached.
        out: folder of the run.
    """

    def __init__(
        self, config: RunConfig, tokenizer: Tokenizer | nn.Module | None = None, *, init: Pretrained | None = None
    ) -> None:
        self.state = TrainState(config, tokenizer=tokenizer, init=init)
        self.config, self.out = self.state.config, Path(config.output)
        if config.batch_size % (config.accumulation * self.state.world):
            raise ConfigError(
                f"batch_size {config.batch_size} cannot be divided into accumulation {config.accumulation} "
                f"x {self.state.world} processes."
            )
        for part in self.state.tokenizer.modules():
            if isinstance(part, External):
                part.check_parts(config.accumulation)
        self.media = self.config.data.media(self.state.tokenizer.spec)
        for shape in {*self.media.shapes, self.media.shape}:
            check_crop("losses", config.losses, shape)
            check_crop("discriminators", config.discriminators, shape)
        self.stop = StopRequest()
        self._dead_ids = False

    def run(self) -> Result:
        """Train to `config.steps`, from the newest checkpoint in the output folder or from the start.

        Raises:
            InUse: another process trains in that folder.
            OSError: the disk is full or fails; the message names the last checkpoint.
            KeyboardInterrupt: a second stop request; the log names the last checkpoint.
        """
        try:
            with only_one(self.out, ".lock") if self.state.rank == 0 else contextlib.nullcontext():
                return self._run()
        except OSError as error:
            if error.errno not in _DISK:
                raise
            raise OSError(f"the run ended at step {self.state.step}: {error.strerror}. {self._what_is_saved()}") from error

    def _run(self) -> Result:
        config, state = self.config, self.state
        log, say = None, _to_stderr if state.rank == 0 else _quiet
        before = torch.are_deterministic_algorithms_enabled()
        _repeatable(before or config.deterministic or state.device.type == "cpu")
        try:
            with randomness_kept():  # setting up must not move the random numbers of the first step
                self.clips = open_clips(
                    config.data.train, self.media, config.data, seed=config.seed, say=say, batch_size=config.batch_size
                )
                resume.prepare_folder(state, self.out)
            resumed = resume.resume(state, self.out, data=self.clips.fingerprint)
            state.broken |= self.clips.broken
            with randomness_kept():
                log = self.log = RunLog(
                    self.out,
                    start=state.step,
                    steps=config.steps,
                    seconds=resumed.seconds if resumed else 0.0,
                    tensorboard=config.tensorboard,
                    active=state.rank == 0,
                )
            if resumed and resumed.damaged:
                log.say(f"warning: {resumed.damaged}")
            if resumed:
                log.say(f"going on from {resumed.folder}")
            with self.stop.listen():
                self._loop()
        except KeyboardInterrupt:
            say(f"stopped at once. {self._what_is_saved()}")
            raise
        finally:
            _repeatable(before)
            if log:
                log.close()
        return Result(state.step, self.out / "model", state.broken)

    def _loop(self) -> None:
        config, state, every = self.config, self.state, self.config.every
        with randomness_kept():
            feed = open_batches(
                self.clips,
                config.data,
                position=state.position,
                rows=state.rows,
                size=config.batch_size // config.accumulation,
                rank=state.rank,
                world=state.world,
            )
            validation = Validation(state, self.media, self.log, self.out)
        stopping = validation.exhausted()
        while state.step < config.steps and not stopping:
            values = self.train_step(feed)
            # Read once a step: a request that comes later, while the run is saved or validated, counts after the next step.
            stopping = self._stop_requested()
            last = state.step == config.steps
            if due(every.log, state.step) or last:
                self._report(values)
            self.log.advance(state.step)
            if stopping:
                self._save()  # first: after a stop request the process may be killed soon
            if due(every.validate, state.step) or (last and every.validate):
                validation.run()
                if validation.exhausted() and not last:
                    self.log.say(f"no better {config.best.figure} in {config.best.patience} validations: the run ends here.")
                    stopping = True
                    self._save()
            if due(every.preview, state.step) or (last and every.preview):
                validation.preview()
            if due(every.checkpoint, state.step) or last:
                self._save()
        self._farewell(validation)

    def train_step(self, feed: Iterator[Batch]) -> dict[str, Tensor]:
        """One optimiser step over `accumulation` batches of `feed`; returns the mean of every loss."""
        parts = []
        for _ in range(self.config.accumulation):
            batch = next(feed)
            self.state.broken |= batch.broken
            self.state.rows = batch.rows
            parts.append(batch)
        return train_step(self.state, parts)

    # --- small parts ----------------------------------------------------------------------------------------------

    def _save(self) -> None:
        resume.save(self.state, self.out, data=self.clips.fingerprint, seconds=self.log.seconds())

    def _report(self, values: Mapping[str, Tensor]) -> None:
        state = self.state
        means = mean_over(state.accelerator, torch.stack([v.to(state.device).float() for v in values.values()]))
        scalars = dict(zip(values, means.tolist(), strict=True))
        scalars["lr"] = state.optimizer.param_groups[0]["lr"]
        quantizer = state.tokenizer.quantizer
        for name, per_book in (("usage", quantizer.usage()), ("perplexity", quantizer.perplexity())):
            scalars |= {f"codebook/{name}_{k}": v for k, v in enumerate(per_book.tolist())}
        places = state.positions.statistics()
        for name, per_book in (("position_entropy", places.entropy_bits), ("position_ids", places.distinct)):
            scalars |= {f"codebook/{name}_{k}": v for k, v in enumerate(per_book.tolist())}
        self._warn_of_dead_ids(places)
        scalars |= {f"moving/{path}": value for path, value in state.moving.values(state.step - 1).items()}
        scalars["data/broken"] = len(state.broken)
        self.log.metrics(state.step, scalars)
        losses = {name.removeprefix("loss/"): v for name, v in scalars.items() if name.startswith("loss/")}
        self.log.summary(state.step, losses | {"usage": float(quantizer.usage().mean())})

    def _warn_of_dead_ids(self, places: PositionStatistics) -> None:
        """Say once that the ids do not depend on the input; again only if they did in between."""
        dead = places.ignored() and self.state.step >= 0.1 * self.config.steps
        if dead and not self._dead_ids:
            self.log.say(f"warning: at step {self.state.step} {places.warnings()[0]} Unless that changes, they encode nothing.")
        self._dead_ids = dead

    def _stop_requested(self) -> bool:
        """The same answer in every process: a signal may reach only one of them."""
        return any_process(self.state.accelerator, bool(self.stop))

    def _farewell(self, validation: Validation) -> None:
        state = self.state
        if state.rank == 0:
            self._where_to_look(validation)
        if state.world > 1:
            for found in gather_object([state.broken]):
                state.broken |= found
        if state.step < self.config.steps:
            self.log.say(f"stopped at step {state.step}. {self._what_is_saved()}")
        if state.broken:
            self.log.say(f"{len(state.broken)} files could not be used:")
            for name, reason in sorted(state.broken.items()):
                self.log.say(f"  {name}: {reason}")

    def _where_to_look(self, validation: Validation) -> None:
        """Draw the curves, and name what a user looks at, listens to and loads."""
        curves = write_curves(self.out)
        places = [f"curves: {curves}"] if curves else []
        shown = sorted((self.out / "previews").glob("*")) if (self.out / "previews").is_dir() else []
        places += [f"originals and reconstructions: {shown[-1]}"] if shown else []
        if (best := validation.best()) and (self.out / "best").is_dir():
            figure = self.config.best.figure
            places.append(f"best weights, step {best.step} with {figure} {best.value:.4g}: tokenzoo.load('file:{self.out / 'best'}')")
        if (self.out / "model").is_dir():
            places.append(f"last weights: tokenzoo.load('file:{self.out}')")
        for place in places:
            self.log.say(place)

    def _what_is_saved(self) -> str:
        """Message that names what is saved in the output folder when a run is stopped."""
        found = checkpoint.checkpoints(self.out)
        if not found:
            return f"Nothing is saved in {self.out}: the same command begins anew."
        return f"{found[-1]} is saved; the same command resumes from it."


def due(every: int, step: int) -> bool:
    """True at each multiple of `every`; never for 0."""
    return every > 0 and step % every == 0


def train(config: RunConfig, *, init: Pretrained | None = None) -> Result:
    """Build a trainer, run it, and leave the group of processes, if there is one; `init`: what the config names, if read already."""
    trainer = Trainer(config, init=init)
    result = trainer.run()
    trainer.state.accelerator.end_training()
    return result


def _repeatable(on: bool) -> None:
    """Switch torch's deterministic kernels on or off; without them some sums have no fixed order, on a CPU too."""
    torch.use_deterministic_algorithms(on, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # slow, not needed


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _quiet(text: str) -> None:
    pass
