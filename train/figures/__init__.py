"""Figures of validation by name, beside the losses. A new figure is one file here and one line in this table."""

from ...codecs.kinds import Kinds
from .base import FigureConfig

# kind -> "module:config class"
FIGURES: Kinds[type[FigureConfig]] = Kinds("figure kind", __name__, {
    "lpips": "lpips:LpipsConfig",
    "fid": "fid:FidConfig",
    "pesq": "speech:PesqConfig",
    "stoi": "speech:StoiConfig",
}, base="base:FigureConfig")  # fmt: skip
FigureConfig.kinds = FIGURES
