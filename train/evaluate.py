"""What is looked at while a run goes on: losses and code usage on validation data, and previews."""

import dataclasses
import itertools
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .data import open_clips
from .data.config import Entries
from .data.sources import as_list
from .data.stream import StreamClips
from .losses.base import LossInputs

if TYPE_CHECKING:
    from .loop import Trainer


class Validation:
    """Fixed crops of the validation data (of the training data, for previews only, where there is none)."""

    def __init__(self, trainer: "Trainer") -> None:
        self.trainer = trainer
        config = trainer.config
        self.scored = bool(as_list(config.data.valid))
        entries = config.data.valid if self.scored else config.data.train
        self.crops: list[Tensor] = []
        if trainer.rank or not (config.every.validate or config.every.preview):
            return
        wanted = max(config.every.validate_items if self.scored else 0, config.every.preview_items)
        self.crops = fixed_crops(trainer, entries, wanted)

    @torch.no_grad()
    def run(self) -> None:
        """Log the mean of every non-adversarial loss, and the usage of each codebook."""
        trainer = self.trainer
        if trainer.rank == 0 and self.scored:
            model = trainer.best()
            was_training = model.training
            model.eval()
            totals: dict[str, float] = {}
            counts = [torch.zeros(v) for v in model.quantizer.codebook_sizes]
            size = max(1, trainer.config.batch_size // trainer.config.accumulation // trainer.world)
            parts = torch.stack(self.crops).split(size)
            for x in parts:
                x = x.to(trainer.device)
                targets = trainer.targets(x)
                out = model(x, *trainer.features(targets))
                inputs = LossInputs(x=x, x_hat=out.x_hat.float(), out=out, targets=targets)
                for name, value in trainer.compute(inputs, adversarial=False, scored=True).items():
                    totals[name] = totals.get(name, 0.0) + float(value) * len(x) / len(self.crops)
                for k, count in enumerate(counts):
                    count += torch.bincount(out.quantized.ids[:, k].flatten().cpu(), minlength=len(count))
            model.train(was_training)
            values = {f"valid/{name}": value for name, value in totals.items()}
            values["valid/total"] = sum(trainer.weights[name] * value for name, value in totals.items())
            values |= {f"valid/usage_{k}": float((c > 0).float().mean()) for k, c in enumerate(counts)}
            trainer.log.metrics(trainer.step, values)
            trainer.log.say(f"step {trainer.step} valid  " + "  ".join(f"{k} {v:.4g}" for k, v in totals.items()))
        trainer.accelerator.wait_for_everyone()

    @torch.no_grad()
    def preview(self) -> None:
        """Write originals beside reconstructions to `OUT/previews/<step>`."""
        trainer = self.trainer
        if trainer.rank == 0:
            folder = trainer.out / "previews" / f"{trainer.step:08d}"
            folder.mkdir(parents=True, exist_ok=True)
            model = trainer.best()
            was_training = model.training
            model.eval()
            x = torch.stack(self.crops[: trainer.config.every.preview_items])
            x_hat = model(x.to(trainer.device)).x_hat.float().cpu()
            trainer.check_output(x, x_hat, "previews")
            model.train(was_training)
            trainer.log.media(trainer.step, trainer.media.preview().write(folder, x, x_hat))
        trainer.accelerator.wait_for_everyone()


def fixed_crops(trainer: "Trainer", entries: Entries, wanted: int) -> list[Tensor]:
    """Plain crops, spread evenly over the items of `entries`, always the same."""
    config = trainer.config

    lazy = dataclasses.replace(config.data, cache="none")
    clips = open_clips(entries, trainer.media, lazy, seed=config.seed, train=False)
    if isinstance(clips, StreamClips):
        return [x for x, _, _ in itertools.islice(clips, wanted)]
    places = [i * len(clips) // wanted for i in range(wanted)] if len(clips) > wanted else range(len(clips))
    crops = []
    for place in places:
        x, broken = clips[place]
        trainer.broken |= broken
        crops.append(x)
    return crops
