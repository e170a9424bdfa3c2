"""`export`: half of a tokenizer as a file, with a JSON document beside it that says how to use it."""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.export import ExportedProgram

from ...codecs.building import Part
from ...codecs.tokenizer import Tokenizer
from ...codecs.wrapping import unwrap
from .check import compare, runner
from .errors import NotExportable
from .formats import ENDINGS, Format, write
from .halves import DecoderHalf, EncoderHalf, Half
from .metadata import describe
from .steps import StepDecoder, StepEncoder, check_stream
from .tracing import trace


@dataclass(frozen=True)
class Exported:
    """An exported file, the JSON document beside it, and what that says."""

    path: Path
    about_path: Path
    about: dict[str, Any]


def export(
    tokenizer: Tokenizer,
    path: str | Path,
    *,
    part: Part,
    to: Format = "onnx",
    codebooks: int | None = None,
    size: int | None = None,
    stream: bool = False,
    frames: int | None = None,
) -> Exported:
    """Write the encoder (media to ids) or the decoder (ids to media) of a tokenizer as a file that runs without this library.

    Batch, length of sound, and height and width of families for any size are free, in the multiples that the document states.
    Ids equal those of `encode`, except where two codes are equally near up to rounding (of distances that differ by less than
    1e-4 of their size).

    Args:
        tokenizer: on a CPU; any family, also with one half left out (`load(part=...)`).
        path: of the file; its folder is made if missing. The document gets the same name with `.json` at its end.
        to: "onnx" (ONNX Runtime and others; needs the extra `export`) or "torch-export" (`torch.export.load`).
        part: "encoder" or "decoder".
        codebooks: N: ids of the first N codebooks only, where the tokenizer allows it.
        size: samples or pixels of a side, of axes that the family's operators fix; None: a second of sound, 256 pixels.
        stream: causal codecs: the graph takes pieces of a stream, and the state of its layers as further inputs and outputs, which
            are zero before the first piece.
        frames: positions of a piece of a stream; None: the fewest that the codec can take.

    Raises:
        NotExportable: this half cannot be exported; the message says why.
        ValueError: a format or part that does not exist.
        ModuleNotFoundError: onnx or onnxscript is not installed.
    """
    if to not in ENDINGS:
        raise ValueError(f"to is {to!r:.80}; allowed: {', '.join(map(repr, ENDINGS))}.")
    if to == "onnx":
        import onnxscript  # noqa: F401 - if it is missing, before anything is computed
    half, program = traced(tokenizer, part, codebooks=codebooks, size=size, stream=stream, frames=frames)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(program, half, path, to)
    if to == "onnx" and importlib.util.find_spec("onnxruntime"):
        try:
            compare(half, runner(path), part, "ONNX Runtime")
        except NotExportable:
            path.unlink()
            raise
        except RuntimeError as error:
            path.unlink()
            raise NotExportable(half.tokenizer, part, str(error)) from error
    about = describe(half.tokenizer, half, program, part, to)
    about_path = path.with_suffix(".json")
    about_path.write_text(json.dumps(about, indent=1) + "\n")
    return Exported(path, about_path, about)


def traced(
    tokenizer: Tokenizer,
    part: Part,
    *,
    codebooks: int | None = None,
    size: int | None = None,
    stream: bool = False,
    frames: int | None = None,
) -> tuple[Half, ExportedProgram]:
    """The graph of half of a tokenizer, checked against it; arguments as in `export`."""
    tokenizer = unwrap(tokenizer)
    if part not in ("encoder", "decoder"):
        raise ValueError(f"part is {part!r:.80}; allowed: 'encoder', 'decoder'.")
    if tokenizer.part not in ("", part):
        raise NotExportable(tokenizer, part, f"it was loaded with part={tokenizer.part!r}")
    if tokenizer.device.type != "cpu":
        raise ValueError(f"the tokenizer is on {tokenizer.device}; move it to the CPU for the export.")
    if part == "decoder":
        tokenizer.check_decodes()
    if part == "decoder" and "steps" in tokenizer.spec.decode_options:
        raise NotExportable(tokenizer, part, "it starts from drawn noise and takes many steps of a flow or a diffusion")
    was_training = tokenizer.training
    tokenizer.eval()
    try:
        if stream:
            step = (StepEncoder if part == "encoder" else StepDecoder)(tokenizer, codebooks=codebooks, frames=frames).eval()
            check_stream(step, part)
            return step, trace(step, part)
        half = (EncoderHalf if part == "encoder" else DecoderHalf)(tokenizer, codebooks=codebooks, size=size).eval()
        return half, trace(half, part)
    finally:
        tokenizer.train(was_training)
