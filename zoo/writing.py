"""Writes tokenizers in the layouts of other libraries, so that these load what was trained or fine-tuned here."""

import io
import json
from pathlib import Path

import torch

from ..codecs.files import write_bytes, write_text
from ..codecs.layouts.keymap import NotWritable
from ..codecs.layouts.systems import converter, system_of_config, systems
from ..codecs.tokenizer import Tokenizer


def writable_layouts(family: str | None = None) -> tuple[str, ...]:
    """Names of the layouts that `save_pretrained(layout=...)` writes, for all families or for one."""
    found = (s for s in systems() if converter(s).authors_config is not None)
    return tuple(s for s in found if family in (None, converter(s).family))


def write_layout(tokenizer: Tokenizer, folder: Path, system: str, dtype: torch.dtype | None = None) -> Path:
    """Write config and weights of `tokenizer` into `folder` in the layout `system`; arguments and errors as in `save_pretrained`."""
    layout = converter(system)
    if tokenizer.part:
        raise ValueError(f"this tokenizer holds its {tokenizer.part} alone and cannot be saved; load it without `part`.")
    if layout.authors_config is None or layout.family_for(tokenizer.config) != tokenizer.family:
        allowed = ", ".join(writable_layouts(tokenizer.family)) or "none"
        reason = "is only read" if layout.authors_config is None else f"belongs to the family {layout.family!r}"
        raise ValueError(f"the layout {system!r} {reason}; layouts that can be written for {tokenizer.family!r}: {allowed}.")
    try:
        config = layout.authors_config(tokenizer.config)
        state = layout.write({k: v.detach().cpu() for k, v in tokenizer.state_dict().items()}, tokenizer.config)
    except NotWritable as error:
        raise ValueError(f"{system!r} cannot represent this {tokenizer.family}: {error}") from error
    if system_of_config(config) != system:  # the config names no class; when it is read, the repository identifies the layout
        repository, *names = layout.upstream.split()
        config = {**config, "source": {"repo": repository, "class": names[-1]}}
    state = {k: v.to(dtype).contiguous() if dtype and v.is_floating_point() else v.contiguous() for k, v in state.items()}
    folder.mkdir(parents=True, exist_ok=True)
    config_name, weights_name = layout.files
    write_bytes(folder / weights_name, _bytes(state, weights_name))
    write_text(folder / config_name, json.dumps(config, indent=2) + "\n")
    return folder


def _bytes(state: dict[str, torch.Tensor], name: str) -> bytes:
    if name.endswith(".safetensors"):
        from safetensors.torch import save

        return save(state, metadata={"format": "pt"})
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()

