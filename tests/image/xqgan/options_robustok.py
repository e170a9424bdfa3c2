"""RobusTok: ImageFolder's class."""

from image.xqgan.options_imagefolder import OPTIONS, REFUSED, TINY, published
from layout_options import Sweep

SWEEPS = {"robustok": Sweep(tiny=TINY, options=OPTIONS, refused=REFUSED, published=published)}
