"""RobusTok (qiuk2/RobusTok @ c4c6760a70): the class of ImageFolder, in files of its own."""

from .imagefolder import layout

LAYOUTS = (layout("robustok", "qiuk2/RobusTok"),)
