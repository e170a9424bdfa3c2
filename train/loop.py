"""The training loop, one for all modalities: what differs between pictures and sound lies in the data, the losses and
the tokenizer, which the loop holds as objects.

    trainer = Trainer(load_run("configs/image/debug.yaml", ["data.train=photos"]))
    trainer.run()                     # goes on from the newest checkpoint in the output folder, if there is one
"""

import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn

from ..codecs.config import ConfigError
from ..codecs.families import build_tokenizer
from ..codecs.serialize import load_folder, load_strict
from ..codecs.tokenizer import Tokenizer
from . import checkpoint, evaluate, state
from .config import RunConfig
from .data.loader import Batch, Clips, batches
from .discriminators.base import DiscriminatorSet
from .ema import Ema
from .log import RunLog
from .losses.base import LossInputs
from .optim import build_optimizer, rate, set_rate


class NonFiniteLoss(RuntimeError):
    """A loss or gradient became infinite or not a number; the message names it and the step."""


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
        if config.deterministic:
            torch.use_deterministic_algorithms(True, warn_only=True)
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
        self.tokenizer = tokenizer or _start(config)
        self._build_parts()
        self.step = 0
        self.broken: dict[str, str] = {}
        self.random_state: dict[str, Any] | None = None
        self._stop = False

    def _build_parts(self) -> None:
        config, spec = self.config, self.tokenizer.spec
        self.media = config.data.media(spec)
        self.losses = nn.ModuleDict({name: c.build(spec) for name, c in config.losses.items()}).to(self.device)
        self.weights = {name: c.weight for name, c in config.losses.items()}
        self.teachers = nn.ModuleDict({name: c.build(spec) for name, c in config.teachers.items()}).to(self.device).eval()
        judges = {name: c.build(spec) for name, c in config.discriminators.items()}
        self.discriminators = DiscriminatorSet(judges).to(self.device) if judges else None
        self.tokenizer.to(self.device).train()
        self.ema = Ema(config.ema, self.tokenizer) if config.ema.decay else None
        self.trained = [p for p in (*self.tokenizer.parameters(), *self.losses.parameters()) if p.requires_grad]
        self.optimizer = build_optimizer(config.optimizer, self.trained)
        self.judge_optimizer = (
            build_optimizer(config.discriminator_optimizer, self.discriminators.parameters())
            if self.discriminators
            else None
        )
        # prepare_model only wraps: without several processes it returns the module itself.
        self.generator = self.accelerator.prepare_model(self.tokenizer)
        self.judge = self.accelerator.prepare_model(self.discriminators) if self.discriminators else None

    # --- the run --------------------------------------------------------------------------------------------------

    def run(self) -> Result:
        """Train to `config.steps`, from the newest checkpoint in the output folder or from the start."""
        config = self.config
        log = None
        try:
            self.clips = Clips(
                config.data.train, self.media, config.data, seed=config.seed, say=print if self.rank == 0 else _quiet
            )
            self.broken |= self.clips.broken
            state.prepare_folder(self)
            resumed = state.resume(self)
            log = self.log = RunLog(
                self.out, start=self.step, steps=config.steps, tensorboard=config.tensorboard, active=self.rank == 0
            )
            if resumed:
                log.say(f"going on from {resumed}")
            with self._signals():
                self._loop()
        finally:
            if log:
                log.close()
        return Result(self.step, self.out / "model", self.broken)

    def _loop(self) -> None:
        config, every = self.config, self.config.every
        size = config.batch_size // config.accumulation
        feed = batches(
            self.clips, config.data, self.step * config.batch_size, size, rank=self.rank, world=self.world
        )
        validation = evaluate.Validation(self)
        # Last of all, so that nothing above moves the random numbers of a resumed run.
        if self.random_state is None:
            torch.manual_seed(config.seed * 1000 + 1 + self.rank)
        else:
            checkpoint.set_random_state(self.random_state)
        while self.step < config.steps and not self._stop:
            values = self.train_step(feed)
            if due(every.log, self.step) or self.step == config.steps:
                self._report(values)
            self.log.advance(self.step)
            last = self.step == config.steps or self._stop
            if due(every.validate, self.step) or (last and every.validate):
                validation.run()
            if due(every.preview, self.step) or (last and every.preview):
                validation.preview()
            if due(every.checkpoint, self.step) or last:
                state.save(self)
        self._farewell()

    def train_step(self, feed: Iterator[Batch]) -> dict[str, Tensor]:
        """One optimiser step over `accumulation` batches of `feed`; returns the mean of every loss."""
        config = self.config
        parts = config.accumulation
        adversarial = self.discriminators is not None and self.step >= config.adversarial_start
        self._set_rates()
        self.optimizer.zero_grad(set_to_none=True)
        if self.judge_optimizer:
            self.judge_optimizer.zero_grad(set_to_none=True)
        totals: dict[str, Tensor] = {}
        for part in range(parts):
            batch = next(feed)
            self.broken |= batch.broken
            with self._gradients_stay_here(part < parts - 1):
                values = self._backward(batch.x.to(self.device, non_blocking=True), adversarial, 1 / parts)
            for name, value in values.items():
                totals[name] = totals.get(name, 0) + value / parts
        self._average_loss_parameters()
        totals["grad_norm"] = self._clip(self.trained, config.grad_clip, "the gradient of the tokenizer")
        self.optimizer.step()
        if adversarial:
            parameters = list(self.discriminators.parameters())
            limit = config.discriminator_grad_clip
            totals["discriminator/grad_norm"] = self._clip(parameters, limit, "the gradient of the discriminators")
            self.judge_optimizer.step()
        if self.ema:
            self.ema.update(self.tokenizer, self.step)
        self.step += 1
        return totals

    def _backward(self, x: Tensor, adversarial: bool, share: float) -> dict[str, Tensor]:
        """Add `share` times the gradients of one batch `[B, C, ...]`; returns detached losses.

        Differs: DAC and EnCodec step the discriminators before they judge for the generator. Here both gradients are
        taken at the same weights, which makes them independent of `accumulation` and needs one judgement of `x` less.
        """
        with self._autocast():
            out = self.generator(x)
        x_hat = out.x_hat.float()
        values: dict[str, Tensor] = {}
        real, fake = (), ()
        if adversarial:
            judge_losses, real = self._judge_backward(x, x_hat.detach(), share)
            values |= {f"discriminator/{name}": v for name, v in judge_losses.items()}
            with self._autocast():  # the bare module: its weights are frozen, there is nothing to reduce
                fake, _ = self.discriminators(x_hat)
        targets = {name: teacher(x) for name, teacher in self.teachers.items()}
        inputs = LossInputs(x=x, x_hat=x_hat, out=out, real=real, fake=fake, targets=targets)
        losses = self.compute(inputs, adversarial)
        self._check({**values, **losses})
        total = sum(self.weights[name] * value for name, value in losses.items())
        self.accelerator.backward(total * share)
        if adversarial:
            self.discriminators.requires_grad_(True)
        metrics = {f"quantizer/{name}": v.detach().float() for name, v in out.quantized.metrics.items() if v.ndim == 0}
        shown = {f"loss/{name}": value.detach() for name, value in losses.items()}
        return {"loss/total": total.detach(), **shown, **values, **metrics}

    def _judge_backward(self, x: Tensor, x_hat: Tensor, share: float) -> tuple[dict[str, Tensor], Any]:
        """Gradients of the discriminators; leaves their weights frozen for the generator's turn."""
        self.discriminators.requires_grad_(True)
        with self._autocast():
            real, fake = self.judge(x, x_hat)
        losses = {
            name: loss.judge_loss(real, fake) for name, loss in self.losses.items() if hasattr(loss, "judge_loss")
        }
        self._check({f"discriminator/{name}": value for name, value in losses.items()})
        self.accelerator.backward(sum(losses.values()) * share)
        self.discriminators.requires_grad_(False)
        return {name: v.detach() for name, v in losses.items()}, [j.detach() for j in real]

    def compute(self, inputs: LossInputs, adversarial: bool) -> dict[str, Tensor]:
        """Return every loss that counts at this step, unweighted, by the names of the config."""
        return {name: loss(inputs) for name, loss in self.losses.items() if adversarial or not loss.adversarial}

    # --- small parts ----------------------------------------------------------------------------------------------

    def best(self) -> Tokenizer:
        """The weights that are validated and published: the running mean, or the tokenizer itself without one."""
        return self.ema.module if self.ema else self.tokenizer  # type: ignore[return-value]

    def _set_rates(self) -> None:
        c, step = self.config, self.step
        set_rate(self.optimizer, rate(c.optimizer.schedule, c.optimizer.lr, step, c.steps))
        if self.judge_optimizer:
            judge, start = c.discriminator_optimizer, c.adversarial_start
            set_rate(self.judge_optimizer, rate(judge.schedule, judge.lr, max(0, step - start), c.steps - start))

    def _check(self, losses: Mapping[str, Tensor]) -> None:
        finite = torch.stack([v.detach().float() for v in losses.values()]).isfinite()
        if not bool(finite.all()):
            names = [name for name, ok in zip(losses, finite.tolist(), strict=True) if not ok]
            raise NonFiniteLoss(
                f"step {self.step}: {', '.join(names)} is not finite. Nothing of this step was used; the last checkpoint "
                "is good. Lower the learning rate or grad_clip, or look at the data of this step."
            )

    def _clip(self, parameters: list[nn.Parameter], limit: float, what: str) -> Tensor:
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit or float("inf"))
        if not bool(norm.isfinite()):
            raise NonFiniteLoss(f"step {self.step}: {what} is not finite. Lower the learning rate.")
        return norm.detach()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    @contextmanager
    def _gradients_stay_here(self, active: bool) -> Iterator[None]:
        """Put off the exchange of gradients between processes while a batch is not complete."""
        with ExitStack() as stack:
            for model in (self.generator, self.judge):
                stack.enter_context(self.accelerator.no_sync(model) if active and model is not None else nullcontext())
            yield

    def _average_loss_parameters(self) -> None:
        """Losses are not wrapped for several processes; the gradients of their own parameters are averaged here."""
        if self.world > 1:
            for parameter in self.losses.parameters():
                if parameter.requires_grad:
                    grad = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
                    parameter.grad = self.accelerator.reduce(grad, reduction="mean")

    def _report(self, values: Mapping[str, Tensor]) -> None:
        means = self.accelerator.reduce(torch.stack([v.to(self.device).float() for v in values.values()]), "mean")
        scalars = dict(zip(values, means.tolist(), strict=True))
        scalars["lr"] = self.optimizer.param_groups[0]["lr"]
        quantizer = self.tokenizer.quantizer
        for name, per_book in (("usage", quantizer.usage()), ("perplexity", quantizer.perplexity())):
            scalars |= {f"codebook/{name}_{k}": v for k, v in enumerate(per_book.tolist())}
        scalars["data/broken"] = len(self.broken)
        self.log.metrics(self.step, scalars)
        losses = {name.removeprefix("loss/"): v for name, v in scalars.items() if name.startswith("loss/")}
        self.log.summary(self.step, losses | {"usage": float(quantizer.usage().mean())})

    def _farewell(self) -> None:
        if self._stop and self.step < self.config.steps:
            self.log.say(f"stopped at step {self.step}; the same command goes on from there.")
        if self.broken:
            self.log.say(f"{len(self.broken)} files could not be used:")
            for name, reason in sorted(self.broken.items()):
                self.log.say(f"  {name}: {reason}")

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """On SIGINT or SIGTERM finish the step, write a checkpoint and end; a second signal ends at once."""

        def stop(number: int, frame: Any) -> None:
            if self._stop:
                raise KeyboardInterrupt
            self._stop = True

        try:
            before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def due(every: int, step: int) -> bool:
    """True at each multiple of `every`; never for 0."""
    return every > 0 and step % every == 0


def train(config: RunConfig) -> Result:
    """Build a trainer and run it."""
    return Trainer(config).run()


def _start(config: RunConfig) -> Tokenizer:
    """A new tokenizer, or one with the weights of `config.init`."""
    tokenizer = build_tokenizer(config.model.family, config.model.config)
    if config.init:
        other = load_folder(_model_folder(Path(config.init)))
        load_strict(tokenizer, other.state_dict(), config.init)
    return tokenizer


def _model_folder(path: Path) -> Path:
    return path if (path / "config.json").is_file() else path / "model"


def _quiet(text: str) -> None:
    pass
