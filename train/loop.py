"""The training loop, one for all modalities: what differs between pictures and sound lies in the data, the losses and
the tokenizer, which the loop holds as objects.

    trainer = Trainer(load_run("configs/image/debug.yaml", ["data.train=photos"]))
    trainer.run()                     # goes on from the newest checkpoint in the output folder, if there is one
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import gather_object
from torch import Tensor, nn

from ..codecs.config import ConfigError
from ..codecs.tokenizer import Tokenizer
from . import checkpoint, evaluate, state
from .adversary import Adversary
from .balance import Balancer
from .config import RunConfig
from .data import open_batches, open_clips
from .data.loader import Batch
from .ema import Ema
from .finite import check_finite, clip
from .log import RunLog
from .losses.base import Judgement, Loss, LossInputs
from .optim import build_optimizer, rate, set_rate
from .start import freeze, new_tokenizer, start_adversary
from .stop import StopRequest


@dataclass(frozen=True)
class Result:
    """How a run ended: finished steps, the loadable folder, and files that could not be used (name -> reason)."""

    step: int
    model: Path
    broken: dict[str, str]


class Trainer:
    """Builds everything that a config names and trains.

    Args:
        config: the run.
        tokenizer: trained instead of a new one of `config.model` (whose family must still describe it).

    Attributes:
        tokenizer: the bare tokenizer; `generator` is the same, wrapped for several processes.
        losses: name -> loss; `weights`: name -> weight, the same keys.
        step: finished optimiser steps.
    """

    def __init__(self, config: RunConfig, tokenizer: Tokenizer | None = None) -> None:
        self.config = config
        if config.threads:
            torch.set_num_threads(config.threads)
        self.out = Path(config.output)
        ddp = DistributedDataParallelKwargs(broadcast_buffers=False, find_unused_parameters=config.find_unused)
        self.accelerator = Accelerator(cpu=config.device == "cpu", kwargs_handlers=[ddp])
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        self.device = self.accelerator.device
        if config.batch_size % (config.accumulation * self.world):
            raise ConfigError(
                f"batch_size {config.batch_size} cannot be divided into accumulation {config.accumulation} "
                f"x {self.world} processes."
            )
        torch.manual_seed(config.seed)  # the same weights in every process
        self.tokenizer = tokenizer or new_tokenizer(config)
        freeze(self.tokenizer, config.model.frozen)
        self._build_parts()
        self.step, self.rows, self.seconds = 0, 0, 0.0
        self.broken: dict[str, str] = {}
        self.random_state: dict[str, Any] | None = None
        self.stop = StopRequest()

    def _build_parts(self) -> None:
        config, spec = self.config, self.tokenizer.spec
        self.media = config.data.media(spec)
        # By name, so that the order of a YAML file changes no sum and no saved state.
        losses = {name: c.build(spec) for name, c in sorted(config.losses.items())}
        widths = self._feature_widths() if any(getattr(c, "project", 0) for c in config.losses.values()) else {}
        for loss in losses.values():
            loss.prepare(widths)
        self.losses = nn.ModuleDict(losses).to(self.device)
        self.weights = {name: c.weight for name, c in config.losses.items()}
        self.balancer = Balancer(config.balance, losses, self.weights).to(self.device)
        teachers = {name: c.build(spec) for name, c in sorted(config.teachers.items())}
        self.teachers = nn.ModuleDict(teachers).to(self.device).eval()
        self.tokenizer.to(self.device).train()
        self.ema = Ema(config.ema, self.tokenizer) if config.ema.decay else None
        self.trained = [p for p in (*self.tokenizer.parameters(), *self.losses.parameters()) if p.requires_grad]
        self.optimizer = build_optimizer(config.optimizer, self.trained)
        # prepare_model only wraps: without several processes it returns the module itself.
        self.generator = self.accelerator.prepare_model(self.tokenizer)
        self.adversary = Adversary(config, spec, losses, self.accelerator) if config.discriminators else None
        if self.adversary:
            start_adversary(config, self.adversary)

    @torch.no_grad()
    def _feature_widths(self) -> dict[str, int]:
        """Channels of what the tokenizer offers to losses, found by running it once on noise."""
        self.tokenizer.eval()
        out = self.tokenizer(torch.rand(1, *self.media.shape) * 0.1)
        latents = {"z": out.z, "z_q": out.quantized.z_q}
        return {name: value.shape[1] for name, value in (latents | dict(out.features)).items()}

    # --- the run --------------------------------------------------------------------------------------------------

    def run(self) -> Result:
        """Train to `config.steps`, from the newest checkpoint in the output folder or from the start."""
        config = self.config
        log = None
        before = torch.are_deterministic_algorithms_enabled()
        _repeatable(before or config.deterministic or self.device.type == "cpu")
        try:
            say = _to_stderr if self.rank == 0 else _quiet
            self.clips = open_clips(config.data.train, self.media, config.data, seed=config.seed, say=say)
            self.broken |= self.clips.broken
            state.prepare_folder(self)
            resumed = state.resume(self)
            log = self.log = RunLog(
                self.out,
                start=self.step,
                steps=config.steps,
                seconds=self.seconds,
                tensorboard=config.tensorboard,
                active=self.rank == 0,
            )
            if resumed:
                log.say(f"going on from {resumed}")
            with self.stop.listen():
                self._loop()
        finally:
            _repeatable(before)
            if log:
                log.close()
        return Result(self.step, self.out / "model", self.broken)

    def _loop(self) -> None:
        config, every = self.config, self.config.every
        feed = open_batches(
            self.clips,
            config.data,
            position=self.step * config.batch_size,
            rows=self.rows,
            size=config.batch_size // config.accumulation,
            rank=self.rank,
            world=self.world,
        )
        validation = evaluate.Validation(self)
        # Last of all, so that nothing above moves the random numbers of a resumed run.
        if self.random_state is None:
            torch.manual_seed(config.seed * 1000 + 1 + self.rank)
        else:
            checkpoint.set_random_state(self.random_state)
        while self.step < config.steps and not self._asked_to_stop():
            values = self.train_step(feed)
            if due(every.log, self.step) or self.step == config.steps:
                self._report(values)
            self.log.advance(self.step)
            last = self.step == config.steps or self._asked_to_stop()
            if due(every.validate, self.step) or (last and every.validate):
                validation.run()
            if due(every.preview, self.step) or (last and every.preview):
                validation.preview()
            if due(every.checkpoint, self.step) or last:
                state.save(self)
        self._farewell()

    def train_step(self, feed: Iterator[Batch]) -> dict[str, Tensor]:
        """One optimiser step over `accumulation` batches of `feed`; returns the mean of every loss."""
        config, parts = self.config, self.config.accumulation
        adversary = self.adversary if self.step >= config.adversarial_start else None
        set_rate(self.optimizer, rate(config.optimizer.schedule, config.optimizer.lr, self.step, config.steps))
        self.optimizer.zero_grad(set_to_none=True)
        if adversary:
            adversary.prepare_step(self.step)
        totals: dict[str, Tensor] = {}
        for part in range(parts):
            batch = next(feed)
            self.broken |= batch.broken
            self.rows = batch.rows
            x = batch.x.to(self.device, non_blocking=True)
            with self._gradients_stay_here(part < parts - 1):
                values = self._backward(x, adversary, 1 / parts)
            for name, value in values.items():
                totals[name] = totals.get(name, 0) + value / parts
        self._average_loss_parameters()
        totals["grad_norm"] = clip(self.trained, config.grad_clip, self.step, "the tokenizer")
        self.optimizer.step()
        if adversary:
            totals["discriminator/grad_norm"] = adversary.step(self.step)
        if self.ema:
            self.ema.update(self.tokenizer, self.step)
        self.step += 1
        return totals

    def _backward(self, x: Tensor, adversary: Adversary | None, share: float) -> dict[str, Tensor]:
        """Add `share` times the gradients of one batch `[B, C, ...]`; returns detached losses.

        Differs: DAC and EnCodec step the discriminators before they judge for the generator. Here both gradients are
        taken at the same weights, which makes them independent of `accumulation` and needs one judgement of `x` less.
        """
        targets = self.targets(x)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            out = self.generator(x, *self.features(targets))
        x_hat = out.x_hat.float()
        self.check_output(x, x_hat)
        judged: dict[str, Tensor] = {}
        real: list[Judgement] = []
        fake: list[Judgement] = []
        if adversary:
            judged, real = adversary.backward(x, x_hat.detach(), share, self.step)
            fake = adversary.judge(x_hat)
        inputs = LossInputs(x=x, x_hat=x_hat, out=out, real=real, fake=fake, targets=targets)
        losses = self.compute(inputs, adversarial=adversary is not None)
        check_finite(losses, self.step)
        total, balance = self.balancer(losses, x_hat)
        self.accelerator.backward(total * share)
        weighted = torch.stack([self.weights[name] * value.detach() for name, value in losses.items()]).sum()
        shown = {f"loss/{name}": value.detach() for name, value in losses.items()}
        metrics = {f"quantizer/{name}": v.detach().float() for name, v in out.quantized.metrics.items() if v.ndim == 0}
        return {"loss/total": weighted, **shown, **judged, **metrics, **balance}

    def check_output(self, x: Tensor, x_hat: Tensor, purpose: str = "") -> None:
        """Raise `ConfigError` where a loss (or `purpose`) needs media as they came in and the tokenizer gives something else."""
        readers = [purpose] if purpose else [name for name, loss in self.losses.items() if loss.on_output]
        if x_hat.shape != x.shape and readers:
            raise ConfigError(
                f"the tokenizer answers media of shape {list(x.shape)} with {list(x_hat.shape)}; {', '.join(readers)} "
                "can only compare media of one rate and size. Check the crop against the tokenizer's stride; a stage without "
                "pixels (TiTok's first) takes none but losses on features, and every.preview=0."
            )

    def compute(self, inputs: LossInputs, adversarial: bool, *, scored: bool = False) -> dict[str, Tensor]:
        """Return every loss that counts at this step, unweighted, by the names of the config.

        With `scored`, losses whose features are not there are left out: some families offer them in training only.
        """
        counts = [name for name, loss in self.losses.items() if adversarial or not loss.adversarial]
        return {n: self.losses[n](inputs) for n in counts if not scored or cast(Loss, self.losses[n]).can_score(inputs)}

    def targets(self, x: Tensor) -> dict[str, Tensor]:
        """What every teacher says of a batch, by name."""
        return {name: teacher(x) for name, teacher in self.teachers.items()}

    def features(self, targets: Mapping[str, Tensor]) -> list[Tensor]:
        """What the tokenizer's `forward` takes after the media: `config.model.features`."""
        return [targets[name] for name in self.config.model.features]

    # --- small parts ----------------------------------------------------------------------------------------------

    def best(self) -> Tokenizer:
        """The weights that are validated and published: the running mean, or the tokenizer itself without one."""
        return self.ema.module if self.ema else self.tokenizer  # type: ignore[return-value]

    @contextmanager
    def _gradients_stay_here(self, active: bool) -> Iterator[None]:
        """Put off the exchange of gradients between processes while a batch is not complete."""
        with ExitStack() as stack:
            if active:
                stack.enter_context(self.accelerator.no_sync(self.generator))
                if self.adversary:
                    stack.enter_context(self.accelerator.no_sync(self.adversary.wrapped))
            yield

    def _mean(self, value: Tensor) -> Tensor:
        """Mean over processes."""
        return self.accelerator.reduce(value, "mean")  # type: ignore[return-value]

    def _average_loss_parameters(self) -> None:
        """Losses are not wrapped for several processes; the gradients of their own parameters are averaged here."""
        if self.world > 1:
            for parameter in self.losses.parameters():
                if parameter.requires_grad:
                    grad = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
                    parameter.grad = self._mean(grad)

    def _report(self, values: Mapping[str, Tensor]) -> None:
        means = self._mean(torch.stack([v.to(self.device).float() for v in values.values()]))
        scalars = dict(zip(values, means.tolist(), strict=True))
        scalars["lr"] = self.optimizer.param_groups[0]["lr"]
        quantizer = self.tokenizer.quantizer
        for name, per_book in (("usage", quantizer.usage()), ("perplexity", quantizer.perplexity())):
            scalars |= {f"codebook/{name}_{k}": v for k, v in enumerate(per_book.tolist())}
        scalars["data/broken"] = len(self.broken)
        self.log.metrics(self.step, scalars)
        losses = {name.removeprefix("loss/"): v for name, v in scalars.items() if name.startswith("loss/")}
        self.log.summary(self.step, losses | {"usage": float(quantizer.usage().mean())})

    def _asked_to_stop(self) -> bool:
        """The same answer in every process: a signal may reach only one of them."""
        if self.world > 1:
            self.stop.asked = bool(self._mean(torch.tensor([float(bool(self.stop))], device=self.device)) > 0)
        return bool(self.stop)

    def _farewell(self) -> None:
        if self.world > 1:
            for found in gather_object([self.broken]):
                self.broken |= found
        if self.stop and self.step < self.config.steps:
            self.log.say(f"stopped at step {self.step}; the same command goes on from there.")
        if self.broken:
            self.log.say(f"{len(self.broken)} files could not be used:")
            for name, reason in sorted(self.broken.items()):
                self.log.say(f"  {name}: {reason}")


def due(every: int, step: int) -> bool:
    """True at each multiple of `every`; never for 0."""
    return every > 0 and step % every == 0


def train(config: RunConfig) -> Result:
    """Build a trainer, run it, and leave the group of processes, if there is one."""
    trainer = Trainer(config)
    result = trainer.run()
    trainer.accelerator.end_training()
    return result


def _repeatable(on: bool) -> None:
    """Ask torch for kernels whose sums have a fixed order; on a CPU, too, some add in any order otherwise."""
    torch.use_deterministic_algorithms(on, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # slow, not needed


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _quiet(text: str) -> None:
    pass
