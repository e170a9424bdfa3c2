"""RobusTok (qiuk2/RobusTok @ c4c6760a70): the class of ImageFolder, in separate files."""

from .imagefolder import layout

LAYOUTS = (layout("robustok", "qiuk2/RobusTok"),)
