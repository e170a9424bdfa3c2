"""The README of a published tokenizer, with the metadata that the hub reads."""

import json

from .. import __version__
from ..codecs.config import to_mapping
from ..codecs.spec import AudioSpec, ImageSpec, TokenizerSpec
from ..codecs.tokenizer import Tokenizer


def card_text(tokenizer: Tokenizer, *, name: str = "YOUR-ORG/YOUR-TOKENIZER", licence: str = "") -> str:
    """Return a model card in Markdown: front matter, facts computed from the spec, use, configuration."""
    spec = tokenizer.spec
    tags = ["tokenizer", f"{spec.modality}-tokenization", tokenizer.family]
    front = ["---", "library_name: tokenzoo", "pipeline_tag: feature-extraction", f"tags: [{', '.join(tags)}]"]
    front += [f"license: {licence}"] if licence else []
    rows = "\n".join(f"| {key} | {value} |" for key, value in facts(spec).items())
    media = {"audio": '"speech.wav"', "image": '"photo.jpg"'}.get(spec.modality, "z")
    config = json.dumps({"family": tokenizer.family, "config": to_mapping(tokenizer.config)}, indent=2)
    return "\n".join(front) + f"""
---

# {name.split("/")[-1]}

A discrete {spec.modality} tokenizer of the family `{tokenizer.family}`, for tokenzoo {__version__}.

| | |
|---|---|
{rows}

```python
import tokenzoo

tok = tokenzoo.load("{name}")
tokens = tok.encode({media})   # ids int64 [1, {spec.num_codebooks}, L]
back = tok.decode(tokens)
```

```json
{config}
```
"""


def facts(spec: TokenizerSpec) -> dict[str, str]:
    """Facts of a spec as short texts with units."""
    out = {"codebooks": _vocab(spec.vocab_sizes), "may be cut short": ", ".join(spec.prefix) or "nothing"}
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


def _vocab(sizes: tuple[int, ...]) -> str:
    """`8 x 1024`, or the sizes one by one where they differ."""
    return f"{len(sizes)} x {sizes[0]}" if len(set(sizes)) == 1 else " + ".join(map(str, sizes))
