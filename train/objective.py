"""Objective of a run: losses by name with weights, and the frozen teachers that some of them use."""

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..codecs.config import ConfigError, building
from ..codecs.spec import TokenizerSpec
from .balance import Balancer
from .config import RunConfig
from .data.partners import PartnerBatch
from .losses.base import Loss, LossInputs, features_named, partner_named


class Objective:
    """All losses of a run.

    Args:
        config: the run.
        spec: of the media that are compared.
        device: where losses and teachers go.
        widths: channels of the tokenizer's features "z", "z_q" and others, for losses with parameters that depend on them.

    Attributes:
        losses: name -> loss. `weights`: name -> weight; `against`: name -> partner; `scaled_by`: name -> feature, the same keys.
        teachers: name -> frozen network; `taught_on`: the partner that each takes in place of the media, "": none.
        balancer: makes one scalar of the losses.
    """

    def __init__(self, config: RunConfig, spec: TokenizerSpec, device: torch.device, widths: Mapping[str, int]) -> None:
        # By name, so that the order of a YAML file changes no sum and no saved state.
        losses = {name: _built(f"losses.{name}", c, spec) for name, c in sorted(config.losses.items())}
        for name in _of_features(config):
            losses[name].on_output = False
        for loss in losses.values():
            loss.prepare(dict(widths))
        self.losses = nn.ModuleDict(losses).to(device)
        self.against = {name: c.against for name, c in config.losses.items()}
        self.scaled_by = {name: c.scaled_by for name, c in config.losses.items()}
        self.weights = {name: c.weight for name, c in config.losses.items()}
        self.balancer = Balancer(config.balance, losses, self.weights).to(device)
        teachers = {name: _built(f"teachers.{name}", c, spec) for name, c in sorted(config.teachers.items())}
        self.teachers = nn.ModuleDict(teachers).to(device).eval()
        self.taught_on = {name: c.partner for name, c in config.teachers.items()}

    @property
    def by_name(self) -> dict[str, Loss]:
        """The losses by name, typed as `Loss`."""
        return {name: cast(Loss, loss) for name, loss in self.losses.items()}

    def targets(self, x: Tensor, partners: PartnerBatch) -> dict[str, Tensor]:
        """Targets of every teacher for a batch `[B, C, ...]` and its partners, by name."""
        inputs = {name: partner_named(partners, p) if (p := self.taught_on[name]) else x for name in self.teachers}
        return {name: teacher(inputs[name]) for name, teacher in self.teachers.items()}

    def compute(self, inputs: LossInputs, *, adversarial: bool, scored: bool = False) -> dict[str, Tensor]:
        """Return every loss that counts, unweighted, by the names of the config.

        Args:
            inputs: media and reconstructions.
            adversarial: False leaves out the losses that need discriminators.
            scored: leave out losses whose features are missing: some families compute them in training only.
        """
        counts = {n: loss for n, loss in self.by_name.items() if adversarial or not loss.adversarial}
        return {
            n: loss(self._of(n, inputs)) * self._scale(n, inputs)
            for n, loss in counts.items()
            if not scored or loss.can_score(inputs)
        }

    def _scale(self, name: str, inputs: LossInputs) -> Tensor | float:
        """The factor of one loss for this batch."""
        feature = self.scaled_by[name]
        return features_named(inputs, feature)[0].detach().float().mean() if feature else 1.0

    def _of(self, name: str, inputs: LossInputs) -> LossInputs:
        """The inputs of one loss: with its partner picture as media, if it is against one."""
        partner = self.against[name]
        return dataclasses.replace(inputs, x=partner_named(inputs.partners, partner)) if partner else inputs

    def weighted(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of detached losses, for reports."""
        return torch.stack([self.weights[name] * value.detach() for name, value in losses.items()]).sum()

    def check_output(self, x: Tensor, x_hat: Tensor, purpose: str = "") -> None:
        """Raise `ConfigError` if media and reconstruction differ in shape although a loss, or `purpose` if given, compares them."""
        readers = [purpose] if purpose else [name for name, loss in self.by_name.items() if loss.on_output and not loss.of_scores]
        if x_hat.shape != x.shape and readers:
            raise ConfigError(
                f"the tokenizer reconstructs media of shape {list(x.shape)} as {list(x_hat.shape)}; {', '.join(readers)} "
                "can only compare media of one rate and size. Check the crop against the tokenizer's stride; a stage without "
                "pixels (TiTok's first) allows only losses on features, and needs every.preview=0."
            )


def _of_features(config: RunConfig) -> list[str]:
    """Names of the losses that use discriminators none of which judges the media."""
    of_media = {name for name, c in config.discriminators.items() if not c.of}
    used = {name: set(getattr(c, "discriminators", ()) or config.discriminators) for name, c in config.losses.items()}
    return [name for name, c in config.losses.items() if c.needs_discriminators and not used[name] & of_media]


def _built(name: str, config: Any, spec: TokenizerSpec) -> Any:
    with building(name):
        return config.build(spec)
