"""Emu3.5's IBQ, whose class swallows arguments that it does not know."""

from image_cases import enliven

from . import Sweep
from .ibq import OPTIONS, TINY
from .taming import REFUSED

SWEEPS = {
    "emu3.5-ibq": Sweep(
        tiny=TINY,
        options=OPTIONS | {"cosine, which nobody reads": {"cosine_similarity": True}},
        refused={k: v for k, v in REFUSED.items() if k != "a misspelt key"},
        enliven=enliven,
        published=lambda state: {"state_dict": state},
    )
}
