"""TA-TiTok (bytedance/1d-tokenizer): TiTok whose decoder is also conditioned on a text."""

from .titok import titok_layout

LAYOUTS = (titok_layout("tatitok", "bytedance/1d-tokenizer modeling/tatitok.py TATiTok"),)
