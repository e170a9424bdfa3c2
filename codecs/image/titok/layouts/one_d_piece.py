"""One-D-Piece (turingmotors/One-D-Piece): TiTok of the first generation whose decoder takes any first part of the tokens."""

from .titok import titok_layout

LAYOUTS = (titok_layout("one-d-piece", "turingmotors/One-D-Piece OneDPiece"),)
