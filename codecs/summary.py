"""Facts of a tokenizer as text, for `print(tokenizer.summary())`, `tokenzoo info` and the model card."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from .spec import AudioSpec, ImageSpec, TokenizerSpec

if TYPE_CHECKING:
    from .option_help import OptionHelp
    from .tokenizer import Tokenizer


def summary(tokenizer: "Tokenizer") -> str:
    """Facts, size, licence and options of a tokenizer, a line each."""
    rows = rows_of(tokenizer)
    width = max(map(len, rows))
    lines = [f"{tokenizer.source or tokenizer.family}", *(f"  {key:{width}}  {value}" for key, value in rows.items())]
    for verb, options in options_of(tokenizer).items():
        lines += [f"  options of {verb}", *(f"    {line}" for line in option_lines(options))]
    return "\n".join(lines)


def rows_of(tokenizer: "Tokenizer") -> dict[str, str]:
    """Facts of a loaded tokenizer as short texts with units."""
    rows = {"family": tokenizer.family + (f" (layout {tokenizer.layout})" if tokenizer.layout else "")}
    rows |= facts(tokenizer.spec)
    size = parameters_text(count_parameters(tokenizer), tokenizer.dtype.itemsize, str(tokenizer.dtype).removeprefix("torch."))
    rows["parameters"] = f"{size} on {tokenizer.device}" + (f", the {tokenizer.part} only" if tokenizer.part else "")
    return rows | ({"licence of the weights": tokenizer.licence} if tokenizer.licence else {})


def parameters_text(number: int, item_bytes: int, dtype: str) -> str:
    """How many floating-point values there are and what they take, such as `5.85 M (23.4 MB in float32)`."""
    return f"{_short(number)} ({number * item_bytes / 1e6:,.1f} MB in {dtype})"


def count_parameters(tokenizer: "Tokenizer") -> int:
    """Number of floating-point values in the tokenizer's state dict: weights, and codebooks that are buffers."""
    return sum(value.numel() for value in tokenizer.state_dict().values() if value.is_floating_point())


def options_of(tokenizer: "Tokenizer | type[Tokenizer]") -> dict[str, "list[OptionHelp]"]:
    """Options under the keys "encode" and "decode"."""
    from .options import describe_options

    return {"encode": describe_options(tokenizer, "encode"), "decode": describe_options(tokenizer, "decode")}


def option_lines(options: "list[OptionHelp]") -> list[str]:
    """`name = default (type): meaning` of each option."""
    return [f"{o.name} = {o.default} ({o.type}{_only_python(o)}): {o.help}" for o in options]


def _only_python(option: "OptionHelp") -> str:
    """A marker for options that cannot be given as text."""
    words = {w.removeprefix("several ") for w in option.type.split(" or ")} - {"none"}
    return ", from Python only" if words <= {"tensor", "callable"} else ""


def facts(spec: TokenizerSpec) -> dict[str, str]:
    """Facts of a spec as short texts with units."""
    out = {"codebooks": codebooks_text(spec.vocab_sizes), "may be cut short": ", ".join(spec.prefix) or "nothing"}
    if not spec.decodes:
        out["decodes"] = "no: it only encodes"
    if isinstance(spec, AudioSpec):
        rate = f"{spec.sample_rate_hz} Hz, {spec.channels} channel{'s' * (spec.channels > 1)}"
        if spec.decoded_rate_hz != spec.sample_rate_hz:
            rate += f", decoded at {spec.decoded_rate_hz} Hz"
        return {
            "audio": rate,
            "frames a second": f"{spec.frame_rate_hz:g}",
            "tokens a second": f"{spec.tokens_per_second:g}",
            "bitrate": f"{spec.bitrate_kbps:.3g} kbit/s",
            "streams": f"yes, latency {spec.latency_samples} samples" if spec.streamable else "no",
        } | out
    if not isinstance(spec, ImageSpec):
        return {"input": f"latents of {spec.channels} channels"} | out
    size = spec.image_size
    return {
        "picture": f"{size[0]} x {size[1]}" if size else "any size",
        "stride": f"{spec.stride} pixels" if spec.stride else "none (a sequence)",
        "tokens of 256 x 256" if size is None else "tokens": f"{spec.tokens_per_image()}",
        "bits a pixel": f"{spec.bits_per_pixel():.3g}",
        "float values": f"{spec.value_range[0]:g} to {spec.value_range[1]:g}",
    } | out


def codebooks_text(sizes: Sequence[int]) -> str:
    """Codebooks as text, neighbours of one size together: `8 x 1024`, or `1 x 16384, 7 x 4096`."""
    return ", ".join(f"{len(list(run))} x {size}" for size, run in groupby(sizes))


def _short(number: int) -> str:
    """A number with a unit prefix and three digits, such as `3.1 M`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)
