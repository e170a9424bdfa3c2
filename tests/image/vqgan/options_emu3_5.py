"""Emu3.5's IBQ, whose class swallows arguments that it does not know."""

from image.vqgan.options_ibq import OPTIONS, TINY
from image.vqgan.options_taming import REFUSED
from image_cases import enliven
from layout_options import Sweep

SWEEPS = {
    "emu3.5-ibq": Sweep(
        tiny=TINY,
        options=OPTIONS | {"cosine, which nobody reads": {"cosine_similarity": True}},
        refused={k: v for k, v in REFUSED.items() if k != "a misspelt key"},
        enliven=enliven,
        published=lambda state: {"state_dict": state},
    )
}
