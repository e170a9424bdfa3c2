"""The registry: one card for each published checkpoint, read from `cards/*.yaml`. Imports no torch.

    tokenzoo.list_models("encodec*", modality="audio")
"""

import fnmatch
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..codecs.config import ConfigError, Signed, from_mapping, nearest
from .literature import Figure, figures_of
from .parsed import parsed

#: What tokenizers take; "latent": features of another network.
MODALITIES = ("audio", "image", "latent")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts of a card's tokens. `spec()` adds derived numbers; the `spec` of the loaded tokenizer is complete.

    Attributes:
        modality: what `encode` takes: "audio", "image", or "latent", features of another network.
        vocab_sizes: V of each codebook.
        sample_rate_hz, hop_samples, channels, strides: audio, as in `AudioSpec`; `channels` of latents is their width.
        stride, image_size, num_positions, strides, scales: images, as in `ImageSpec`.
        causal: True for audio models that can stream.
        output_rate_hz: sample rate of decoded audio if it differs from `sample_rate_hz`; 0: it does not.
        decodes: False if no decoder is published.
        value_range: of pixels. Published configs do not state it, and a wrong range gives wrong ids.
        clips: True where an item is a clip of pictures, as in `ImageSpec`.
    """

    modality: str
    vocab_sizes: tuple[int, ...]
    sample_rate_hz: int = 0
    hop_samples: int = 0
    output_rate_hz: int = 0
    channels: int = 0
    strides: tuple[int, ...] = ()
    causal: bool = False
    stride: int = 0
    image_size: tuple[int, int] | None = None
    num_positions: int = 0
    scales: tuple[tuple[int, int], ...] = ()
    decodes: bool = True
    value_range: tuple[Signed, Signed] = (-1.0, 1.0)
    clips: bool = False

    def spec(self) -> Any:
        """The `AudioSpec`, `ImageSpec` or `LatentSpec` with every derived number."""
        from ..codecs.spec import AudioSpec, ImageSpec, LatentSpec

        if self.modality not in MODALITIES:
            raise ConfigError(f"modality is {self.modality!r}; allowed: {', '.join(map(repr, MODALITIES))}.")
        if self.modality == "latent":
            return LatentSpec(vocab_sizes=self.vocab_sizes, decodes=self.decodes, channels=self.channels)
        if self.modality == "audio":
            return AudioSpec(
                vocab_sizes=self.vocab_sizes,
                decodes=self.decodes,
                channels=self.channels or 1,
                sample_rate_hz=self.sample_rate_hz,
                output_rate_hz=self.output_rate_hz,
                hop_samples=self.hop_samples,
                strides=self.strides,
                causal=self.causal,
            )
        return ImageSpec(
            vocab_sizes=self.vocab_sizes,
            decodes=self.decodes,
            channels=self.channels or 3,
            stride=self.stride,
            image_size=self.image_size,
            num_positions=self.num_positions,
            strides=self.strides,
            scales=self.scales,
            value_range=self.value_range,
            clips=self.clips,
        )


@dataclass(frozen=True, kw_only=True)
class Card:
    """One published checkpoint.

    Attributes:
        name: unique; what `tokenzoo.load` takes.
        family: the architecture that loads it.
        licence_code, licence_weights: SPDX names, or the authors' words.
        paper: arXiv id, or "".
        facts: sizes and rates of its tokens.
        hub_id: `org/repo` on the hub; None: the weights are not on the hub (see `where`), or shipped.
        aliases: other hub ids of the same files: former organisations, exact copies.
        revision: commit or tag to load where the authors replaced the weights; None: the newest.
        default: True for the one, of several cards of a repository, that the repository's id alone loads.
        shipped: True if the weights are part of this package.
        system: the authors' layout (`tokenzoo.zoo.convert`) that it is published in; "": this library's own.
        files: files of the repository that are needed, weights last; names as in the repository.
        prefixes: file -> text that is put before its keys, if weights are in several files.
        sub_config: dotted path of the tokenizer's config inside a larger model's, e.g. "vq_config".
        key_prefix: common prefix of the tokenizer's keys in a larger model's weights; only these are read, with the prefix removed.
        config_overrides: settings, in the authors' terms, that no published file contains.
        where: how to get weights that are not on the hub.
        restricted: "" or what the weights' licence forbids; shown when they are loaded.
        parity: how equality with the authors' implementation was checked.
        never_run: what of this card was never run in this project. "weights": the published weights were not available; tests
            simulate the published config and list of files with random weights. "layout": the config or the list of files was not
            available either, so the layout follows the authors' code. "": nothing; the weights ship with this package.
        description: one line for lists.
    """

    name: str
    family: str
    licence_code: str
    licence_weights: str
    facts: Facts
    paper: str | None = ""
    hub_id: str | None = None
    aliases: tuple[str, ...] = ()
    revision: str | None = None
    default: bool = False
    shipped: bool = False
    system: str = ""
    files: tuple[str, ...] = ()
    prefixes: dict[str, str] = field(default_factory=dict)
    sub_config: str = ""
    key_prefix: str = ""
    config_overrides: dict[str, Any] = field(default_factory=dict)
    where: str = ""
    restricted: str = ""
    parity: str = ""
    never_run: Literal["", "weights", "layout"] = ""
    description: str = ""

    @property
    def modality(self) -> str:
        """Modality of the tokenizer, one of `MODALITIES`."""
        return self.facts.modality

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Published and measured figures with their sources, from `published/*.yaml`."""
        return figures_of(self.name)


@functools.cache
def cards() -> Mapping[str, Card]:
    """All cards by name; ConfigError if two cards have the same name."""
    out: dict[str, Card] = {}
    for file, entries in parsed("cards").items():
        for i, entry in enumerate(entries or []):
            if "figures" in entry:
                raise ConfigError(f"{file}[{i}]: figures stand in zoo/published/*.yaml, not in cards; see zoo/literature.py.")
            card = from_mapping(Card, entry, path=f"{file}[{i}]")
            if card.name in out:
                raise ConfigError(f"{file}: the name {card.name!r} is taken; names are unique in the registry.")
            out[card.name] = card
    return out


def list_models(
    pattern: str = "*",
    *,
    modality: str | None = None,
    family: str | None = None,
    licence: str | None = None,
    streamable: bool | None = None,
) -> list[Card]:
    """Cards that fit all given filters, sorted by name.

    Args:
        pattern: a wildcard for names ("encodec*"), or a part of a name, family, hub id, arXiv number or description.
        modality: "audio", "image" or "latent".
        family: exactly this family.
        licence: a part of the weights' licence, e.g. "mit"; case does not matter.
        streamable: True: only models that encode a stream of audio; False: only the others; None: all models.

    Raises:
        ValueError: a modality or family that does not exist.
    """
    known = sorted({c.family for c in cards().values()})
    if modality not in (None, *MODALITIES):
        raise ValueError(f"modality is {modality!r}; allowed: {', '.join(map(repr, MODALITIES))}.")
    if family not in (None, *known):
        raise ValueError(f"no card is of the family {family!r}.{nearest(family, known) or ' Families: ' + ', '.join(known)}")
    found = [cards()[pattern]] if pattern in cards() else [c for _, c in sorted(cards().items()) if _matches(c, pattern)]
    found = [c for c in found if modality in (None, c.modality) and family in (None, c.family)]
    found = [c for c in found if licence is None or licence.lower() in c.licence_weights.lower()]
    return [c for c in found if streamable in (None, c.modality == "audio" and c.facts.causal)]


def _matches(card: Card, pattern: str) -> bool:
    pattern = pattern.lower()
    if any(sign in pattern for sign in "*?["):
        return fnmatch.fnmatchcase(card.name, pattern)
    texts = (card.name, card.family, card.hub_id or "", *card.aliases, card.paper or "", card.description)
    return any(pattern in text.lower() for text in texts)


def card(name: str) -> Card:
    """The card called `name`, or KeyError naming the nearest ones."""
    known = cards()
    if name not in known:
        raise KeyError(f"no model is called {name!r:.120}.{nearest(name, list(known))}")
    return known[name]


def card_of_hub_id(hub_id: str) -> list[Card]:
    """Cards of the hub repository `hub_id` (its present or a former name); if one of them is the default, that one alone."""
    found = [c for c in cards().values() if hub_id == c.hub_id or hub_id in c.aliases]
    return [c for c in found if c.default][:1] or found
