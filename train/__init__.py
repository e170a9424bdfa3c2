"""Training of tokenizers: one loop for all modalities (`loop.py`) over a state (`state.py`), losses, discriminators, teachers, data.

Fine-tuning on batches of your own, without the loop:

    import tokenzoo
    import torch
    from tokenzoo.train import TrainState, parse_run, train_step

    tok = tokenzoo.load("speech-16khz-4kbps")
    config = parse_run({
        "data": {"kind": "audio"},                 # what the batches hold; nothing is read
        "output": "runs/mine",                     # nothing is written
        "losses": {"mel": {"weight": 1}, "waveform": {"weight": 20}, "quantizer": {}},
        "optimizer": {"lr": 1e-4, "schedule": {"kind": "constant"}},
    })
    state = TrainState(config, tokenizer=tok)      # trains `tok` itself
    for x in batches:                              # float32 [B, C, T] at tok.spec.sample_rate_hz; pictures: [B, C, H, W]
        values = train_step(state, x)              # losses by name: values["loss/mel"]
    tokenzoo.save_pretrained(state.best(), "mine")                # tokenzoo.load("file:mine")
    torch.save(state.state_dict(), "mine.pt")
    state.load_state_dict(torch.load("mine.pt"))                  # in a new process too: resumes exactly there

An unknown key is an error that names the nearest one; every key is explained in `config.py`. `Trainer(config, tok).run()` does a
whole run, with data, checkpoints, validation, previews and logs.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .files import load_run as load_run
    from .files import parse_run as parse_run
    from .loop import Trainer as Trainer
    from .state import TrainState as TrainState
    from .step import train_step as train_step

# public name -> module
_LAZY = {"TrainState": ".state", "Trainer": ".loop", "load_run": ".files", "parse_run": ".files", "train_step": ".step"}

__all__ = list(_LAZY)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
