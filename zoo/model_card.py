"""The README of a published tokenizer, with the metadata that the hub reads."""

import json

from ..codecs.config import to_mapping
from ..codecs.summary import facts
from ..codecs.tokenizer import Tokenizer
from ..codecs.version import __version__


def card_text(tokenizer: Tokenizer, *, name: str = "YOUR-ORG/YOUR-TOKENIZER", licence: str = "") -> str:
    """Return a model card in Markdown: front matter, facts computed from the spec, an example, the config.

    Args:
        tokenizer: the one to describe.
        name: `org/repo`, for title and example.
        licence: of the weights, as the hub spells it; "": none is stated.
    """
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
