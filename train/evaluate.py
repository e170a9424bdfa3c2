"""Validation during a run: losses and code usage on validation data, and previews."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from ..codecs.config import ConfigError
from ..codecs.tokenizer import Tokenizer
from .best import OWN_FIGURES, Best, best_of
from .data import open_clips
from .data.loader import Batch, Sample, collate
from .data.media import Media
from .data.sources import as_list
from .data.stream import StreamClips
from .figures.base import Figure
from .log import RunLog
from .losses.base import LossInputs
from .processes import any_process
from .randomness import randomness_kept
from .resume import publish_model
from .state import TrainState


class Validation:
    """Validation and previews on fixed crops of the validation data; without validation data, previews of training data only.

    Validation does not affect training: a run that is validated more often ends with the same weights.

    Args:
        state: the run that is validated.
        media: how its crops are cut and shown.
        log: where metrics and previews are logged.
        out: folder of the run.
    """

    def __init__(self, state: TrainState, media: Media, log: RunLog, out: Path) -> None:
        self.state, self.media, self.log, self.out = state, media, log, out
        config = state.config
        self.scored = bool(as_list(config.data.valid))
        self.figures: dict[str, Figure] = {}
        self.crops: list[Sample] = []
        self.names: list[str] = []
        if state.rank or not (config.every.validate or config.every.preview):
            return
        wanted = max(config.every.validate_items if self.scored else 0, config.every.preview_items)
        if self.scored and config.every.validate:
            self.figures = {name: figure.build(state.tokenizer.spec) for name, figure in config.figures.items()}
        self.names, self.crops = fixed_crops(state, media, wanted)

    def run(self) -> None:
        """Log the mean of every non-adversarial loss, the figures, and the usage of each codebook; keep the best weights."""
        state = self.state
        if state.rank == 0 and self.scored:
            with self._looking() as model:
                losses, figures, usage = self._measure(model)
            values = {f"valid/{name}": value for name, value in (losses | figures).items()}
            values["valid/total"] = sum(state.objective.weights[name] * value for name, value in losses.items())
            values |= {f"valid/usage_{k}": value for k, value in enumerate(usage)}
            self.log.metrics(state.step, values)
            self.log.say(f"step {state.step} valid  " + "  ".join(f"{k} {v:.4g}" for k, v in (losses | figures).items()))
            self._keep_best(values)
        state.accelerator.wait_for_everyone()

    def best(self) -> Best | None:
        """The best validation so far, in the first process; None without one."""
        config = self.state.config
        figure = config.best.figure
        if not (figure and self.scored and self.state.rank == 0):
            return None
        higher = config.figures[figure].higher if figure in config.figures else figure in OWN_FIGURES
        return best_of(self.out, figure, higher=higher)

    def exhausted(self) -> bool:
        """True if the run should end, as no validation of late was better; the same answer in every process."""
        patience = self.state.config.best.patience
        if not patience:
            return False
        found = self.best()  # None in all processes but the first
        return any_process(self.state.accelerator, found is not None and found.since >= patience)

    def _keep_best(self, values: dict[str, float]) -> None:
        figure = self.state.config.best.figure
        if figure and f"valid/{figure}" not in values:
            if figure in self.figures:
                crops = f"any of the {len(self.crops)} crops"
                raise ConfigError(f"best.figure is {figure!r}, which is not defined for {crops} of the validation (see its kind).")
            known = ", ".join(sorted(n.removeprefix("valid/") for n in values))
            raise ConfigError(f"best.figure is {figure!r}; this run's validation has {known}.")
        found = self.best()
        if found and found.step == self.state.step:
            publish_model(self.state, self.out, "best")

    def preview(self) -> None:
        """Write originals beside reconstructions to `OUT/previews/<step>`, and `items.txt`, which lists their sources."""
        state = self.state
        if state.rank == 0:
            folder = self.out / "previews" / f"{state.step:08d}"
            folder.mkdir(parents=True, exist_ok=True)
            count = state.config.every.preview_items
            batch, names = collate(self.crops[:count]), self.names[:count]
            there = batch.to(state.device)
            with self._looking() as model, state.reading(model, there.partners):
                targets = state.objective.targets(there.x, there.partners) if state.config.model.features else {}
                x_hat = _shown(there.x, model(there.x, *state.features(targets)).x_hat).cpu()
            state.objective.check_output(batch.x, x_hat, "previews")
            self.log.media(state.step, self.media.preview().write(folder, batch.x, x_hat, names=names))
            self._write_partners(folder, names, batch, x_hat)
        state.accelerator.wait_for_everyone()

    def _write_partners(self, folder: Path, names: list[str], batch: Batch, x_hat: Tensor) -> None:
        """Write `items.txt`, a line for each item: its number, name and texts; and partner pictures above the reconstructions."""
        texts = [v for v in batch.partners.values() if isinstance(v, list)]
        rows = zip(names, *([" ".join(t.split()) for t in text] for text in texts), strict=True)
        (folder / "items.txt").write_text("".join("\t".join((f"{i:02d}", *row)) + "\n" for i, row in enumerate(rows)), encoding="utf-8")
        for name, value in batch.partners.items():
            if isinstance(value, Tensor) and self.state.config.data.partners[name].kind == "image":
                (folder / name).mkdir(exist_ok=True)
                self.media.preview().write(folder / name, value, x_hat, names=names)

    def _measure(self, model: Tokenizer) -> tuple[dict[str, float], dict[str, float], list[float]]:
        """Mean losses by name, mean figures of the media, and the share of each codebook that was used."""
        state, totals, figures = self.state, dict[str, float](), dict[str, float]()
        counts = [torch.zeros(v) for v in model.quantizer.codebook_sizes]
        size = max(1, state.config.batch_size // state.config.accumulation // state.world)
        for first in range(0, len(self.crops), size):
            batch = collate(self.crops[first : first + size]).to(state.device)
            x, partners = batch.x, batch.partners
            targets = state.objective.targets(x, partners)
            with state.reading(model, partners):
                out = model(x, *state.features(targets))
            inputs = LossInputs(x=x, x_hat=out.x_hat.float(), out=out, targets=targets, partners=partners)
            for name, value in state.objective.compute(inputs, adversarial=False, scored=True).items():
                totals[name] = totals.get(name, 0.0) + float(value) * len(x) / len(self.crops)
            x_hat = _shown(x, out.x_hat)
            if x_hat.shape == x.shape:
                for name, value in self.media.figures(x, x_hat).items():
                    figures[name] = figures.get(name, 0.0) + value * len(x) / len(self.crops)
                for figure in self.figures.values():
                    figure.add(x, x_hat)
            for k, count in enumerate(counts):
                count += torch.bincount(out.quantized.ids[:, k].flatten().cpu(), minlength=len(count))
        figures |= {name: value for name, figure in self.figures.items() if (value := figure.take()) is not None}
        return totals, figures, [float((c > 0).float().mean()) for c in counts]

    @contextmanager
    def _looking(self) -> Iterator[Tokenizer]:
        """The weights that are published, in eval mode, without gradients and always with the same random numbers."""
        model = self.state.best()
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad(), randomness_kept(self.state.config.seed):
                yield model
        finally:
            model.train(was_training)


def _shown(x: Tensor, x_hat: Tensor) -> Tensor:
    """A reconstruction `x_hat` of media `x` as a person sees it: of scores `[B, V, H, W]` of classes the likeliest, `[B, H, W]`."""
    return x_hat.float() if x.is_floating_point() else x_hat.argmax(1)


def fixed_crops(state: TrainState, media: Media, wanted: int) -> tuple[list[str], list[Sample]]:
    """Cut crops without augmentation from items spread evenly over the validation data or, without any, the training data.

    Args:
        state: the run.
        media: how crops are cut.
        wanted: number of crops; fewer if the data have fewer.

    Returns:
        Names of the items, and their crops with their partners; always the same ones.
    """
    config = state.config
    own = bool(as_list(config.data.valid))
    entries = config.data.valid if own else config.data.train
    clips = open_clips(entries, media, config.data.validating(own=own), seed=config.seed, train=False)
    if isinstance(clips, StreamClips):
        taken = list(itertools.islice(clips, wanted))
        return [f"row {used - 1}" for _, used in taken], [sample for sample, _ in taken]
    places = [i * len(clips) // wanted for i in range(wanted)] if len(clips) > wanted else range(len(clips))
    names, crops = [], []
    for place in places:
        sample = clips[place]
        state.broken |= sample.broken
        name = clips.names[clips.order.item(place)]
        names.append(name if name not in sample.broken else f"in place of {name}, which is broken")
        crops.append(sample)
    return names, crops
