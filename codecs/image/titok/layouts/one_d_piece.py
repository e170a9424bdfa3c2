"""One-D-Piece (turingmotors/One-D-Piece): TiTok of the first generation whose decoder takes any number of first tokens."""

from .titok import titok_layout

LAYOUTS = (titok_layout("one-d-piece", "turingmotors/One-D-Piece OneDPiece"),)
