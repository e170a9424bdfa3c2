"""A training run as frozen dataclasses: what `configs/*.yaml` and the command line are checked against."""

import math
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from ..codecs.config import ConfigError, nearest
from ..codecs.devices import DEVICES, dtype_name
from .balance import BalanceConfig
from .best import OWN_FIGURES, BestConfig
from .data.config import DataConfig
from .discriminators.base import DiscriminatorConfig
from .figures.base import FigureConfig
from .losses.base import LossConfig
from .moving import RampConfig
from .teachers.base import TeacherConfig

#: Value of `model.family` for: the family and config of the tokenizer that `init` names.
FROM_INIT = "from_init"


def _check(path: str, value: float, *, low: float, high: float = math.inf, above: bool = False) -> None:
    """Raise `ConfigError` for a number outside `low..high` (`above`: `low` itself is too small), and for NaN and infinity."""
    if not (math.isfinite(value) and low <= value <= high and not (above and value == low)):
        least = f"above {low:g}" if above else f"at least {low:g}"
        raise ConfigError(f"{path} is {value}; it must be {least}{f' and at most {high:g}' if math.isfinite(high) else ''}.")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The tokenizer to train.

    Attributes:
        family: its family's name; "from_init" takes family and config of the tokenizer that `init` names.
        config: that family's own settings (checked when it is built); with "from_init" the settings to change in that
            tokenizer's config, e.g. `{quantizer: {dropout: 0.5}}`.
        features: names under `teachers:` whose targets `forward` takes after the media, in this order, for families that
            take features of frozen models (SpeechTokenizer with `fusion`: a speech model's, then a text model's).
        weight_norm: parts whose convolutions (of a part without any: linear layers) have weight norm while they are trained, e.g.
            `[encoder, decoder]`; or `[published]`: the weights that have one in the authors' layout that `init` was loaded from. What
            is saved in `OUT/model` has plain weights.
        frozen: parts that keep their weights (`encoder`, `quantizer`, `decoder.levels`, ...), codebooks included; for
            training in stages.
        ids: a partner of kind "ids" that the decoder reads in place of the encoder's ids, in training and in validation; "": none. The
            quantizer must be frozen. See `reading.py`.
    """

    family: str = FROM_INIT
    config: dict[str, Any] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    weight_norm: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    ids: str = ""


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Learning rate schedule; the rate is a pure function of the step.

    Attributes:
        kind: after the warm-up: constant; half a cosine ("cosine") or a straight line ("linear") down to `final_ratio`;
            "exponential": multiplied by `gamma` at every step; "drops": multiplied by `gamma` at each of the steps `at`;
            "inverse_sqrt": in proportion to 1 / sqrt(step), from the peak at the end of the warm-up. The last three stop at
            `final_ratio`.
        warmup_steps: linear rise from `first_ratio`.
        first_ratio: rate before the first step of the warm-up, as a share of the peak.
        final_ratio: lowest rate as a share of the peak.
        length: steps of the fall of "cosine" and "linear" after the warm-up, at the end of which the rate stays; 0: to the end of
            the run.
        gamma: factor of the kinds "exponential" (DAC: 0.999996) and "drops" (IBQ: 0.1).
        at: increasing numbers of steps of the kind "drops".
    """

    kind: Literal["constant", "cosine", "linear", "exponential", "drops", "inverse_sqrt"] = "cosine"
    warmup_steps: int = 0
    first_ratio: float = 0.0
    final_ratio: float = 0.0
    length: int = 0
    gamma: float = 0.999996
    at: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check("schedule.warmup_steps", self.warmup_steps, low=0)
        _check("schedule.first_ratio", self.first_ratio, low=0, high=1)
        _check("schedule.final_ratio", self.final_ratio, low=0, high=1)
        _check("schedule.length", self.length, low=0)
        _check("schedule.gamma", self.gamma, low=0, high=1, above=True)
        if self.kind == "inverse_sqrt" and not self.warmup_steps:
            raise ConfigError("schedule.kind 'inverse_sqrt' falls from the end of the warm-up; set schedule.warmup_steps to 1 or more.")
        if (self.kind == "drops") != bool(self.at) or list(self.at) != sorted({s for s in self.at if s > 0}):
            raise ConfigError(
                f"schedule.kind is {self.kind!r} and schedule.at {list(self.at)}; 'drops', and no other kind, needs the steps at "
                "which the rate falls: positive and increasing."
            )


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Adam or AdamW with its learning rate schedule.

    Attributes:
        kind: "adamw" or "adam".
        lr: peak learning rate.
        betas, eps: as in torch.
        weight_decay: of tensors with two or more axes; biases, norms and scales do not decay.
        schedule: of the learning rate.
    """

    kind: Literal["adamw", "adam"] = "adamw"
    lr: float = 3e-4
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-8
    weight_decay: float = 0.0
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def __post_init__(self) -> None:
        _check("optimizer.lr", self.lr, low=0)
        _check("optimizer.eps", self.eps, low=0, above=True)
        _check("optimizer.weight_decay", self.weight_decay, low=0)
        for i, beta in enumerate(self.betas):
            _check(f"optimizer.betas[{i}]", beta, low=0, high=math.nextafter(1, 0))


@dataclass(frozen=True, kw_only=True)
class EmaConfig:
    """Running mean of the weights. The mean is what is validated, previewed and saved in `OUT/model`.

    Attributes:
        decay: share of the old mean that a step keeps; 0 switches the mean off.
        warmup: keep at most `(1 + step) / (10 + step)`, so that early means forget the random start.
    """

    decay: float = 0.999
    warmup: bool = True

    def __post_init__(self) -> None:
        _check("ema.decay", self.decay, low=0, high=1)


@dataclass(frozen=True, kw_only=True)
class TurnsConfig:
    """Which side is updated at which step from `adversarial_start` on: a cycle of three groups of steps, in this order.

    The learning rate of each side is that of the step, whether it is updated or not. A step that does not update the tokenizer
    leaves its codebooks and running means as they are, too.

    Attributes:
        discriminators: steps that update the discriminators alone (KARL, ALIT: 8, before one of the tokenizer).
        both: steps that update both.
        tokenizer: steps that update the tokenizer alone (NeMo's 21.5 Hz codec: 1, after one of both).
    """

    discriminators: int = 0
    both: int = 1
    tokenizer: int = 0

    def __post_init__(self) -> None:
        if not self.both and not (self.discriminators and self.tokenizer):
            raise ConfigError(
                f"turns is {self.discriminators} steps of the discriminators, {self.both} of both, {self.tokenizer} of the "
                "tokenizer: one side would never be updated."
            )

    def trains(self, step: int) -> tuple[bool, bool]:
        """Whether the tokenizer, and whether the discriminators are updated at a step, counted from `adversarial_start`."""
        place = step % (self.discriminators + self.both + self.tokenizer)
        return place >= self.discriminators, place < self.discriminators + self.both

    def updates(self, step: int) -> int:
        """Updates of the discriminators before this step, counted from `adversarial_start`."""
        each = self.discriminators + self.both
        cycles, place = divmod(step, each + self.tokenizer)
        return cycles * each + min(place, each)


@dataclass(frozen=True, kw_only=True)
class CadenceConfig:
    """Intervals in steps (0: never) of logging, checkpoints, previews and validation, and their sizes.

    Attributes:
        log: a line in `metrics.jsonl`, TensorBoard and the terminal.
        checkpoint: a resumable checkpoint, and with it `OUT/model`.
        keep: newest checkpoints that stay on disk.
        preview: reconstructions written to `OUT/previews`.
        preview_items: how many media a preview shows.
        validate: losses on the validation data.
        validate_items: how many crops of the validation data are used, always the same ones.
    """

    log: int = 50
    checkpoint: int = 1000
    keep: int = 2
    preview: int = 1000
    preview_items: int = 8
    validate: int = 1000
    validate_items: int = 64

    def __post_init__(self) -> None:
        for name in ("log", "checkpoint", "preview", "validate"):
            _check(f"every.{name}", getattr(self, name), low=0)
        for name in ("keep", "preview_items", "validate_items"):
            _check(f"every.{name}", getattr(self, name), low=1)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides a training run.

    Attributes:
        model: the tokenizer; left out, it is that of `init`.
        init: weights to start from: whatever `tokenzoo.load` takes (a registry name, `org/repo` of the hub, a folder, also as
            `file:FOLDER`), the output folder of a run, or its `checkpoint-N` folder; these two bring their discriminators along.
        init_parts: load only these parts of `init` (`encoder`, ...), and no discriminators; empty: everything.
        init_losses: names of losses whose parameters (a projector, a language model, a text tower) are those of the same loss in
            `init`, a run or its checkpoint. What a loss has here and had not there begins as it would.
        grafts: part -> where its weights come from, after `init`: "NAME", a whole other tokenizer (named as for `init`), or
            "NAME#part", a part of one (TiTok's `head.pixel_decoder` is a MaskGIT-VQGAN's "FOLDER#decoder").
        data: where media come from, and how crops are cut from them.
        losses: name -> settings with a `weight`; `kind` is the name unless given.
        discriminators: name -> settings; trained by the loss of kind `adversarial`.
        teachers: name -> settings of frozen networks; losses compare with their features, or the tokenizer takes them as input.
        optimizer: of the tokenizer (and of parameters that losses own).
        discriminator_optimizer: of the discriminators.
        balance: loss weights from gradient norms; off by default.
        moving: values that change with the step, by path ("losses.adversarial.weight", "model.quantizer.temperature"): `moving.py`.
        adversarial_start: first step at which discriminators are trained and their losses count.
        turns: which of the two sides is updated at which step from there on; both at every step unless given.
        steps: optimiser steps of the whole run.
        batch_size: crops in one optimiser step, over all devices and all `accumulation` parts.
        accumulation: number of parts that a batch is split into, to save memory. Gradients, codebooks and running means are those of
            the whole batch; BatchNorm in a discriminator and "adaptive" loss weights are those of each part.
        recompute_blocks: of each block of the tokenizer, keep only its input for the backward pass, and compute the block again there,
            to save memory (gradient checkpointing): the same gradients, in about a third more time. See `recompute.py`.
        grad_clip: largest norm of the tokenizer's gradient; 0: no limit.
        discriminator_grad_clip: the same for all discriminators together.
        precision: what networks compute in: "float32", "bfloat16", or "float16" with loss scaling, for GPUs without bfloat16
            ("fp32", "bf16", "fp16" are understood); losses, quantizers and weights are float32 always.
        ema: running mean of the weights.
        every: intervals of logging, checkpoints, previews and validation.
        figures: name -> settings of figures that validation computes (`figures/`: LPIPS, rFID, PESQ, STOI); `kind` is the name unless
            given.
        best: which weights are kept in `OUT/best`, and when a run that has stopped improving ends.
        seed: of weights, data order and crops.
        deterministic: ask torch for deterministic kernels on a GPU too, which is slower; on a CPU it always does.
        device: "auto" takes the GPU that accelerate finds; or "cpu", "cuda", "cuda:1" (a single process), "mps".
        threads: CPU threads of the main process; 0 leaves torch's choice.
        find_unused: let DDP look for parameters without a gradient in a step (by quantizer dropout and the like).
        tensorboard: write curves and previews for TensorBoard to `OUT/tensorboard`.
        output: folder OUT that the run writes to.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig
    losses: dict[str, LossConfig]
    output: str
    init: str | None = None
    init_parts: tuple[str, ...] = ()
    init_losses: tuple[str, ...] = ()
    grafts: dict[str, str] = field(default_factory=dict)
    discriminators: dict[str, DiscriminatorConfig] = field(default_factory=dict)
    teachers: dict[str, TeacherConfig] = field(default_factory=dict)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    discriminator_optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    balance: BalanceConfig = field(default_factory=BalanceConfig)
    moving: dict[str, RampConfig] = field(default_factory=dict)
    adversarial_start: int = 0
    turns: TurnsConfig = field(default_factory=TurnsConfig)
    steps: int = 10000
    batch_size: int = 16
    accumulation: int = 1
    recompute_blocks: bool = False
    grad_clip: float = 1.0
    discriminator_grad_clip: float = 0.0
    precision: str = "float32"
    ema: EmaConfig = field(default_factory=EmaConfig)
    every: CadenceConfig = field(default_factory=CadenceConfig)
    figures: dict[str, FigureConfig] = field(default_factory=dict)
    best: BestConfig = field(default_factory=BestConfig)
    seed: int = 0
    deterministic: bool = False
    device: str = "auto"
    threads: int = 0
    find_unused: bool = True
    tensorboard: bool = True

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "precision", dtype_name(self.precision))
        except ValueError as error:
            raise ConfigError(f"precision: {error}") from error
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", self.device):
            raise ConfigError(f"device is {self.device!r}; allowed: {', '.join(DEVICES)}.")
        _check("steps", self.steps, low=1)
        for name in ("adversarial_start", "grad_clip", "discriminator_grad_clip", "threads", "seed"):
            _check(name, getattr(self, name), low=0)
        if self.batch_size < 1 or self.accumulation < 1 or self.batch_size % self.accumulation:
            raise ConfigError(
                f"batch_size is {self.batch_size} and accumulation {self.accumulation}; "
                "both must be positive and the batch must divide into equal parts."
            )
        self._check_losses()
        if self.init_parts and not self.init:
            raise ConfigError(f"init_parts is {self.init_parts}, but init names no weights to take them from.")
        for name in self.init_losses:
            if not self.init or name not in self.losses:
                advice = nearest(name, list(self.losses)) if self.init else " init names no run to take its parameters from."
                raise ConfigError(f"init_losses names {name!r}.{advice}")
        for name in self.model.features:
            if name not in self.teachers:
                raise ConfigError(f"model.features names {name!r}.{nearest(name, list(self.teachers))}")

    def _check_losses(self) -> None:
        self._check_partner("model.ids", self.model.ids, ("ids",))
        for name, loss in self.losses.items():
            _check(f"losses.{name}.weight", loss.weight, low=0)
            _check(f"losses.{name}.rate", loss.rate, low=0)
            self._check_partner(f"losses.{name}.against", loss.against, ("image",))
            self._check_partner(f"losses.{name}.partner", getattr(loss, "partner", ""), loss.partner_kinds)
            if loss.against and loss.needs_discriminators:
                raise ConfigError(f"losses.{name}.against is {loss.against!r}; discriminators compare with the media alone.")
            teacher = getattr(loss, "teacher", None)
            if teacher is not None and teacher not in self.teachers:
                raise ConfigError(f"losses.{name}.teacher is {teacher!r}.{nearest(teacher, list(self.teachers))}")
        for name, config in self.teachers.items():
            self._check_partner(f"teachers.{name}.partner", config.partner, config.partner_kinds)
            if config.of_pictures and self.data.kind == "clips":
                raise ConfigError(
                    f"teachers.{name} is of kind {config.kind!r}, which looks at single pictures, but data.kind is 'clips'. Leave the "
                    "teacher and the losses that name it out, or train on pictures (data.kind: images)."
                )
        if taken := sorted(self.figures.keys() & {"total", *self.losses, *OWN_FIGURES}):
            raise ConfigError(f"figures.{taken[0]}: a loss or a figure has this name already; take another.")
        known = ("total", *sorted(self.losses), *OWN_FIGURES, *sorted(self.figures))
        if self.best.figure is not None and self.best.figure not in known:
            raise ConfigError(f"best.figure is {self.best.figure!r}.{nearest(self.best.figure, known)}")
        if not any(loss.weight > 0 for loss in self.losses.values()):
            raise ConfigError("losses: at least one loss with a positive weight is needed.")
        judged = any(loss.needs_discriminators for loss in self.losses.values())
        if judged and not self.discriminators:
            raise ConfigError("losses use discriminators, but none is configured; add one under `discriminators`.")
        if self.discriminators and not any(loss.trains_discriminators for loss in self.losses.values()):
            raise ConfigError("discriminators are configured, but no loss of kind 'adversarial' trains them.")
        self._check_judged()
        if self.precision == "float16" and self.balance.kind != "none":
            raise ConfigError(
                f"balance.kind is {self.balance.kind!r}, which measures gradients; float16 is too coarse for them. Take bfloat16."
            )


    def _check_partner(self, path: str, name: str, kinds: tuple[str, ...]) -> None:
        """Raise ConfigError if `data.partners` has no partner of this name and of one of these kinds; "": none is asked for."""
        if name and name not in self.data.partners:
            known = nearest(name, list(self.data.partners)) if self.data.partners else " data.partners describes none."
            raise ConfigError(f"{path} is {name!r}.{known}")
        if name and self.data.partners[name].kind not in kinds:
            raise ConfigError(f"{path} is {name!r}, of kind {self.data.partners[name].kind!r}; allowed: {', '.join(kinds)}.")

    def _check_judged(self) -> None:
        """Losses may name only discriminators that there are, and each of these needs a loss that trains it."""
        trained: set[str] = set()
        for name, loss in self.losses.items():
            judges = getattr(loss, "discriminators", ())
            for judge in judges:
                if judge not in self.discriminators:
                    raise ConfigError(f"losses.{name}.discriminators names {judge!r}.{nearest(judge, list(self.discriminators))}")
            if loss.trains_discriminators:
                trained |= set(judges or self.discriminators)
        if idle := sorted(self.discriminators.keys() - trained):
            raise ConfigError(f"no loss trains the discriminators {', '.join(idle)}: name them in losses.NAME.discriminators.")


# Keys that may change between a checkpoint and the run that resumes from it: none of them affects a training step.
# (`steps` moves the end of the schedule, as intended when a run is prolonged.)
FREE_TO_CHANGE = (
    "steps",
    "every",
    "best",
    "figures",
    "output",
    "threads",
    "tensorboard",
    "find_unused",
    "recompute_blocks",
    "init",
    "init_parts",
    "grafts",
    "data.num_workers",
    "data.cache",
    "data.valid",
    "data.valid_crop",
    "data.valid_crop_seconds",
)


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Return `key: old -> new` for each value that differs between two plain configs, free keys left out.

    If the `kind` or `family` of a part differs, only this is listed, as the settings are then not comparable.
    """
    if path in FREE_TO_CHANGE:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        for key in ("kind", "family"):
            if key in old and key in new and old[key] != new[key]:
                return differences(old[key], new[key], f"{path}.{key}" if path else key)
        out = []
        for key in sorted(old.keys() | new.keys()):
            out += differences(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
        return out
    return [] if old == new else [f"{path}: {old!r} -> {new!r}"]
