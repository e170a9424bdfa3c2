"""RobusTok: ImageFolder's class."""

from . import Sweep
from .imagefolder import OPTIONS, REFUSED, TINY, published

SWEEPS = {"robustok": Sweep(tiny=TINY, options=OPTIONS, refused=REFUSED, published=published)}
