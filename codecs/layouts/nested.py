"""Tokenizers inside larger models: the place of their config in the model's, and the names of their weights there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Nested:
    """A larger model with a tokenizer inside.

    Attributes:
        sub_config: dotted path of the tokenizer's config in the model's; "": the layout reads the model's whole config.
        prefixes: possible prefixes of the tokenizer's keys, today's spelling first; the first one that occurs is removed.
        system: the layout that reads config and weights.
        only: beginnings of the tokenizer's keys after the prefix, if other parts of the model have the same prefix.
    """

    sub_config: str
    prefixes: tuple[str, ...]
    system: str
    only: tuple[str, ...] = ()

    def config(self, whole: Mapping[str, Any]) -> Mapping[str, Any]:
        """The tokenizer's config out of the model's; empty if the model's config has none."""
        for part in self.sub_config.split(".") if self.sub_config else ():
            whole = whole.get(part) or {}
        return whole

    def names(self, keys: list[str]) -> dict[str, str]:
        """The tokenizer's keys among the model's, each with its own name: `{"model.vqmodel.quant_conv.bias": "quant_conv.bias"}`."""
        for prefix in self.prefixes:
            heads = tuple(prefix + o for o in self.only) or prefix
            if found := {k: k.removeprefix(prefix) for k in keys if k.startswith(heads)}:
                return found
        return {}


_VQMODEL = ("model.vqmodel.", "vqmodel.")

#: `model_type` of the larger model -> the tokenizer inside.
NESTED: dict[str, Nested] = {
    "chameleon": Nested(sub_config="vq_config", prefixes=_VQMODEL, system="chameleon_vqgan-hf"),
    "janus": Nested(sub_config="vq_config", prefixes=_VQMODEL, system="janus_vqgan-hf"),
    "multi_modality": Nested(sub_config="gen_vision_config", prefixes=("gen_vision_model.",), system="janus-vq16"),
    "emu3": Nested(sub_config="vq_config", prefixes=_VQMODEL, system="emu3_vqgan-hf"),
    "apertus1p5": Nested(
        sub_config="vision_config",
        prefixes=("model.vision_tokenizer.", "vision_tokenizer."),
        system="apertus1p5_vision_tokenizer-hf",
    ),
    "glm_image": Nested(sub_config="", prefixes=("model.", ""), system="glm_image-hf", only=("visual.", "vqmodel.")),
}


def nested_of(config: Mapping[str, Any]) -> Nested | None:
    """The place of the tokenizer in a larger model with this `config.json`; None: the model is unknown."""
    return NESTED.get(str(config.get("model_type")))
