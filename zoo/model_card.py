"""The README of a published tokenizer, with the metadata that the hub reads."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..codecs.config import to_mapping
from ..codecs.summary import facts, rows_of
from ..codecs.tokenizer import Tokenizer
from ..codecs.version import __version__
from .provenance import Provenance
from .readmes import front, licence_fields, with_seal
from .tables import markdown_table

#: Modality -> the hub's name of what the model is for.
_PIPELINES = {"image": "image-feature-extraction"}
_EXAMPLE = {"audio": '"speech.wav"', "image": '"photo.jpg"'}


@dataclass(frozen=True)
class Sample:
    """One medium before and after: names of the two files in the repository, and how much was spent on it.

    Attributes:
        kind: "image" or "audio".
        original, decoded: paths of the files inside the repository.
        text: bits and distance.
        credit: author and licence of a shipped medium; "" for the user's own.
    """

    kind: str
    original: str
    decoded: str
    text: str
    credit: str = ""


def card_text(
    tokenizer: Tokenizer,
    *,
    name: str = "YOUR-ORG/YOUR-TOKENIZER",
    about: Provenance | None = None,
    bench: str = "",
    samples: Sequence[Sample] = (),
    address: str = "",
) -> str:
    """Return a model card in Markdown: metadata, use, facts, figures, samples, provenance, config.

    Args:
        tokenizer: the one to describe.
        name: `org/repo`, for title, example and metadata.
        about: licence and provenance; None: the licence that the tokenizer has, if any.
        bench: tables of `publishing.card_bench.bench_tables`.
        samples: files beside the card.
        address: of the repository's files, which sounds are played from.
    """
    about = about or Provenance(licence=tokenizer.licence)
    rows = {k: v for k, v in {**rows_of(tokenizer), **facts(tokenizer.spec)}.items() if k != "licence of the weights"}
    size = rows.get("parameters", "").partition(" on ")[0]
    parts = [
        f"# {name.split('/')[-1]}",
        f"A discrete {tokenizer.spec.modality} tokenizer of the family `{tokenizer.family}`, for tokenzoo {__version__}.",
        _use(tokenizer, name),
        "## Facts",
        markdown_table(("", ""), [(k, size if k == "parameters" else v) for k, v in rows.items()]),
        *_figures(about, bench),
        *_samples(samples, address),
        "## Licence and provenance",
        _provenance(about),
        "## Config",
        f"```json\n{json.dumps({'family': tokenizer.family, 'config': to_mapping(tokenizer.config)}, indent=2)}\n```",
    ]
    return with_seal(front(_metadata(tokenizer, about)) + "\n\n".join(parts) + "\n")


def _metadata(tokenizer: Tokenizer, about: Provenance) -> Any:
    from huggingface_hub import ModelCardData

    modality = tokenizer.spec.modality
    more: dict[str, Any] = {k: list(v) for k, v in {"base_model": about.base_models, "datasets": about.datasets}.items() if v}
    return ModelCardData(
        library_name="tokenzoo",
        pipeline_tag=_PIPELINES.get(modality, "feature-extraction"),
        tags=["tokenizer", f"{modality}-tokenization", tokenizer.family],
        **licence_fields(about.licence),
        **more,
    )


def _use(tokenizer: Tokenizer, name: str) -> str:
    spec = tokenizer.spec
    lines = ["import tokenzoo", "", f'tok = tokenzoo.load("{name}")']
    lines.append(f"tokens = tok.encode({_EXAMPLE.get(spec.modality, 'z')})   # ids int64 [1, {spec.num_codebooks}, L]")
    lines.append("back = tok.decode(tokens)" if spec.decodes else "# this tokenizer only encodes")
    lines.append('tokens.save("tokens.tok")')
    return "```python\n" + "\n".join(lines) + "\n```"


def _figures(about: Provenance, bench: str) -> list[str]:
    parts = [bench] if bench else []
    if about.figures:
        rows = [(k, f"{v:.4g}") for k, v in sorted(about.figures.items()) if not k.startswith("usage_")]
        used = [v for k, v in about.figures.items() if k.startswith("usage_")]
        rows += [("share of codes used, mean over codebooks", f"{sum(used) / len(used):.3f}")] if used else []
        parts += ["Validation of the training run:", markdown_table(("", "value"), rows)]
    return ["## Figures", *parts] if parts else []


def _samples(samples: Sequence[Sample], address: str) -> list[str]:
    if not samples:
        return []
    rows = [(_shown(s.original, s.kind, address), _shown(s.decoded, s.kind, address), s.text) for s in samples]
    credits = " ".join(dict.fromkeys(s.credit for s in samples if s.credit))
    return ["## Samples", markdown_table(("original", "decoded from the tokens", ""), rows), *([credits] if credits else [])]


def _shown(path: str, kind: str, address: str) -> str:
    return f"![{path}]({path})" if kind == "image" else f'<audio controls src="{address}/{path}"></audio>'


def _provenance(about: Provenance) -> str:
    lines = [f"- licence of the weights: {about.licence or 'not stated'}"]
    for name, licence in about.origins.items():
        lines.append(f"- made from the weights of `{name}`" + (f", under {licence}" if licence else ", whose licence is not known"))
    lines += [f"- data set: [{d}](https://huggingface.co/datasets/{d})" for d in about.datasets]
    lines += [f"- {fact}: {text}" for fact, text in about.run.items()]
    return "\n".join(lines)
