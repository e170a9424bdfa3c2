"""What `tokenzoo list` prints: cards as tables or as JSON, and the filter by rate. Imports no torch."""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from ..codecs.spec import AudioSpec, ImageSpec
from ..codecs.summary import codebooks_text
from .literature import Figure, status
from .registry import Card
from .tables import table

#: Side in pixels of the square picture for which tokens are counted, for models that take any size.
SIDE = 256

#: Which values are better -> first words of the metrics' names in cards.
_WORDS = {
    "higher": "PSNR SSIM SDR CI-SDR SI-SDR SI-SNR PESQ PESQ-WB PESQ-NB STOI UTMOS Squim-MOS DNSMOS PLCMOS SingMOS ViSQOL F0 speaker "
    "zero-shot retrieval codebook Inception DPG sBLIMP sWUGGY quality",
    "lower": "rFID pFID gFID FVD rFVD LPIPS LPIPS-HED mel STFT WER dWER CER GPE",
}
_BETTER = {word: way for way, words in _WORDS.items() for word in words.split()}


def better(metric: str) -> str:
    """Whether "higher" or "lower" values of a metric are better, judged by the first word of its name; "" if unknown."""
    return _BETTER.get(metric.split()[0], "") if metric.strip() else ""


def parse_rate(text: str) -> Callable[[Card], bool]:
    """A filter of cards by rate: "24khz" (that sample rate), "1.5kbps" or "<1.5kbps" (at most), ">6kbps" (at least).

    Raises:
        ValueError: other text.
    """
    found = re.fullmatch(r"\s*([<>]?=?)\s*(\d+(?:\.\d+)?)\s*(khz|hz|kbps|kbit/s)\s*", text.lower())
    if not found or (found[1] and found[3].endswith("hz")):
        raise ValueError(f"rate is {text!r}; allowed: a sample rate such as 24khz, or a bitrate such as 1.5kbps, '<1.5kbps', '>6kbps'.")
    sign, value, unit = found[1][:1], float(found[2]), found[3]

    def fits(card: Card) -> bool:
        spec = card.facts.spec()
        if not isinstance(spec, AudioSpec):
            return False
        if unit.endswith("hz"):
            return value * (1000 if unit == "khz" else 1) in (spec.sample_rate_hz, spec.decoded_rate_hz)
        return spec.bitrate_kbps >= value if sign == ">" else spec.bitrate_kbps <= value

    return fits


def as_json(card: Card) -> dict[str, Any]:
    """A card as a mapping for JSON, with derived numbers (units in their names); keys of other modalities are left out."""
    spec = card.facts.spec()
    out: dict[str, Any] = {"name": card.name, "modality": card.modality, "family": card.family, "description": card.description}
    out |= {"num_codebooks": spec.num_codebooks, "vocab_sizes": list(spec.vocab_sizes), "decodes": spec.decodes}
    if isinstance(spec, AudioSpec):
        out |= {"sample_rate_hz": spec.sample_rate_hz, "decoded_rate_hz": spec.decoded_rate_hz, "channels": spec.channels}
        out |= {"frame_rate_hz": spec.frame_rate_hz, "tokens_per_second": spec.tokens_per_second}
        out |= {"bitrate_kbps": spec.bitrate_kbps, "streamable": spec.streamable}
    elif isinstance(spec, ImageSpec):
        size = spec.image_size or (SIDE, SIDE)
        out |= {"image_size": spec.image_size and list(spec.image_size), "stride": spec.stride}
        out |= {"tokens_per_image": spec.tokens_per_image(*size), "bits_per_pixel": spec.bits_per_pixel(*size)}
        out |= {"counted_at": list(size)}
    else:
        out |= {"channels": spec.channels}
    plain = ("licence_code", "licence_weights", "restricted", "shipped", "hub_id", "aliases", "revision", "files", "where")
    out |= {k: list(v) if isinstance(v := getattr(card, k), tuple) else v for k in plain}
    out |= {"layout": card.system or "tokenzoo", "paper": card.paper or None, "parity": card.parity, "never_run": card.never_run}
    return out | {"figures": figures(card.figures), "figures_status": status(card.name)}


def figures(some: Sequence[Figure]) -> list[dict[str, Any]]:
    """Metrics as mappings for JSON, each with `better`: "higher", "lower" or ""."""
    return [asdict(f) | {"better": better(f.metric)} for f in some]


def tables(cards: Sequence[Card]) -> str:
    """The cards as text: a table for each modality, with one line for each card."""
    parts = []
    for modality, (header, right, row) in _TABLES.items():
        own = [c for c in cards if c.modality == modality]
        if own:
            rows = [[c.name, *row(c.facts.spec()), codebooks_text(c.facts.vocab_sizes), _weights(c), _licence(c)] for c in own]
            head = [f"name ({modality})", *header, "codebooks", "weights", "licence of the weights"]
            parts.append(table(head, rows, right={i + 1 for i in right}))
    if any(c.modality == "image" and c.facts.image_size is None for c in cards):
        parts.append(f"Models that take any size: tokens and bits for a picture of {SIDE} x {SIDE} pixels.")
    return "\n\n".join(parts)


def rate(hertz: float) -> str:
    """A sample rate as text, such as `44.1 kHz`."""
    return f"{hertz / 1000:g} kHz"


def _audio(spec: AudioSpec) -> list[str]:
    other = f" -> {rate(spec.decoded_rate_hz)}" if spec.decoded_rate_hz != spec.sample_rate_hz else ""
    sound = rate(spec.sample_rate_hz) + other + (" stereo" if spec.channels == 2 else "")
    return [sound, f"{spec.tokens_per_second:.4g}", f"{spec.bitrate_kbps:.3g}", "yes" if spec.streamable else "no"]


def _image(spec: ImageSpec) -> list[str]:
    size = spec.image_size or (SIDE, SIDE)
    what = f"{size[0]} x {size[1]}" if spec.image_size else f"any, stride {spec.stride}"
    return [what, f"{spec.tokens_per_image(*size)}", f"{spec.bits_per_pixel(*size):.3g}"]


def _latent(spec: Any) -> list[str]:
    return [f"{spec.channels}"]


#: modality -> headers of its columns, indices of those that are right-aligned, and the function that makes the cells of a spec.
_TABLES: dict[str, tuple[list[str], tuple[int, ...], Callable[[Any], list[str]]]] = {
    "audio": (["sample rate", "tokens/s", "kbit/s", "streams"], (1, 2), _audio),
    "image": (["picture size", "tokens/picture", "bits/pixel"], (1, 2), _image),
    "latent": (["feature width"], (0,), _latent),
}


def _weights(card: Card) -> str:
    return "shipped" if card.shipped else card.hub_id or "not on the hub"


def _licence(card: Card) -> str:
    return card.licence_weights + (" [restricted]" if card.restricted else "")
