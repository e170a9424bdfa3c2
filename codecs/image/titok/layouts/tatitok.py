"""TA-TiTok (bytedance/1d-tokenizer): TiTok with a text beside the tokens in the decoder."""

from .titok import titok_layout

LAYOUTS = (titok_layout("tatitok", "bytedance/1d-tokenizer modeling/tatitok.py TATiTok"),)
