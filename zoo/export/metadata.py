"""The JSON document beside an exported file: all that a program without this library needs to feed it and to read what it returns."""

from typing import Any

from torch.export import ExportedProgram

from ...codecs.spec import AudioSpec, ImageSpec
from ...codecs.tokenizer import Tokenizer
from ...codecs.version import __version__
from .formats import OPSET, Format, stated_shapes
from .halves import Half, Input, is_gridded


def describe(tokenizer: Tokenizer, half: Half, program: ExportedProgram, part: str, to: Format) -> dict[str, Any]:
    """The document of one file, as a mapping for JSON."""
    identity = tokenizer.identity
    about: dict[str, Any] = {
        "tokenizer": identity.name if identity else tokenizer.family,
        "family": tokenizer.family,
        "part": part,
        "format": to,
        "tokenzoo": __version__,
        "fingerprint": identity.fingerprint if identity else None,
        "licence": tokenizer.licence,
        "inputs": [_input(i) for i in half.inputs],
        "outputs": [{"name": n, "shape": s} for n, s in zip(half.outputs, stated_shapes(program, half), strict=True)],
        "vocab_sizes": list(tokenizer.spec.vocab_sizes),
        "ids": _layout(tokenizer),
        **_facts(tokenizer),
    }
    if any(i.name == "noise" for i in half.inputs):
        about["noise"] = "draws of the normal distribution, which the details of the picture depend on"
    if to == "onnx":
        about["opset"] = OPSET
    return about


def _input(one: Input) -> dict[str, Any]:
    about: dict[str, Any] = {"name": one.name, "shape": [a.described for a in one.axes]}
    about["dtype"] = "int64" if one.vocab_sizes or one.integer else "float32"
    about["at_least"] = [a.multiple * a.least if a.multiple else a.size for a in one.axes]
    return about


def _layout(tokenizer: Tokenizer) -> str:
    if is_gridded(tokenizer):
        return f"int64 [batch, codebooks, {'1, ' if getattr(tokenizer.spec, 'clips', False) else ''}rows, columns]"
    more = ""
    spec = tokenizer.spec
    if isinstance(spec, AudioSpec) and any(s > 1 for s in spec.strides):
        more = f"; an id of codebook k stands for strides[k] positions, and is repeated there; strides: {list(spec.strides)}"
    elif isinstance(spec, ImageSpec) and spec.scales:
        more = f"; positions are those of the scales {[list(s) for s in spec.scales]}, one scale after the other, row by row"
    elif isinstance(spec, ImageSpec) and not spec.num_positions:
        more = "; positions are those of the grid, row by row"
    return f"int64 [batch, codebooks, positions]{more}"


def _facts(tokenizer: Tokenizer) -> dict[str, Any]:
    spec = tokenizer.spec
    about: dict[str, Any] = {"modality": spec.modality}
    if isinstance(spec, AudioSpec):
        about |= {
            "value_range": list(spec.value_range),
            "sample_rate_hz": spec.sample_rate_hz,
            "decoded_rate_hz": spec.decoded_rate_hz,
            "hop_samples": spec.hop_samples,
            "padding": "leave a last hop out that is not full, or fill it up with zeros (loudness, where it is normalised, is measured "
            "over the zeros too); cut what was decoded to the length of the original",
        }
    elif isinstance(spec, ImageSpec):
        about |= {"value_range": list(spec.value_range), "stride": spec.stride}
        about["image_size"] = list(spec.image_size) if spec.image_size else None
        if spec.image_size is None:
            about["padding"] = "repeat the last row and column up to a multiple; cut what was decoded to the size of the original"
    return about
