"""One optimiser step: teachers, forward, adversary, losses, balance, update; the same for every modality."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from ..codecs.quantizers.parts.codebook import one_step, only_start
from ..codecs.tokenizer import Reconstruction
from .adversary import Adversary
from .data.loader import Batch
from .discriminators.base import Beside
from .finite import check_finite
from .losses.base import Judgement, LossInputs
from .optim import autocast, rate, set_rate, update
from .positions import without_padding
from .processes import mean_over
from .recompute import recomputed
from .state import TrainState
from .table_start import start_tables


def train_step(state: TrainState, batch: Tensor | Batch | Sequence[Tensor | Batch]) -> dict[str, Tensor]:
    """Take one optimiser step, in place.

    What is updated without gradients is updated once, from the whole batch, however many parts it has: codebooks, their start and the
    replacement of dead codes, the balancer's norms and the losses' running means.

    Args:
        state: the run; `state.step` is one higher afterwards.
        batch: media of this process, float32 `[B, C, T]` at the tokenizer's rate or `[B, C, H, W]` in its value range, maps of
            classes int64 `[B, H, W]`; a `Batch` of these with their partners; or a list of equal parts, whose mean gradient is
            taken to save memory.

    Returns:
        The mean of every loss over the parts, by name, on the device: "loss/total", "loss/NAME", "discriminator/NAME", metrics of
        quantizer and balance, "grad_norm".

    Raises:
        ValueError: `batch` is empty, or has another type or shape.
        NonFiniteLoss: a loss or gradient is not finite; the weights are as they were.
    """
    given = [batch] if isinstance(batch, Tensor | Batch) else list(batch)
    parts = [part if isinstance(part, Batch) else Batch(part) for part in given]
    _check_media(state, [part.x for part in parts])
    config = state.config
    if not state.tokenizer.training:  # a caller may have set eval mode in between
        state.tokenizer.train()
    adversary = state.adversary if state.step >= config.adversarial_start else None
    moves, judges = adversary.turn(state.step) if adversary else (True, False)
    set_rate(state.optimizer, rate(config.optimizer.schedule, config.optimizer.lr, state.step, config.steps))
    state.optimizer.zero_grad(set_to_none=True)
    if adversary:
        adversary.prepare_step(state.step)
    start_tables(state, parts)
    state.positions.begin()
    totals: dict[str, Tensor] = {}
    tables = one_step if moves else only_start
    with state.moving.at(state.step), tables(len(parts)), _running_numbers(state):
        for i, part in enumerate(parts):
            with _gradients_stay_here(state, i < len(parts) - 1):
                on_device = part.to(state.device)
                if moves or adversary is None:
                    values = _backward(state, on_device, adversary, 1 / len(parts))
                else:
                    values = _judge_only(state, on_device, adversary, 1 / len(parts))
            for name, value in values.items():
                totals[name] = totals.get(name, 0) + value / len(parts)
        if moves:
            _average_loss_parameters(state)
            totals["grad_norm"] = update(state.optimizer, state.scaler, state.trained, config.grad_clip, state.step, "the tokenizer")
        if adversary and judges:
            totals["discriminator/grad_norm"] = adversary.step(state.step)
    if state.ema and moves:
        state.ema.update(state.tokenizer, state.step)
    state.step += 1
    return totals


def _check_media(state: TrainState, parts: Sequence[Tensor]) -> None:
    """Raise ValueError for tensors that cannot be a batch of media of this tokenizer."""
    if not parts:
        raise ValueError("the batch has no parts; pass a tensor [B, C, ...], or a list of some.")
    channels, classes = getattr(state.tokenizer.spec, "channels", None), getattr(state.tokenizer.spec, "classes", 0)
    for x in parts:
        if classes and x.dtype == torch.int64 and x.ndim == 3 and x.numel():
            continue
        if classes:
            raise ValueError(f"a batch is int64 [B, H, W], maps of classes below {classes}; got {x.dtype} {list(x.shape)}.")
        if not x.is_floating_point() or x.ndim < 3 or 0 in x.shape or (channels and x.shape[-3 if x.ndim == 5 else 1] != channels):
            raise ValueError(
                f"a batch is float32 [B, {channels or 'C'}, ...], media as `forward` of the tokenizer takes them; "
                f"got {x.dtype} {list(x.shape)}."
            )


def _backward(state: TrainState, batch: Batch, adversary: Adversary | None, share: float) -> dict[str, Tensor]:
    """Add `share` times the gradients of one batch; returns detached losses.

    Differs: DAC and EnCodec update the discriminators before they compute the generator's adversarial loss. Here both gradients are
    taken at the same weights, which makes them independent of `accumulation` and saves two of four discriminator passes.
    """
    objective, x, partners = state.objective, batch.x, batch.partners
    targets = objective.targets(x, partners)
    with autocast(state.config.precision, x.device), recomputed(state.recomputed), state.reading(state.tokenizer, partners):
        out = state.generator(x, *state.features(targets))
    state.positions.record(without_padding(state.tokenizer, x, out.quantized.ids))
    x_hat = out.x_hat.float()
    objective.check_output(x, x_hat)
    judged: dict[str, Tensor] = {}
    real: list[Judgement] = []
    fake: list[Judgement] = []
    if adversary and adversary.turn(state.step)[1]:
        judged, real, fake = adversary.backward(x, x_hat, share, state.step, Beside(out.features, targets))
    elif adversary:
        real, fake = adversary.judge(x, x_hat, Beside(out.features, targets))
    inputs = LossInputs(x=x, x_hat=x_hat, out=out, real=real, fake=fake, targets=targets, partners=partners)
    losses = objective.compute(inputs, adversarial=adversary is not None)
    check_finite(losses, state.step)
    total, balance = objective.balancer(losses, x_hat, share)
    shown = {f"loss/{name}": value.detach() for name, value in losses.items()}
    shown = {"loss/total": objective.weighted(losses), **shown}
    del inputs, losses, real, fake  # where the balancer has taken their gradients, the discriminators' graph ends here
    # of these weights alone: the discriminators' graph would also lead to theirs
    state.accelerator.backward(state.scaler.scale(total * share), inputs=state.trained)
    return {**shown, **judged, **_metrics(out), **balance}


def _judge_only(state: TrainState, batch: Batch, adversary: Adversary, share: float) -> dict[str, Tensor]:
    """Add `share` times the gradients of the discriminators at a step that does not update the tokenizer; returns detached losses."""
    config, partners = state.config, batch.partners
    targets = state.objective.targets(batch.x, partners)
    with torch.no_grad(), autocast(config.precision, batch.x.device), state.reading(state.tokenizer, partners):
        out = state.generator(batch.x, *state.features(targets))
    state.positions.record(without_padding(state.tokenizer, batch.x, out.quantized.ids))
    x_hat = out.x_hat.float()
    state.objective.check_output(batch.x, x_hat)
    return adversary.backward(batch.x, x_hat, share, state.step, Beside(out.features, targets))[0] | _metrics(out)


def _metrics(out: Reconstruction) -> dict[str, Tensor]:
    """Scalar metrics of the quantizer."""
    return {f"quantizer/{name}": v.detach().float() for name, v in out.quantized.metrics.items() if v.ndim == 0}


@contextmanager
def _running_numbers(state: TrainState) -> Iterator[None]:
    """Context manager of a step: updates running means of balancer and losses at its end; if it raises, they stay as they were."""
    modules = [state.objective.balancer, *state.objective.by_name.values()]
    try:
        yield
    except BaseException:
        for module in modules:
            module.end_step(moved=False)
        raise
    for module in modules:
        module.end_step()


@contextmanager
def _gradients_stay_here(state: TrainState, active: bool) -> Iterator[None]:
    """Context manager: no gradient synchronisation between processes until the batch is complete (`no_sync`)."""
    with ExitStack() as stack:
        if active:
            stack.enter_context(state.accelerator.no_sync(state.generator))
            if state.adversary:
                stack.enter_context(state.accelerator.no_sync(state.adversary.wrapped))
        yield


def _average_loss_parameters(state: TrainState) -> None:
    """Average gradients of the parameters of losses over processes; losses are not wrapped in DDP."""
    if state.world > 1:
        for parameter in state.losses.parameters():
            if parameter.requires_grad:
                grad = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
                parameter.grad = mean_over(state.accelerator, grad)
